"""Search by words: what of the rows known at a time fits them best, by BM25 over all that is known then."""

from __future__ import annotations

import hashlib
from functools import reduce
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import DataError
from tinymlops.features.vectors import bm25
from tinymlops.features.vectors.words import VERSION, words_to_find
from tinymlops.stores import images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import EmbeddingSpec
    from tinymlops.features.vectors.bm25 import Postings
    from tinymlops.features.vectors.image import Image
    from tinymlops.features.vectors.parts import Part

__all__ = ["directory_of_words", "find_by_words", "postings_of", "query_words"]

Array = np.ndarray[Any, Any]


def query_words(spec: EmbeddingSpec, query: object) -> list[str]:
    """Return the words of a query.

    Raises:
        DataError: If the embedding has no text, or the query is not one.
    """
    if spec.text is None:
        raise DataError(
            f"embedding {spec.name!r} has vectors of its own and no text, which words could be found in",
            hint='search with mode="vector", or define an embedding with text=',
        )
    if not isinstance(query, str):
        raise DataError(
            f"the query of embedding {spec.name!r} is not a text, which a search by words needs",
            hint='pass a text, or search with mode="vector"',
        )
    return words_to_find(query)


def find_by_words(
    parts: Sequence[Part],
    text: str,
    words: Sequence[str],
    *,
    postings: Postings | None,
    t: int,
    k: int,
    fulfilled: Callable[[pl.DataFrame, Array], Array],
    score: str,
) -> list[pl.DataFrame]:
    """Return the best rows of each part that have a word, with scores by the statistics of all parts.

    Args:
        parts: Together all rows.
        text: The column of text.
        words: Different ones.
        postings: Of the first part; the texts of the others are read.
        t: Microseconds; what is known then counts.
        k: How many of each part at most.
        fulfilled: Takes a frame and int64[m], which of its rows, and returns bool[m]: those to be found.
        score: The column for the scores.
    """
    ready = [] if postings is None else [postings]
    read = [*ready, *(bm25.made(part.arranged.rows[text], only=words) for part in parts[len(ready) :])]
    known = [_known(part, t) for part in parts]
    placed = [postings.places(words) for postings in read]
    counted = reduce(bm25.Statistics.plus, map(bm25.statistics, read, known, placed))
    found = []
    for part, postings, there, places in zip(parts, read, known, placed, strict=True):
        rows = bm25.matches(postings, there, places)
        rows = rows[fulfilled(part.arranged.rows, rows)]
        scores = bm25.scores(postings, rows, places, counted)
        best = bm25.best(scores, k)
        found.append(part.arranged.rows[rows[best]].with_columns(pl.Series(score, scores[best])))
    return found


def _known(part: Part, t: int) -> Array:
    """Return bool[n], which rows of a part are known at a time."""
    known = np.zeros(part.arranged.rows.height, np.bool_)
    known[part.known_at(t)] = True
    return known


def postings_of(context: Context, spec: EmbeddingSpec, image: Image) -> Postings:
    """Return the words of an image's rows, mapped into memory; they are read from the rows if they are not there yet.

    Args:
        context: The workspace's state.
        spec: The embedding, of a text.
        image: Of its rows.
    """
    assert spec.text is not None, "asked of texts"
    directory, name = directory_of_words(context, spec), f"{image.name}-{VERSION.replace(' ', '-')}"
    key, remembered = ("words", spec.name), context.environment.remembered
    identity = images.identity(directory, name), image.identity
    kept: Postings | None = remembered.get(key, identity)
    if kept is not None:
        return kept
    tables = images.load(directory, name)
    if tables is None:
        postings = bm25.made(image.arranged.rows[spec.text])
        images.store(directory, name, _tables(postings), context.environment.tmp)
        tables = images.load(directory, name)
    postings = postings if tables is None else _opened(tables)
    remembered.put(key, (images.identity(directory, name), image.identity), postings)
    return postings


def directory_of_words(context: Context, spec: EmbeddingSpec) -> Path:
    """Return the directory of the words of an embedding's image."""
    purpose = hashlib.sha256(msgspec.json.encode(("words", spec.name))).hexdigest()[:16]
    return context.environment.path / "images" / spec.source / purpose


def _tables(postings: Postings) -> dict[str, pl.DataFrame]:
    return {
        "words": pl.DataFrame([postings.words.alias("word")]),
        "starts": pl.DataFrame({"start": postings.starts}),
        "postings": pl.DataFrame({"row": postings.rows, "count": postings.counts}),
        "lengths": pl.DataFrame({"length": postings.lengths}),
    }


def _opened(tables: dict[str, pl.DataFrame]) -> Postings:
    return bm25.Postings(
        words=tables["words"]["word"].set_sorted(),
        starts=tables["starts"]["start"].to_numpy(),
        rows=tables["postings"]["row"].to_numpy(),
        counts=tables["postings"]["count"].to_numpy(),
        lengths=tables["lengths"]["length"].to_numpy(),
    )
