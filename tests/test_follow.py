"""Follow: JSON lines of a file that grows are pushed, each exactly once."""

import json
import os
import threading
import time
from datetime import datetime

import pytest
from conftest import at
from inside import database_of

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, NotFoundError
from tinymlops.features.intake import file_tail
from tinymlops.records import PushBatch, RefusedLine, StreamPosition

project = tm.Project("shop")
customer = project.entity("customer", key="customer")


@project.source(timestamp="at")
def clicks() -> tm.Schema:
    """Without ids: only the position in the file tells what is stored."""
    return {"click": int, "customer": str, "at": datetime, "amount": float}


@project.source(timestamp="at", id="order")
def orders() -> tm.Schema:
    return {"order": int, "customer": str, "at": datetime}


@project.source(timestamp="at")
def visits() -> str:
    return "select 'a' as customer, timestamptz '2024-01-01' as at"


@project.feature_view(entity=customer)
def clicking(clicks: tm.Rows) -> tm.Features:
    return {"last": clicks["amount"].last(), "n": clicks.count(window="1d")}


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(10))) as ws:
        ws.apply(project)
        yield ws


@pytest.fixture
def file(tmp_path):
    return tmp_path / "clicks.jsonl"


def line(click, **other):
    return json.dumps({"click": click, "customer": "a", "at": at(1).isoformat(), "amount": 1.0, **other}) + "\n"


def lines(first, end):
    return "".join(map(line, range(first, end)))


def append(file, text):
    with file.open("a") as open_file:
        open_file.write(text)


def stored(ws, column="click"):
    return ws.sql("select * from clicks_history order by __sequence")[column].to_list()


class Steps:
    """Does one thing after the other while a file is followed, each once the rows before it are stored; then stops."""

    def __init__(self, ws, *steps):
        self._ws, self._steps, self._wanted = ws, [*steps], 0
        self._deadline = time.monotonic() + 30

    def __call__(self):
        assert time.monotonic() < self._deadline, f"{self._wanted} rows do not come: {len(stored(self._ws))}"
        if len(stored(self._ws)) < self._wanted:
            return False
        if not self._steps:
            return True
        rows, do = self._steps.pop(0)
        do()
        self._wanted += rows
        return False


def test_lines_that_are_there_are_taken_once(ws, file):
    file.write_text(lines(0, 7))
    done = ws.follow("clicks", file, once=True)
    assert (done.lines, done.rows_new, done.batches, done.online, done.sequence) == (7, 7, 1, "current", 7)
    assert repr(done) == f"<followed {file} into clicks: 7 lines, 7 new; Q=7, online current>"
    append(file, lines(7, 9))
    assert ws.follow(clicks, str(file), once=True).rows_new == 2
    assert ws.follow(clicks, str(file), once=True).rows_new == 0
    assert stored(ws) == [*range(9)]
    assert database_of(ws).list(PushBatch) == []
    (position,) = database_of(ws).list(StreamPosition)
    assert (position.offset, position.line, position.path) == (file.stat().st_size, 9, str(file))
    assert [entry.action for entry in ws.audit.list()][:2] == ["push", "push"]


def test_features_are_online(ws, file):
    ws.materialize()
    file.write_text(lines(0, 3))
    ws.follow("clicks", file, once=True)
    assert ws.get_online_features(["clicking"], [{"customer": "a"}]).to_polars()["last"].to_list() == [1.0]


def test_more_lines_than_a_batch_holds(ws, file):
    file.write_text(lines(0, 12_000))
    assert ws.follow("clicks", file, once=True).batches == 2
    assert stored(ws) == [*range(12_000)]


def test_lines_come_while_it_is_followed(ws, file):
    steps = Steps(ws, (2, lambda: file.write_text(lines(0, 2))), (3, lambda: append(file, lines(2, 5))))
    done = ws.follow("clicks", file, stop=steps)  # it does not exist at first
    assert (done.rows_new, stored(ws)) == (5, [*range(5)])


