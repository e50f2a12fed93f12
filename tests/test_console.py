"""The console of a run: what is printed is kept as a terminal shows it in the end, capped, and without secrets."""

import contextlib
import io
import itertools
import logging
import os
import signal
import sys
import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress

from tinymlops.training.watching.console import watch_console
from tinymlops.training.watching.run import RunWatch
from tinymlops.training.watching.screen import Screen
from tinymlops.training.watching.transcript import HEAD, TAIL, Transcript


class Stored:
    """What a store of pieces holds: rows by where they start."""

    def __init__(self):
        self.pieces = []
        self.fails = False
        self.deliveries = 0

    def __call__(self, changes):
        if self.fails:
            raise OSError("the disk is full")
        self.deliveries += 1
        before = [piece for piece in self.pieces if piece.start < changes.since]
        self.pieces = [piece for piece in before + changes.pieces if piece.start < HEAD or piece.stop >= changes.passed]

    def text(self):
        """Return the whole output; what is left out must be in one place."""
        ends = [0, *(piece.stop for piece in self.pieces)]
        gaps = [piece.start - end for piece, end in zip(self.pieces, ends, strict=False)]
        assert all(gap >= 0 for gap in gaps)
        assert sum(gap > 0 for gap in gaps) <= 1
        return "".join(
            f"[{gap} left out]" * (gap > 0) + piece.text for piece, gap in zip(self.pieces, gaps, strict=True)
        )


def kept(*writes, every=1):
    """Return what is kept of some output that is delivered after every so many writes."""
    stored = Stored()
    transcript = Transcript()
    for number, write in enumerate(writes):
        transcript.write(*(("stdout", write) if isinstance(write, str) else write))
        if number % every == 0:
            transcript.deliver(stored)
    transcript.deliver(stored)
    return stored.text()


# lines as they are shown in the end


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("", ""),
        ("a", "a"),
        ("a\n", "a\n"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("\n\n", "\n\n"),
        ("\r10 %\r20 %\r100 %\n", "100 %\n"),
        ("long line\rshort\n", "shortline\n"),
        ("long line\r\x1b[Kshort\n", "short\n"),
        ("long line\r\x1b[2Kshort\n", "short\n"),
        ("abcdef\b\b\x1b[1K\n", "    ef\n"),
        ("a\b\b\bxy\n", "xy\n"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b(B\n", "red x\n"),
        ("one\ntwo\n\x1b[2A1\n2\n", "1ne\n2wo\n"),
        ("one\ntwo\x1b[A\r1\x1b[B2\n", "1ne\nt2o\n"),
        ("\x1b[99A\x1b[9999999999999Ax\n", "x\n"),
        ("bell\x07 nul\x00 half \ud83d \u2028\x9b\n", "bell nul half \ufffd \ufffd\n"),
        ("tab\there ü 🙂\n", "tab\there ü 🙂\n"),
        ("\x1b", ""),
        ("\x1b[", ""),
        ("\x1b\x1b[31mx", "x"),
    ],
)
def test_control_characters_are_obeyed_or_left_out(written, shown):
    assert kept(written) == shown
    assert kept(*written) == shown  # an escape sequence may come in parts
    assert kept(*written, every=1000) == shown


@given(
    st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.text("ab\n\r\b\t\x1b[0123;AKm]\x07ü", max_size=40)),
        max_size=30,
    )
)
def test_any_output_in_any_parts_is_shown_alike(writes):
    whole, parts = Screen(), Screen()
    for stream, text in writes:
        whole.write(stream, text)
        for character in text:
            parts.write(stream, character)
    assert whole.take_final() + whole.shown() == parts.take_final() + parts.shown()


@given(
    st.lists(
        st.text("abc\n", max_size=30) | st.integers(1, 200).map(lambda n: "\n".join(map(str, range(n)))), max_size=30
    )
)
def test_plain_output_is_kept_as_it_is(writes):
    assert kept(*writes) == "".join(writes)
    assert kept(*writes, every=7) == "".join(writes)


def test_a_bar_does_not_run_into_the_lines_of_another_stream():
    writes = [("stderr", "\r10 %"), "epoch 1\n", ("stderr", "\r20 %"), "epoch 2\n", ("stderr", "\r100 %\n"), "end"]
    assert kept(*writes) == "100 %\nepoch 1\nepoch 2\nend"


def test_bars_below_each_other_are_a_line_each():
    writes = ["a: 0\n", "b: 0\n"]
    writes += [f"\x1b[2A\ra: {n}\n\rb: {n}\n" for n in range(1000)]
    assert kept(*writes, "done\n") == "a: 999\nb: 999\ndone\n"


