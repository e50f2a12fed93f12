"""LanceDB as an index of vectors: built once, then only read; the only module that imports it.

No row is ever deleted, updated or merged in, and its versions mean nothing here. What it finds are numbers of spans, which
the caller checks. Its threads do not survive a fork.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops._forks import require_threads
from tinymlops.errors import ConflictError, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

__all__ = ["LanceIndex", "build", "is_ready", "load", "open_index", "partitions"]

Array = np.ndarray[Any, Any]
_TABLE = "spans"
_VECTOR = "vector"
_BATCH = 8_192
_MULTIPLE = 8
"""Its quantizer takes dimensions that are multiples of this: zeros are added, which change no score."""
_KEPT_OPEN = 8


class _Loaded:
    """Whether the package is loaded, and by which process."""

    def __init__(self) -> None:
        self.process: int | None = None
        self.asked = False


_loaded = _Loaded()
_opened: dict[Path, LanceIndex] = {}
_lock = threading.Lock()


def is_ready() -> bool:
    """Return whether to search by it now.

    A process's first search does without, because loading takes longer than one exact search. The second loads it.
    """
    if _loaded.process is not None:
        return _loaded.process == os.getpid()
    if not _loaded.asked:
        _loaded.asked = True
        return False
    load()
    return True


def load() -> None:
    """Load the package, once a process; takes seconds.

    Raises:
        ConflictError: In a fork of a process that had loaded it.
    """
    require_threads()
    with _lock:
        if _loaded.process not in (None, os.getpid()):
            raise ConflictError(
                f"process {os.getpid()} was forked from one that had loaded LanceDB, whose threads a fork does not have",
                hint='start the child by "spawn" or "forkserver"',
            )
        os.environ.setdefault("LANCEDB_LOG", "error")  # it warns of clusters, by the hundred, on stderr
        import lancedb  # noqa: F401  # imported for its threads to start here

        _loaded.process = os.getpid()


def build(directory: Path, vectors: Array, spans: Array, number: Array, begins: Array, ends: Array, metric: str) -> str:
    """Build an index in an empty directory; nothing is synced.

    Args:
        directory: Where.
        vectors: float32[u, d].
        spans: int64[s], the numbers that a search returns.
        number: int64[s], the vector of each.
        begins: int64[s].
        ends: int64[s]; a search at `t` finds spans of `begins <= t < ends`.
        metric: "cosine", "dot" or "l2".

    Returns:
        The version of LanceDB.

    Raises:
        IntegrityError: If LanceDB fails, whatever the reason.
    """
    load()
    import lancedb
    from lancedb.index import IvfRq

    schema = _schema(_padded(vectors.shape[1]))
    with _translated(directory):
        batches = _batches(vectors, spans, number, begins, ends, schema)
        table = lancedb.connect(str(directory)).create_table(_TABLE, batches, schema=schema)
        # Other than by default, the number of partitions does not depend on how large a file is.
        config = IvfRq(distance_type=metric, num_partitions=partitions(spans.size), num_bits=1)  # type: ignore[arg-type]
        table.create_index(_VECTOR, config=config)
    return lancedb.__version__


def partitions(rows: int) -> int:
    """Return into how many parts an index of so many rows divides the vectors."""
    return max(1, isqrt(rows))


class LanceIndex:
    """An index that is open for reading; safe for threads.

    Args:
        path: Its directory.
        metric: By which it must have been built: by another one, LanceDB would search all vectors and say nothing.

    Raises:
        IntegrityError: If it cannot be opened, or is of another metric.
    """

    def __init__(self, path: Path, metric: str) -> None:
        import lancedb

        self._path, self._metric = path, metric
        with _translated(path):
            self._table = lancedb.connect(str(path)).open_table(_TABLE)
            named = [index.name for index in self._table.list_indices() if index.columns == [_VECTOR]]
            stats = self._table.index_stats(named[0]) if named else None
        if stats is None or stats.distance_type != metric or stats.num_unindexed_rows:
            raise IntegrityError(f"{path} is not an index by {metric} of all its rows", hint=_CURE)
        self._dimension = _padded_dimension(self._table.schema)

    def near(self, query: Array, t: int | None, count: int, probes: int) -> Array:
        """Return numbers of the spans around a time whose vectors are about the nearest, int64[<= count], best first.

        Args:
            query: float32[d].
            t: The time; None for all spans.
            count: How many.
            probes: How many partitions are searched.

        Raises:
            IntegrityError: If LanceDB fails, whatever the reason.
        """
        padded = np.zeros(self._dimension, np.float32)
        padded[: query.size] = query
        with _translated(self._path):
            search: Any = self._table.search(padded, vector_column_name=_VECTOR)
            search = search.distance_type(self._metric)
            search = search.nprobes(probes).limit(count)
            if t is not None:
                search = search.where(f"begins <= {t} AND ends > {t}", prefilter=True)
            found = search.select(["span", "_distance"]).to_arrow()
            spans: Array = found["span"].to_numpy().astype(np.int64)
        return spans


def open_index(path: Path, metric: str) -> LanceIndex:
    """Return an index that is open; the last few stay open."""
    with _lock:
        known = _opened.get(path)
    if known is not None:
        return known
    opened = LanceIndex(path, metric)
    with _lock:
        while len(_opened) >= _KEPT_OPEN:
            _opened.pop(next(iter(_opened)))
        _opened[path] = opened
    return opened


def _padded(dimension: int) -> int:
    return -(-dimension // _MULTIPLE) * _MULTIPLE


def _padded_dimension(schema: pa.Schema) -> int:
    return int(schema.field(_VECTOR).type.list_size)


def _schema(dimension: int) -> pa.Schema:
    import pyarrow as pa

    numbers = [pa.field(name, pa.int64(), nullable=False) for name in ("span", "begins", "ends")]
    return pa.schema([*numbers, pa.field(_VECTOR, pa.list_(pa.float32(), dimension), nullable=False)])


def _batches(
    vectors: Array, spans: Array, number: Array, begins: Array, ends: Array, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    dimension = _padded_dimension(schema)
    for start in range(0, spans.size, _BATCH):
        part = slice(start, start + _BATCH)
        padded = np.zeros((spans[part].size, dimension), np.float32)
        padded[:, : vectors.shape[1]] = vectors[number[part]]
        values = pa.FixedSizeListArray.from_arrays(pa.array(padded.reshape(-1)), dimension)
        columns = [pa.array(one[part]) for one in (spans, begins, ends)]
        yield pa.record_batch([*columns, values], schema=schema)


_CURE = "run `tinymlops doctor --repair`; until then searches are exact"


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Make one kind of error of all that LanceDB raises, panics of Rust included, which are no `Exception`."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise IntegrityError(f"LanceDB cannot use {path}: {str(error)[:300]}", hint=_CURE) from error


def _in_child() -> None:
    _opened.clear()
    if "lancedb" in sys.modules and _loaded.process is None:  # loaded by the user's code
        _loaded.process = -1


os.register_at_fork(after_in_child=_in_child)