def test_half_a_line_waits_for_its_end(ws, file):
    half = line(1)
    file.write_text(line(0) + half[:20])
    assert ws.follow("clicks", file, once=True).rows_new == 1
    append(file, half[20:])
    assert ws.follow("clicks", file, once=True).rows_new == 1
    steps = Steps(ws, (0, lambda: append(file, line(2)[:9])), (1, lambda: append(file, line(2)[9:])))
    assert ws.follow("clicks", file, stop=steps).rows_new == 1
    assert stored(ws) == [0, 1, 2]


def test_a_rotated_file_is_read_to_its_end_first(ws, file, monkeypatch):
    monkeypatch.setattr(file_tail, "_LETTING_GO", 0.3)
    old = file.with_name("clicks.jsonl.1")

    def rotate():
        file.rename(old)
        append(old, lines(2, 4))
        file.write_text(lines(4, 6))
        append(old, line(99)[:-1])  # its writer is late, and dies within a line end

    steps = Steps(ws, (2, lambda: file.write_text(lines(0, 2))), (5, rotate), (1, lambda: append(file, lines(6, 7))))
    ws.follow("clicks", file, stop=steps)
    assert stored(ws) == [0, 1, 2, 3, 99, 4, 5, 6]
    assert ws.follow("clicks", file, once=True).lines == 0


def test_a_second_rotation_before_the_first_file_is_left(ws, file, monkeypatch):
    monkeypatch.setattr(file_tail, "_LETTING_GO", 0.5)

    def rotate(name, text):
        file.rename(file.with_name(name))
        file.write_text(text)

    steps = Steps(
        ws,
        (2, lambda: file.write_text(lines(0, 2))),
        (0, lambda: rotate("first", lines(2, 4))),
        (0, lambda: None),  # the second file is opened
        (4, lambda: rotate("second", lines(4, 6))),
    )
    ws.follow("clicks", file, stop=steps)
    assert stored(ws) == [*range(6)]


def test_rotations_while_nobody_follows(ws, file):
    file.write_text(lines(0, 2))
    ws.follow("clicks", file, once=True)
    append(file, lines(2, 3))
    for number, name in enumerate(("clicks.jsonl.2", "clicks.jsonl.1")):
        file.rename(file.with_name(name))
        file.write_text(lines(3 + number, 4 + number))
    file.with_name("clicks.jsonl.lock").write_text("no rows")
    packed = file.with_name("clicks.jsonl.3.gz")
    packed.write_bytes(b"no rows")
    os.utime(packed, (0, 0))
    assert ws.follow("clicks", file, once=True).rows_new == 3
    assert stored(ws) == [*range(5)]


def test_a_compressed_file_that_was_not_read_is_told(ws, file):
    file.write_text(lines(0, 2))
    ws.follow("clicks", file, once=True)
    file.rename(file.with_name("clicks.jsonl.2"))
    file.with_name("clicks.jsonl.1.gz").write_bytes(b"rows")
    file.write_text(lines(4, 5))
    with pytest.warns(UserWarning, match=r"clicks.jsonl.1.gz may hold lines that were not read, and is compressed"):
        ws.follow("clicks", file, once=True)
    assert stored(ws) == [0, 1, 4]


def test_a_file_that_was_rotated_away_and_not_replaced(ws, file):
    file.write_text(lines(0, 2))
    ws.follow("clicks", file, once=True)
    append(file, lines(2, 3))
    file.rename(file.with_name("clicks.jsonl-20240101"))
    assert ws.follow("clicks", file, once=True).rows_new == 1
    assert stored(ws) == [0, 1, 2]


def test_a_link_that_points_at_another_file_now(ws, file):
    first, second = file.with_name("monday"), file.with_name("tuesday")
    first.write_text(lines(0, 2))
    file.symlink_to(first)
    ws.follow("clicks", file, once=True)
    append(first, lines(2, 3))
    second.write_text(lines(3, 5))
    file.unlink()
    file.symlink_to(second)
    ws.follow("clicks", file, once=True)
    assert stored(ws) == [*range(5)]


def test_a_lost_file_is_told(ws, file):
    file.write_text(lines(0, 2))
    ws.follow("clicks", file, once=True)
    file.unlink()
    file.with_name("other").write_text("it takes the inode")
    file.write_text(lines(2, 9))
    with pytest.warns(UserWarning, match=r"is not the file that was read before, up to line 2.* is not found"):
        ws.follow("clicks", file, once=True)
    assert stored(ws) == [*range(9)]