def test_a_progress_bar_of_rich_is_folded():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=60)
    with Progress(console=console, auto_refresh=False) as progress:
        first, second = (progress.add_task(name, total=50) for name in ("load", "fit"))
        for _ in range(50):
            progress.advance(first)
            progress.advance(second)
            progress.refresh()
        progress.console.print("half")
    text = kept(*stream.getvalue().splitlines(keepends=True))
    assert len(stream.getvalue()) > 20 * len(text)
    assert [line.split()[0] for line in text.splitlines()] == ["half", "load", "fit"]
    assert text.count("100%") == 2


def test_a_line_without_an_end_goes_on_in_the_next():
    dots = kept(*["." * 1000] * 100, every=10)
    assert dots.replace("\n", "") == "." * 100_000
    assert max(map(len, dots.splitlines())) == 16_384
    assert kept("." * 3_000_000).startswith("." * 16_384 + "\n")


# what is kept


def lines(count):
    return [f"{number:07}\n" for number in range(count)]


@pytest.mark.parametrize("every", [1, 500, 10**6])
def test_of_long_output_the_beginning_and_the_end_are_kept(every):
    many = lines(300_000) if every == 500 else [line * 1000 for line in lines(300)]
    text = kept(*many, every=every)
    head, rest = text.split("[")
    left_out, tail = rest.split(" left out]")
    whole = "".join(many)
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert HEAD <= len(head) < HEAD + 2 * 65_536
    assert TAIL <= len(tail) < TAIL + 2 * 65_536
    assert int(left_out) == len(whole) - len(head) - len(tail)


def test_memory_is_bounded_while_nothing_can_be_stored():
    stored = Stored()
    stored.fails = True
    transcript = Transcript()
    for line in lines(30_000):
        transcript.write("stdout", line * 50)
    with pytest.raises(OSError, match="full"):
        transcript.deliver(stored)
    assert sum(len(piece.text) for piece in transcript._changes().pieces) < 2 * (HEAD + TAIL)
    stored.fails = False
    transcript.deliver(stored)
    assert stored.text().endswith("0029999\n")


def test_nothing_is_lost_and_nothing_is_twice_when_storing_fails_now_and_then():
    stored = Stored()
    transcript = Transcript()
    for number, line in enumerate(lines(10_000)):
        transcript.write("stdout", line)
        stored.fails = number % 3 > 0
        if number % 50 == 0:
            with contextlib.suppress(OSError):
                transcript.deliver(stored)
    stored.fails = False
    transcript.deliver(stored)
    assert stored.text() == "".join(lines(10_000))


def test_nothing_is_delivered_that_has_not_changed():
    stored = Stored()
    transcript = Transcript()
    transcript.deliver(stored)
    assert stored.deliveries == 0
    transcript.write("stdout", "a")
    transcript.deliver(stored)
    transcript.deliver(stored)
    assert stored.deliveries == 1
    transcript.write("stdout", "\r\x1b[K")
    transcript.deliver(stored)
    assert (stored.deliveries, stored.text()) == (2, "")


def test_secrets_are_left_out(monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "hunter2hunter2")
    text = kept(*"key hunter2hunter2\n", "postgresql://shop:pw@db/x\n", "tail hunter2", "hunter2", every=100)
    assert text == "key <secret>\npostgresql://shop:<secret>@db/x\ntail <secret>"


def test_threads_lose_nothing():
    stored = Stored()
    transcript = Transcript()
    stop = threading.Event()

    def deliver():
        while not stop.is_set():
            transcript.deliver(stored)

    def write(name):
        for number in range(2000):
            transcript.write("stdout", f"{name}{number}\n")

    deliverer = threading.Thread(target=deliver)
    deliverer.start()
    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    deliverer.join()
    transcript.deliver(stored)
    found = stored.text().splitlines()
    for name in "abcd":
        assert [line for line in found if line[0] == name] == [f"{name}{number}" for number in range(2000)]


# the streams


@pytest.fixture
def heard():
    """What is printed while a test runs."""
    texts = []
    end = watch_console(lambda stream, text: texts.append((stream, text)))
    yield texts
    end()


def said(texts):
    return "".join(text for _, text in texts)


def test_what_is_printed_is_heard_and_still_printed(capsys):
    texts = []
    before = sys.stdout, sys.stderr, sys.stdout.write
    end = watch_console(lambda stream, text: texts.append((stream, text)))
    print("out", 1)
    print("err", file=sys.stderr)
    sys.stdout.writelines(["a", "b"])
    end()
    print("later")
    end()
    assert (sys.stdout, sys.stderr, sys.stdout.write) == before
    assert capsys.readouterr() == ("out 1\nablater\n", "err\n")
    assert said(texts) == "out 1\nerr\nab"
    assert {stream for stream, text in texts if "err" in text} == {"stderr"}


