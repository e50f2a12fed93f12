"""Generations of an embedding's index, for embeddings of many rows: what is near is found without reading every vector.

A generation is made from an image and finds its spans. Nothing that it says is believed: the image tells whether a span is
around `t`, and scores are computed from the image's vectors. So a generation can miss a row, and never add or change one. What
share it misses is measured when it is made; one that misses too many is refused, and searches stay exact.
"""

from __future__ import annotations

import logging
import shutil
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tinymlops.errors import IntegrityError, TinyMLOpsError
from tinymlops.features.vectors.arranged import known_at
from tinymlops.features.vectors.image import is_in_force
from tinymlops.kernels.nearest import LONGEST, SHORTEST, nearest
from tinymlops.kernels.records import FOREVER
from tinymlops.records import VectorIndex
from tinymlops.registry.vector_indexes import drop_indexes, index_of, named_generations, save_index
from tinymlops.stores import index_files, lance_index
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from pathlib import Path

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.arranged import Arranged
    from tinymlops.features.vectors.image import Image
    from tinymlops.features.vectors.parts import Part
    from tinymlops.features.vectors.standing import Standing

__all__ = [
    "FEW_KNOWN",
    "MANY_SPANS",
    "Generation",
    "are_enough",
    "find_generation",
    "make_generation",
    "pays",
    "remove_generations",
    "warm_up",
]

Array = np.ndarray[Any, Any]

MANY_SPANS = 200_000
"""Spans from which on a generation is made: below, reading every vector is as fast."""
FEW_KNOWN = 100_000
"""If fewer rows are known at `t`, their vectors are all read."""
LEAST_RECALL = 0.95
_GOOD_RECALL = 0.99
_OVER = 20
"""How many times more spans are asked for than rows are wanted: their distances are estimates."""
_LEAST_ASKED, _MOST_ASKED = 1_000, 20_000
_ENOUGH = 20
"""If a condition leaves fewer than so many times the rows that are wanted, every vector is read."""
_MOST_ROWS = 500
"""A search for more rows reads every vector."""
_QUERIES = 32
_NEAREST = 10
_LAST = FOREVER - 1

_log = logging.getLogger("tinymlops")


class Generation(NamedTuple):
    """A generation that is open for searching."""

    row: VectorIndex
    opened: lance_index.LanceIndex

    def near(self, part: Part, query: Array, t: int, k: int) -> Array | None:
        """Return rows of the image that are known at `t` and about the nearest, int64[m], in the order of their keys.

        None where reading every vector is faster or the only way to be right.

        Args:
            part: The image's.
            query: float32[d].
            t: The time.
            k: How many rows are wanted.
        """
        if k > _MOST_ROWS or not _is_usual(np.array([np.linalg.norm(query.astype(np.float64))])):
            return None
        if part.count(t) < FEW_KNOWN:
            return None
        try:
            return self._known(part, query, t, _asked(k))
        except TinyMLOpsError as error:  # such as files that another process has removed meanwhile
            _log.info("searching without the index of embedding %r: %s", self.row.embedding, error.message)
            return None

    def _known(self, part: Part, query: Array, t: int, count: int) -> Array:
        """Return rows around `t`, about `count` of them or more.

        LanceDB takes longer to compare the times of all spans than to find some spans more: so they are compared here,
        unless few spans are around `t`, or few of those that are near.
        """
        known, every = part.count(t), part.begun.size
        more = count if known == every else 5 * count * every // (4 * max(1, known))
        if more <= _MOST_ASKED:
            rows = _around(part.arranged, self.opened.near(query, None, more, self.row.probes), t)
            if rows.size >= count or known == every:
                return rows
        return _around(part.arranged, self.opened.near(query, t, count, self.row.probes), t)


def are_enough(rows: Array, k: int) -> bool:
    """Return whether candidates that fulfil every condition are so many that the best of them are the nearest rows."""
    return rows.size >= _ENOUGH * k


def pays(arranged: Arranged) -> bool:
    """Return whether an image has so many spans that a generation pays."""
    return arranged.spans.row.size >= MANY_SPANS