@pytest.mark.parametrize("more", [2, 40], ids=["shorter", "longer"])
def test_a_truncated_file_is_read_from_its_beginning(ws, file, more):
    file.write_text(lines(0, 20))
    steps = Steps(ws, (20, lambda: None), (more, lambda: file.write_text(lines(20, 20 + more))))
    with pytest.warns(UserWarning, match="was truncated after line 20: it is read from its beginning"):
        ws.follow("clicks", file, stop=steps)
    assert stored(ws) == [*range(20 + more)]


def test_the_copy_of_a_truncated_file_is_read_to_its_end(ws, file):
    file.write_text(lines(0, 2))
    ws.follow("clicks", file, once=True)
    append(file, lines(2, 5))
    file.with_name("clicks.jsonl.1").write_bytes(file.read_bytes())  # logrotate's copytruncate
    file.write_text(lines(5, 6))
    ws.follow("clicks", file, once=True)
    assert stored(ws) == [*range(6)]


def test_a_hole_is_passed_over(ws, file):
    file.write_text(lines(0, 3))
    ws.follow("clicks", file, once=True)
    with file.open("r+b") as open_file:  # a writer that does not append goes on at its position
        open_file.truncate(0)
        open_file.seek(3_000_000)
        open_file.write(line(3).encode())
    with pytest.warns(UserWarning, match="from its beginning|is not the file"):
        ws.follow("clicks", file, once=True)
    append(file, line(4))
    assert ws.follow("clicks", file, once=True).rows_new == 1
    assert stored(ws) == [*range(5)]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{\n", "it is not a JSON object"),
        ("[1]\n", "it is not a JSON object"),
        ('{"a": 1}, {"a": 2}\n', "it is not a JSON object"),
        ("\xff\n", "has no column 'ÿ'|it is not a JSON object"),
        (line(2, amount="much"), "column 'amount' of source 'clicks' is Float64 and holds 'much'\nHint"),
        (line(2, colour="red"), "source 'clicks' has no column 'colour'"),
        (line(2, at=None), "column 'at' of source 'clicks' is null"),
        ('{"click": 2}\n', "column .* is missing"),
    ],
)
def test_a_bad_line_stops_it_and_is_named(ws, file, bad, said):
    file.write_text(lines(0, 2) + "\n" + bad + lines(3, 5))
    for _ in range(2):
        with pytest.raises(DataError, match=f"line 4 of .*clicks.jsonl: .*{said}") as raised:
            ws.follow("clicks", file, once=True)
        assert "--bad-lines skip" in raised.value.hint
        assert stored(ws) == [0, 1]
    done = ws.follow("clicks", file, once=True, bad_lines="skip")
    assert (done.rows_new, done.lines_refused) == (2, 1)
    assert stored(ws) == [0, 1, 3, 4]
    (refused,) = database_of(ws).list(RefusedLine)
    assert (refused.line, refused.content) == (4, bad)
    assert ws.sql("select line from refused_lines").rows() == [(4,)]


def test_many_bad_lines_are_counted_and_the_first_thousand_kept(ws, file):
    file.write_text("".join(line(n) if n % 3 else line(n, amount="x") if n % 2 else "{\n" for n in range(3_300)))
    done = ws.follow("clicks", file, once=True, bad_lines="skip")
    assert (done.rows_new, done.lines_refused) == (2_200, 1_100)
    assert stored(ws) == [n for n in range(3_300) if n % 3]
    assert [one.line for one in database_of(ws).list(RefusedLine)] == [*range(1, 3_001, 3)]
    (position,) = database_of(ws).list(StreamPosition)
    assert (position.refused, position.line) == (1_100, 3_300)


