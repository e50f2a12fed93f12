"""A forked child works with tables, or gets an error that it cannot; it never hangs."""

import os
import subprocess
import sys
from datetime import UTC, datetime

import polars as pl
import pytest

import tinymlops as tm
from tinymlops.errors import ConflictError

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

ROWS = pl.DataFrame({"k": [2, 1], "at": [datetime(2024, 1, 1, tzinfo=UTC)] * 2, "v": [5, 6]}).sort("k")

FORK_BEFORE_USE = """
import os
import sys
from datetime import UTC, datetime
import polars as pl
import tinymlops as tm

child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
rows = pl.DataFrame({"k": [1], "at": [datetime(2024, 1, 1, tzinfo=UTC)], "v": [5]})
assert tm.point_in_time_join(rows.drop("v"), rows, key="k", timestamp="at")["v"].to_list() == [5]
"""


@pytest.fixture(autouse=True)
def threads():
    """Let Polars have threads in the parent."""
    ROWS.lazy().group_by("k").agg(pl.col("v").sum()).sort("k").collect()


def in_fork(function):
    """Run it in a forked child and return whether it ended."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def refused(call):
    with pytest.raises(ConflictError, match='forked from one that had used Polars.*\n.*"spawn" or "forkserver"'):
        call()


def test_a_join_in_a_fork_of_a_process_that_used_polars_is_refused():
    assert in_fork(lambda: refused(lambda: tm.point_in_time_join(ROWS, ROWS, key="k", timestamp="at", prefix="p_")))


def test_a_workspace_in_such_a_fork_tracks_runs_and_refuses_features(tmp_path):
    def child():
        with tm.connect(tmp_path / "shop.tm", create=True) as ws:
            ws.start_run("fit").finish()
            refused(lambda: ws.get_historical_features(ROWS, ["spending"], timestamp="at"))
            refused(lambda: ws.apply(tm.Project("shop")))

    assert in_fork(child)


def test_a_fork_of_a_fork_is_refused_as_well():
    assert in_fork(
        lambda: os._exit(
            0 if in_fork(lambda: refused(lambda: tm.point_in_time_join(ROWS, ROWS, key="k", timestamp="at"))) else 1
        )
    )


def test_a_fork_before_the_first_use_works():
    done = subprocess.run(
        [sys.executable, "-c", FORK_BEFORE_USE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
