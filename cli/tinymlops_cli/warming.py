"""Compile the kernels ahead of time, for what a project does with rows.

It runs the verbs themselves, with a few rows and every kernel interpreted, so it finds every kernel that they call, with
the types that they pass.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import tinymlops as tm
from tinymlops.features.definitions.expressions import Aggregate, Function, Operand

if TYPE_CHECKING:
    import polars as pl

__all__ = ["compile_beside", "compile_kernels"]

_DAY = "2024-01-01 00:00:00+00"
_HALF = "2024-01-01T00:20:00+00:00"
_ROWS = f"""
    select i, i % 2 as thing, i // 3 as number, timestamptz '{_DAY}' + to_minutes(i) as at,
        timestamptz '{_DAY}' + to_minutes(case when i % 5 = 0 then 60 else i end) as known_at,
        i * 0.5 as x, case when i % 7 = 0 then 1e-100 else 1e100 end as wide, i % 3 = 0 as flag,
        i % 2 * 1000000000000 as far, 'a key of some length, ' || i % 2 as text
    from range(40) as t(i)
"""
_OF_CONDITIONS = ("any", "all")
_WITHOUT_WINDOW = ("first", "last")
_VIEWS = ("in_order", "out_of_order")


def compile_kernels() -> None:
    """Put the machine code of every kernel into the cache."""
    with tempfile.TemporaryDirectory() as folder:
        _compile(Path(folder))


def compile_beside(parent: int) -> None:
    """Compile for another process, as long as that one lives, unless a process does so already.

    Args:
        parent: The process that started this one.
    """
    from tinymlops.kernels.beside import end_with, only_one
    from tinymlops.kernels.cache import cache_directory

    end_with(parent)
    gc.disable()  # the compiler keeps most of its memory, and this process ends soon
    with only_one() as alone:
        home = cache_directory()
        if not alone or home is None:
            return
        # A fixed place, which the next process clears: this one may be killed at any moment.
        folder = Path(home, "warming")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        _compile(folder)


def _compile(folder: Path) -> None:
    """Compile the kernels for whole tables of history first, from the last to the first.

    A process that needs a kernel meanwhile starts at the other end.
    """
    from tinymlops.kernels.compiling import recorded

    with recorded() as signatures:
        _walk(folder)
    shutil.rmtree(folder, ignore_errors=True)
    for kernel, signature in reversed(signatures):
        kernel.compile(signature)


def _walk(folder: Path) -> None:
    """Run a small project from its sources to current and historical features, in a temporary workspace."""
    rows = _rows()
    _sum_many_rows()
    _look_into_a_window()
    for key in ("thing", "far", "text"):
        spine, facts = rows.select(key, "at"), rows.select(key, "at", "known_at", "x")
        for created in (None, "known_at"):
            tm.point_in_time_join(spine, facts, key=key, timestamp="at", created=created, prefix="p_", details=True)
    project = _project()
    clock = tm.ReplayClock(_HALF)
    with tm.connect(folder / "warm.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        for _ in range(2):  # again, for rows that are compared with history and merged with those that are online
            ws.ingest()
            ws.materialize()
            clock.advance("1d")
        for view in _VIEWS:
            ws.get_online_features([view], [{"thing": 0}, {"thing": 1}])
        for view in _VIEWS:
            ws.get_historical_features(rows.select("thing", timestamp="at"), [view], details=True)


def _sum_many_rows() -> None:
    """Combine the totals of two parts, which only a larger table has."""
    import numpy as np

    from tinymlops.kernels.totals import PAIR, add_on_threads

    add_on_threads(np.zeros((1, PAIR), np.uint64), np.zeros(PAIR, np.uint64))


def _look_into_a_window() -> None:
    """Mark the rows of one window, which only a deviation that could not be rounded with certainty needs."""
    import numpy as np

    from tinymlops.kernels.asof import in_window

    none = np.zeros(0, np.int64)
    in_window(none, none, none, np.zeros(0, np.bool_), 0, 0)


def _project() -> tm.Project:
    project = tm.Project("warming")
    thing = project.entity("thing", key="thing")

    @project.source(timestamp="at")
    def steady() -> str:
        """Rows in the order they became known."""
        return _ROWS

    @project.source(timestamp="at", id="number", created="known_at")
    def revised() -> str:
        """Rows that came late, and corrections."""
        return _ROWS

    @project.feature_view(entity=thing, ttl="1d")
    def in_order(steady: tm.Rows) -> tm.Features:
        return _every_expression(steady)

    @project.feature_view(entity=thing, ttl="1d")
    def out_of_order(revised: tm.Rows) -> tm.Features:
        return _every_expression(revised)

    return project


def _every_expression(rows: tm.Rows) -> dict[str, Aggregate]:
    found = {"rows": rows.count(window="1h"), "flags": rows["flag"].sum(window="1h")}
    for column in ("i", "x", "wide"):
        for function in get_args(Function):
            for suffix, where in (("", None), ("_where", rows["flag"])):
                operand = rows[column] > 0 if function in _OF_CONDITIONS else rows[column]
                found[f"{column}_{function}{suffix}"] = _aggregate(operand, function, where)
    return found


def _aggregate(operand: Operand, function: str, where: Operand | None) -> Aggregate:
    options: dict[str, Any] = {"where": where, **({"q": 0.9} if function == "quantile" else {})}
    if function not in _WITHOUT_WINDOW:
        options["window"] = "1h"
    found: Aggregate = getattr(operand, function)(**options)
    return found


def _rows() -> pl.DataFrame:
    from tinymlops.stores.engine import query

    return query(_ROWS, root=Path.cwd())
