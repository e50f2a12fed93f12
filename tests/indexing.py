"""A workspace whose source gives numbered events, and a program that ingests into it, to be killed or run beside another.

`python indexing.py ingest WORKSPACE FIRST COUNT [KILL]` reads COUNT events from number FIRST on, and kills itself at the
KILLth rename of a file; `compact WORKSPACE TIMES` compacts and collects again and again.
"""

import os
import signal
import sys
from pathlib import Path

import polars as pl
from conftest import START, at

import tinymlops as tm
from tinymlops.features.intake import compaction, taking_in

FRAME = {}


def project_of(**options):
    project = tm.Project("events")
    options = {"id": "number", **options}

    @project.source(timestamp="at", **options)
    def events() -> pl.DataFrame:
        return FRAME["events"]

    return project


def events(first, count, amount=1.0):
    numbers = range(first, first + count)
    return pl.DataFrame({"number": numbers, "at": [at(n % 50) for n in numbers], "amount": amount})


def ingest(ws, frame):
    """Ingest events, compared by look-ups however few are stored."""
    FRAME["events"] = frame
    small, taking_in._SMALL = taking_in._SMALL, 0
    try:
        (report,) = ws.ingest("events")
    finally:
        taking_in._SMALL = small
    return report.rows_new, report.rows_corrected, report.rows_known


def opened(path):
    ws = tm.connect(path, create=True, clock=tm.ReplayClock(START.replace(year=2025)))
    ws.apply(project_of())
    return ws


def _kill_at_rename(number):
    rename, count = Path.rename, 0

    def counted(self, target):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        renamed = rename(self, target)
        if count == number - 1 and os.environ.get("AFTER"):
            os.kill(os.getpid(), signal.SIGKILL)
        return renamed

    Path.rename = counted


def main(verb, path, first, *rest):
    with opened(path) as ws:
        if verb == "compact":
            for _ in range(int(first)):
                compaction._MOST_SEGMENTS = 2
                ws.compact()
                ws.gc(grace="1us")
            return
        count, *kill = map(int, rest)
        if kill:
            _kill_at_rename(kill[0])
        for number in range(count):
            ingest(ws, events(int(first) + number, 20, amount=1.0))
        print(ingest(ws, events(int(first), 20 + count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
