"""Ctrl-C at a real terminal, in the middle of a join that shows its bar."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from command_line import PROGRAM

import tinymlops as tm

JOIN = """
import fcntl, os, sys, termios, threading
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # this terminal's Ctrl-C is for this process
import polars as pl
import tinymlops as tm
from tinymlops import progress
from tinymlops.features.join import tables
progress._QUIET = 0.0
tables._BATCH_ROWS = 100  # thousands of small reads: long enough to be interrupted anywhere
spine = pl.read_parquet("spine.parquet")
try:
    tm.point_in_time_join(spine, "rows.parquet", key="id", timestamp="at", ttl="1d")
except KeyboardInterrupt:
    again = tm.point_in_time_join(spine, spine.with_columns(x=1), key="id", timestamp="at")
    assert again["x"].sum() == spine.height, "the next call works as if nothing had been"
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    assert all(name.startswith("tinymlops-kernel") for name in others), others
    print("interrupted", sorted(os.listdir()), flush=True)
else:
    print("not interrupted", flush=True)
"""


def read_until(terminal, wanted, *, seconds=60):
    """What the terminal shows until some text; all of it when the process ends."""
    shown, end = b"", time.monotonic() + seconds
    while wanted not in shown and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 65_536)
            except OSError:  # nobody has it open any more
                break
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="terminals are others there")
def test_ctrl_c_at_a_terminal_ends_a_join_and_leaves_nothing(tmp_path):
    rows, moment = 400_000, pl.lit(0).cast(pl.Datetime("us", "UTC"))
    table = pl.DataFrame({"id": np.arange(rows) % 100, "x": np.arange(rows)}).with_columns(at=moment)
    table.write_parquet(tmp_path / "rows.parquet")
    table.select("id", "at").head(100).write_parquet(tmp_path / "spine.parquet")
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", JOIN], cwd=tmp_path, stdin=there, stdout=there, stderr=there, start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(there)
    try:
        bar = read_until(here, b"/800000")
        assert b"joining" in bar, bar
        os.write(here, b"\x03")
        said = read_until(here, b"']")
        assert b"interrupted ['rows.parquet', 'spine.parquet']" in said, said
        assert b"not interrupted" not in said
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(here)


def test_ctrl_c_ends_a_question_in_sql_without_a_traceback(tmp_path):
    workspace = tmp_path / "shop.tm"
    tm.connect(workspace, create=True).close()
    (tmp_path / "tinymlops.toml").write_text('workspace = "shop.tm"\n')
    process = subprocess.Popen(
        [PROGRAM, "sql", "select count(*) from range(1000000000000)"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    end = time.monotonic() + 60
    while not list((workspace / "tmp").iterdir()) and time.monotonic() < end:  # its directory for what is spilled
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (130, "interrupted\n")
    assert list((workspace / "tmp").iterdir()) == []