def test_checks_keep_rows_aside_or_refuse_the_batch(tmp_path, file):
    checked = tm.Project("checked")

    @checked.source(timestamp="at")
    def pings() -> tm.Schema:
        return {"at": datetime, "amount": float}

    def ping(amount):
        return json.dumps({"at": at(1).isoformat(), "amount": amount}) + "\n"

    with tm.connect(tmp_path / "checked.tm", create=True, clock=tm.ReplayClock(at(10))) as ws:
        checked.check(pings, tm.between("amount", 0), action="quarantine", name="sane")
        ws.apply(checked)
        file.write_text(ping(1.0) + ping(-1.0))
        with pytest.warns(UserWarning, match="in quarantine"):
            assert ws.follow("pings", file, once=True).rows_quarantined == 1
        checked.check(pings, tm.between("amount", 0, 10), action="fail", name="bounded")
        ws.apply(checked)
        append(file, ping(2.0) + ping(11.0))
        with pytest.raises(DataError, match=r"lines 3 to 4 of .*does not pass|lines 3 to 4 of .*do not pass"):
            ws.follow("pings", file, once=True)


def test_ids_are_compared_as_by_push(ws, file):
    file.write_text(
        "".join(json.dumps({"order": n % 3, "customer": "a", "at": at(1).isoformat()}) + "\n" for n in range(6))
    )
    done = ws.follow("orders", file, once=True)
    assert (done.rows_new, done.rows_known) == (3, 3)
    again = file.with_name("again.jsonl")
    again.write_bytes(file.read_bytes())
    assert ws.follow("orders", again, once=True).rows_known == 6


def test_one_process_follows_a_file(ws, file):
    file.write_text(lines(0, 2))

    def other():
        if not stored(ws):
            ws.follow("clicks", file, once=True)
            append(file, lines(2, 3))
        return False

    with pytest.raises(ConflictError, match="another process follows"):
        ws.follow("clicks", file, stop=other)
    assert stored(ws) == [0, 1]


def test_a_stop_stores_what_was_read(ws, file):
    file.write_text(lines(0, 3))
    asked = iter([False, True])
    assert ws.follow("clicks", file, stop=lambda: next(asked)).rows_new in (0, 3)
    asked = iter([False, False, True])  # opened, read, stopped
    ws.follow("clicks", file, stop=lambda: next(asked))
    assert stored(ws) == [0, 1, 2]


def test_a_pipe_is_read_to_its_end(ws):
    reader, writer = os.pipe()

    def write():
        with os.fdopen(writer, "w") as pipe:
            pipe.write(lines(0, 3) + line(3)[:10])
            pipe.flush()
            time.sleep(0.4)
            pipe.write(line(3)[10:] + line(4).rstrip())

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader, "rb") as pipe:
        done = ws.follow("clicks", pipe)
    thread.join()
    assert (done.path, done.lines, done.rows_new, done.batches) == ("-", 5, 5, 2)
    assert stored(ws) == [*range(5)]
    assert len(database_of(ws).list(PushBatch)) == 2
    assert database_of(ws).list(StreamPosition) == []


def test_a_bad_line_of_a_pipe(ws):
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe:
        pipe.write(line(0) + "{}\n" + line(2) + "{\n")
    with os.fdopen(reader, "rb") as pipe:
        done = ws.follow("clicks", pipe, bad_lines="skip")
    assert (done.rows_new, done.lines_refused) == (2, 2)
    assert [one.line for one in database_of(ws).list(RefusedLine)] == [2, 4]


def test_what_cannot_be_followed(ws, file, tmp_path):
    with pytest.raises(NotFoundError, match="there is no file"):
        ws.follow("clicks", file, once=True)
    with pytest.raises(DataError, match="is not a regular file"):
        ws.follow("clicks", tmp_path, once=True)
    os.mkfifo(file)
    with pytest.raises(DataError, match="is not a regular file"):
        ws.follow("clicks", file, once=True)
    with pytest.raises(DataError, match="takes no pushes"):
        ws.follow("visits", file, once=True)
    with pytest.raises((NotFoundError, DefinitionError), match="click"):
        ws.follow("click", file, once=True)


def test_a_line_without_end_is_refused(ws, file, monkeypatch):
    file.write_bytes(line(0).encode() + b" " * (17 * 2**20))
    with pytest.raises(DataError, match="longer than 16 MiB"):
        ws.follow("clicks", file, once=True)