def find_generation(context: Context, standing: Standing, image: Image) -> Generation | None:
    """Return the generation over an image; None where there is none, it is damaged, or this process cannot use it."""
    if not pays(image.arranged):
        return None
    row = index_of(context.environment.database, standing.spec.name)
    if row is None or row.generation is None or row.image != image.name or row.metric != standing.spec.metric:
        return None
    directory = index_files.place(context.environment.path, row.embedding, row.generation)
    if not directory.is_dir() or not lance_index.is_ready():
        return None
    try:
        index_files.verify(directory, row.hashes)
        return Generation(row, lance_index.open_index(directory, row.metric))
    except TinyMLOpsError as error:
        _log.warning(
            "the index of embedding %r is not used, searches are exact: %s\nHint: run `tinymlops doctor --repair`",
            row.embedding,
            error.message,
        )
        return None


def make_generation(context: Context, standing: Standing, image: Image, *, anew: bool = False) -> VectorIndex | None:
    """Make the generation over an image and put it in the place of the one before; the caller lets one process do so.

    Args:
        context: The workspace's state.
        standing: Where the embedding stands.
        image: Its image.
        anew: Also if there is one over this image.

    Returns:
        Its row; None where the image has too few rows, or is not what the store has any more.
    """
    spec, environment = standing.spec, context.environment
    if not pays(image.arranged):
        remove_generations(context, spec)
        return None
    known = index_of(environment.database, spec.name)
    if known is not None and not anew and known.image == image.name and _is_there(context, known):
        return known
    with context.scope.publishing():
        try:
            row = _made(context, spec, image)
        except IntegrityError as error:  # vectors are there, and searched exactly; the next one tries again
            _log.warning("embedding %r got no index, searches are exact: %s", spec.name, error.message)
            return None
        if not is_in_force(context, standing, image):
            return None
        save_index(context.scope, row)
    if row.refused is not None:
        _log.warning(
            "the index of embedding %r is refused, searches stay exact: %s\nHint: nothing is wrong, but slower",
            spec.name,
            row.refused,
        )
    _remove_others(context, spec)
    return row


def remove_generations(context: Context, spec: EmbeddingSpec) -> None:
    """Forget an embedding's index, and remove every file of it at once."""
    if index_of(context.environment.database, spec.name) is not None:
        drop_indexes(context.scope, [spec.name])
    _remove_others(context, spec)


def warm_up(context: Context) -> None:
    """Load LanceDB in the background if an embedding has an index."""
    if named_generations(context.environment.database):
        threading.Thread(target=lance_index.load, name="loading LanceDB").start()


def _remove_others(context: Context, spec: EmbeddingSpec) -> None:
    environment = context.environment
    index_files.remove_others(environment.path, named_generations(environment.database), embedding=spec.name)


def _is_there(context: Context, row: VectorIndex) -> bool:
    if row.generation is None:
        return True  # refused
    directory = index_files.place(context.environment.path, row.embedding, row.generation)
    try:
        index_files.verify(directory, row.hashes)
    except TinyMLOpsError:
        return False
    return True


def _made(context: Context, spec: EmbeddingSpec, image: Image) -> VectorIndex:
    """Build a generation and measure it; one that is refused leaves no file."""
    arranged = image.arranged
    row = VectorIndex(
        embedding=spec.name,
        image=image.name,
        covered=image.covered,
        metric=spec.metric,
        rows=arranged.spans.row.size,
        probes=0,
        recall=0.0,
        lancedb="",
        hashes={},
        at=system_clock(),
    )
    if not _is_usual(arranged.lengths).all():
        return _replaced(row, refused="it has vectors whose lengths leave the range of float32")
    version = list[str]()

    def build(directory: Path) -> None:
        spans = _indexed(arranged, spec.metric)
        rows, begins, ends = (one[spans] for one in arranged.spans)
        numbers = arranged.vector[rows]
        version.append(
            lance_index.build(directory, arranged.vectors, spans, numbers, begins, ends, spec.metric),
        )

    name, hashes = index_files.write(context.environment.path, spec.name, build, context.environment.tmp)
    row = _replaced(row, generation=name, hashes=hashes, lancedb=version[0])
    directory = index_files.place(context.environment.path, spec.name, name)
    row = _measured(Generation(row, lance_index.LanceIndex(directory, spec.metric)), image.part)
    if row.recall < LEAST_RECALL:
        shutil.rmtree(directory)
        told = f"it finds {row.recall:.3f} of the nearest rows, and {LEAST_RECALL} is the least"
        row = _replaced(row, generation=None, hashes={}, refused=told)
    return row