def test_a_logger_that_took_the_stream_before_is_heard(capsys):
    handler = logging.StreamHandler()
    log = logging.getLogger("test_console")
    log.addHandler(handler)
    texts = []
    end = watch_console(lambda stream, text: texts.append(text))
    log.warning("epoch 1")
    end()
    log.removeHandler(handler)
    assert "".join(texts) == "epoch 1\n"
    assert capsys.readouterr().err == "epoch 1\n"


def test_redirected_output_is_not_on_the_console(heard):
    with contextlib.redirect_stdout(io.StringIO()) as redirected:
        print("elsewhere")
    print("here")
    assert redirected.getvalue() == "elsewhere\n"
    assert said(heard) == "here\n"


def test_two_runs_hear_everything_while_they_watch(capsys):
    first, second = [], []
    end_first = watch_console(lambda _, text: first.append(text))
    print("1")
    end_second = watch_console(lambda _, text: second.append(text))
    print("2")
    end_first()
    print("3")
    end_second()
    print("4")
    assert ("".join(first), "".join(second)) == ("1\n2\n", "2\n3\n")
    assert "write" not in vars(sys.stdout)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_streams_are_restored_in_any_order(order, capsys):
    """A run ends, a redirection ends, and another library's tee ends, one after the other."""
    stream, texts = sys.stdout, []
    end = watch_console(lambda _, text: texts.append(text))
    ours = stream.write
    others = []

    def tee(text):
        others.append(text)
        return ours(text)

    stream.write = tee
    redirection = contextlib.redirect_stdout(io.StringIO())
    redirection.__enter__()

    def untee():
        stream.write = ours

    ends = [end, lambda: redirection.__exit__(None, None, None), untee]
    for number in order:
        ends[number]()
    assert sys.stdout is stream
    print("after")
    assert "after\n" not in "".join(texts)
    assert "after\n" in capsys.readouterr().out
    again = []
    end = watch_console(lambda _, text: again.append(text))
    print("again")
    end()
    assert "".join(again) == "again\n"
    assert capsys.readouterr().out == "again\n"


def test_a_stream_that_writes_to_a_watched_one_is_heard_once(heard, monkeypatch):
    class Proxy(io.StringIO):
        def __init__(self, to):
            super().__init__()
            self.to = to

        def write(self, text):
            return self.to.write(text.upper())

    monkeypatch.setattr(sys, "stdout", Proxy(sys.stdout))
    texts = []
    end = watch_console(lambda _, text: texts.append(text))
    print("a")
    end()
    assert said(heard) == "".join(texts) == "a\n"


def test_streams_that_cannot_be_watched_are_left_alone(monkeypatch):
    class Closed:
        __slots__ = ()

        def write(self, text):
            return len(text)

    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", Closed())
    end = watch_console(lambda *_: None)
    print("x", file=sys.stderr)
    end()


def test_an_error_of_the_stream_is_the_users(heard, monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    end = watch_console(lambda *_: None)
    stream.close()
    with pytest.raises(ValueError, match="closed"):
        print("x")
    end()
    assert heard == []


def test_a_forked_child_is_not_heard(heard):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        print("from the child")
        os.write(write, said(heard).encode() or b"nothing")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"nothing"
    os.close(read)
    os.close(write)


def test_a_signal_handler_may_print_while_output_is_folded():
    stored = Stored()
    transcript = Transcript()
    before = signal.signal(signal.SIGALRM, lambda *_: transcript.write("stderr", "signal\n"))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for number, line in enumerate(lines(20_000)):
            transcript.write("stdout", line)
            if number % 100 == 0:
                transcript.deliver(stored)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    transcript.deliver(stored)
    assert stored.text().replace("signal\n", "") == "".join(lines(20_000))


def test_a_child_that_was_forked_during_a_delivery_does_not_wait_for_it(tmp_path):
    begun, go = threading.Event(), threading.Event()

    class Log:
        """A log whose disk is slow."""

        last = None

        def append(self, logged):
            begun.set()
            go.wait(60)

        def expect(self, source, last):
            self.last = last or self.last

    log = Log()
    watch = RunWatch(log, "r", 0, clock=lambda: datetime.now(UTC), directory=tmp_path, system=None, console=True)
    print("epoch 1")
    thread = threading.Thread(target=watch.flush)
    thread.start()
    assert begun.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(len(log.last()) if watch.stop() is None else 1)
    go.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    watch.stop()
