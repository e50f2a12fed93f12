"""Compile every kernel ahead of time, so that no first request or notebook cell waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tinymlops.kernels import asof, windows
from tinymlops.kernels._compile import _cache_directory
from tinymlops.kernels.records import Records, arrange

__all__ = ["cache_directory", "compile_all", "steps"]

Array = np.ndarray[Any, Any]


def cache_directory() -> Path | None:
    """Return where compiled code is kept; None where no directory is private enough, and each process compiles."""
    found = _cache_directory()
    return Path(found) if found is not None else None


def steps() -> int:
    """Return how often `compile_all` advances."""
    return sum(1 for _ in _calls())


def compile_all(advance: Callable[[int], None]) -> None:
    """Call everything once with a few rows: what is not in the cache yet is compiled and kept there.

    Args:
        advance: Is told of each step done.
    """
    for call in _calls():
        call()
        advance(1)


def _calls() -> Iterator[Callable[[], object]]:
    """Calls that reach every kernel: rows with and without corrections, in and out of order, of each type."""
    key = np.array([0, 1, 0, 1, 0], np.int64)
    event = np.array([3, 1, 2, 5, 4], np.int64)
    created = event.copy()
    yield partial(asof.latest_unsorted, key, event, key, event, event, None, keys=2, strict=False)
    records, _ = arrange(
        key,
        event,
        event + 1,
        created,
        None,
        keys=2,
        ids=np.array([0, 1, 0, 2, 3], np.int64),
        deleted=np.array([False, False, False, True, False]),
    )
    late, _ = arrange(key, event, np.array([9, 1, 2, 5, 1], np.int64), None, None, keys=2)
    for arranged in (records, late):
        yield partial(asof.latest, arranged, key, event, strict=True, keep=np.ones(5, np.bool_), oldest=True)
        yield partial(asof.latest, arranged, key, event, strict=False, ttl=2, oldest=True)
        nothing, null = np.full(5, -1, np.int64), np.zeros(5, np.bool_)
        yield partial(asof.status, arranged, nothing, key, event, strict=False, ttl=2, value_is_null=null)
    yield from _aggregates(records, key, event)
    yield _many


def _aggregates(records: Records, key: Array, time: Array) -> Iterator[Callable[[], object]]:
    rows = records.event.size
    everywhere = np.ones(rows, np.bool_)
    flags = windows.prepare(np.ones(rows, np.int64), everywhere)
    # Far apart, so that the exact path is taken, too.
    floats = windows.prepare(np.geomspace(1e-200, 1e200, rows), everywhere)
    for function in windows.FUNCTIONS:
        for operand in (flags,) if function in ("any", "all") else (flags, floats):
            yield partial(_aggregate, function, records, operand, key, time)


def _aggregate(function: str, records: Records, operand: windows.Operand, key: Array, time: Array) -> None:
    windows.aggregate(function, records, operand, time, windows.bounds(records, key, time, 10))


def _many() -> None:
    """Sum so many rows that they are added up in parts."""
    rows = 100_001
    event = np.arange(rows, dtype=np.int64)
    records, _ = arrange(np.zeros(rows, np.int64), event, event, None, None, keys=1)
    operand = windows.prepare(np.ones(rows), np.ones(rows, np.bool_))
    _aggregate("sum", records, operand, np.zeros(1, np.int64), np.array([rows], np.int64))