def _replaced(row: VectorIndex, **changes: Any) -> VectorIndex:
    import msgspec

    return msgspec.structs.replace(row, **changes)


def _indexed(arranged: Arranged, metric: str) -> Array:
    """Return the spans that an index has: those with a vector, for cosine one that has a direction."""
    number = arranged.vector[arranged.spans.row]
    there = number >= 0
    if metric == "cosine":
        there[there] = arranged.lengths[number[there]] > 0
    return np.flatnonzero(there)


def _is_usual(lengths: Array) -> Array:
    usual: Array = ((lengths >= SHORTEST) & (lengths <= LONGEST)) | (lengths == 0)
    return usual


def _asked(k: int) -> int:
    return max(_LEAST_ASKED, _OVER * k)


def _around(arranged: Arranged, spans: Array, t: int) -> Array:
    """Return the rows of those spans that are around `t` and have a vector, each once, in the order of their keys."""
    of = arranged.spans
    spans = np.unique(spans[(spans >= 0) & (spans < of.row.size)])
    spans = spans[(of.begins[spans] <= t) & ((t < of.ends[spans]) | (of.ends[spans] == FOREVER))]
    rows: Array = of.row[spans]
    return rows[arranged.vector[rows] >= 0]


def _measured(generation: Generation, part: Part) -> VectorIndex:
    """Find how many partitions a search must read, and what share of the nearest rows it finds then.

    The queries are vectors of rows, each left out of its own answers, now and at the median of all times.
    """
    row = generation.row
    partitions = lance_index.partitions(row.rows)
    cases = _cases(part.arranged, row.metric)
    for share in (32, 8, 2, 1):
        row = _replaced(row, probes=min(partitions, max(_NEAREST, partitions // share)))
        found = [_share(Generation(row, generation.opened), part, *case) for case in cases]
        row = _replaced(row, recall=float(np.mean(found)) if found else 1.0)
        if row.recall >= _GOOD_RECALL:
            break
    return row


def _cases(arranged: Arranged, metric: str) -> list[tuple[int, int, Array]]:
    """Return (row, t, scores of the nearest other rows) of some queries."""
    cases = list[tuple[int, int, Array]]()
    for t in dict.fromkeys([_LAST, int(np.median(arranged.spans.begins))]):
        rows = known_at(arranged.spans, t)
        if rows.size < FEW_KNOWN:  # such searches read every vector
            continue
        rows = rows[arranged.vector[rows] >= 0]
        if not rows.size:
            continue
        for row in rows[np.linspace(0, rows.size - 1, _QUERIES // 2).astype(np.int64)].tolist():
            scores = _scores_without(arranged, rows, row, metric)
            if scores.size:
                cases.append((row, t, scores))
    return cases


def _share(generation: Generation, part: Part, row: int, t: int, best: Array) -> float:
    """Return the share of the nearest rows that a generation finds."""
    arranged = part.arranged
    found = generation.near(part, arranged.vectors[arranged.vector[row]], t, _NEAREST)
    if found is None:
        return 1.0  # searched exactly
    scores = _scores_without(arranged, found, row, generation.row.metric)
    return float((scores >= best[-1]).sum()) / best.size


def _scores_without(arranged: Arranged, rows: Array, row: int, metric: str) -> Array:
    """Return the scores of the rows nearest to one of them, without it, the best first."""
    others = rows[rows != row]
    query = arranged.vectors[arranged.vector[row]]
    return nearest(arranged.vectors, arranged.lengths, arranged.vector[others], query, _NEAREST, metric=metric).scores
