"""The progress bar: drawn after two seconds on a terminal, never into a file, and gone afterwards."""

import os
import pty
import select
import subprocess
import sys

import pytest

from tinymlops.progress import progress

LONG = """
import sys
import tinymlops.progress as bar

now = [0.0]
bar.time.monotonic = lambda: now[0]  # rich has its own clock
with bar.progress("reading", 10) as advance:
    advance(1)
    print("early", flush=True)
    now[0] = 1.9
    advance(1)
    print("quiet", flush=True)
    now[0] = 2.0
    advance(3)
    {work}
    print("late", flush=True)
print("done", flush=True)
"""


def in_terminal(code):
    """Run Python with its standard error on a pseudo-terminal; return its exit code, output and what was drawn."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80"}
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        environment.pop(name, None)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs, env=environment)
    os.close(theirs)
    drawn = b""
    try:
        while select.select([ours], [], [], 60)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            drawn += part
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return process.returncode, output.decode().split(), drawn.decode()


def test_a_bar_appears_after_two_seconds_in_a_terminal_and_is_gone_afterwards():
    code, output, drawn = in_terminal(LONG.format(work=""))
    assert (code, output) == (0, ["early", "quiet", "late", "done"])
    assert "reading" in drawn
    assert "5/10" in drawn
    assert "2/10" not in drawn, "two were done before it appeared"
    assert drawn.rstrip().endswith("\x1b[2K"), "its line is erased"
    assert "\x1b[?25l" not in drawn, "the cursor was never hidden"


def test_a_bar_is_gone_when_the_work_fails():
    code, output, drawn = in_terminal(LONG.format(work="raise ValueError('broken')"))
    assert (code, output) == (1, ["early", "quiet"])
    bar, _, traceback = drawn.partition("Traceback")
    assert "5/10" in bar
    assert bar.rstrip().endswith("\x1b[2K")
    assert "\x1b[?25l" not in bar
    assert "ValueError: broken" in traceback


def test_short_work_in_a_terminal_draws_nothing():
    code, output, drawn = in_terminal(
        "from tinymlops.progress import progress\nwith progress('reading', 2) as advance:\n    advance(2)"
    )
    assert (code, output, drawn) == (0, [], "")


def test_nothing_is_drawn_where_standard_error_is_piped():
    result = subprocess.run(
        [sys.executable, "-c", LONG.format(work="")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout.split(), result.stderr) == (0, ["early", "quiet", "late", "done"], "")


def test_rich_is_loaded_only_for_a_bar_that_is_drawn():
    code = (
        "import sys\nfrom tinymlops.progress import progress\n"
        "with progress('x', 1) as advance: advance(1)\nassert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_exception_passes_through_unchanged():
    with pytest.raises(KeyError, match="'x'"), progress("reading", 1):
        raise KeyError("x")


COMPILING = """
import numpy as np
from tinymlops.kernels.asof import back, first_at_least
for _ in range(2):
    first_at_least(np.arange(3), 0, 3, 1)
    back(5, 1)
print("done")
"""


def test_the_first_compilation_says_what_takes_so_long_and_the_next_process_has_nothing_to_say(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert in_terminal(COMPILING) == (0, ["done"], "tinymlops: compiling its kernels, once for this machine ...\r\n")
    assert in_terminal(COMPILING) == (0, ["done"], "")


def test_a_pipe_hears_nothing_of_compiling(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", COMPILING]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    assert (result.stdout, result.stderr) == ("done\n", "")
