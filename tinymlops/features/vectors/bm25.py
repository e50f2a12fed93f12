"""BM25 over what was known at a time: how well the words of rows fit those of a query.

The score is that of Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond (2009), with `k1 = 1.2` and
`b = 0.75`, and the inverse document frequency `ln(1 + (N - n + 0.5) / (n + 0.5))` of Lucene, which is never below zero.
`N`, `n` and the mean length are counted over the rows that are known, so that a search of the past scores as it would have then.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from tinymlops.features.vectors.words import words_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["Postings", "Statistics", "best", "made", "matches", "scores", "statistics"]

Array = np.ndarray[Any, Any]
_K1, _B = 1.2, 0.75
_TEXTS_AT_ONCE = 8_192


class Postings(NamedTuple):
    """Which rows have a word, and how often."""

    words: pl.Series
    """w different words, ascending."""
    starts: Array
    """int64[w + 1], where the rows of each word begin."""
    rows: Array
    """int32[p], ascending for each word."""
    counts: Array
    """int32[p], how often the word stands in the row."""
    lengths: Array
    """int32[n], how many words a row has; -1 where it has no text."""

    def places(self, words: Sequence[str]) -> list[slice]:
        """Return where in `rows` and `counts` each of some words is; an empty slice where no row has it."""
        asked = pl.Series(words, dtype=pl.String)
        places = self.words.search_sorted(asked).to_numpy() if self.words.len() else np.zeros(len(words), np.int64)
        there = pl.Series(np.minimum(places, max(0, self.words.len() - 1)))
        has = (self.words.gather(there) == asked).to_list() if self.words.len() else [False] * len(words)
        return [
            slice(int(self.starts[place]), int(self.starts[place + 1])) if known else slice(0, 0)
            for place, known in zip(places, has, strict=True)
        ]


class Statistics(NamedTuple):
    """What is counted over the rows that are known; those of several parts are added."""

    texts: int
    """How many rows have a text."""
    words: int
    """How many words these have together."""
    having: Array
    """int64[q], how many rows have each word of the query."""

    def plus(self, other: Statistics) -> Statistics:
        """Return the statistics of both parts together."""
        return Statistics(self.texts + other.texts, self.words + other.words, self.having + other.having)


def made(texts: pl.Series, *, only: Collection[str] | None = None) -> Postings:
    """Read texts.

    Args:
        texts: n texts; null where there is none.
        only: The words to look for; None for all.
    """
    lengths, parts = np.full(len(texts), -1, np.int32), list[pl.DataFrame]()
    wanted = None if only is None else frozenset(only)
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        split = [None if text is None else words_of(text) for text in texts[start : start + _TEXTS_AT_ONCE].to_list()]
        lengths[start : start + len(split)] = [-1 if words is None else len(words) for words in split]
        if wanted is None:
            kept = [words or [] for words in split]
        else:
            kept = [[word for word in words or () if word in wanted] for words in split]
        of_rows = np.repeat(np.arange(start, start + len(kept), dtype=np.int32), [len(words) for words in kept])
        words = pl.Series("word", [word for words in kept for word in words], dtype=pl.String)
        parts.append(pl.DataFrame([words, pl.Series("row", of_rows)]).group_by("word", "row").len("count"))
    return _ordered(parts, lengths)


def _ordered(parts: list[pl.DataFrame], lengths: Array) -> Postings:
    schema = {"word": pl.String, "row": pl.Int32, "count": pl.UInt32}
    found = pl.concat([pl.DataFrame(schema=schema), *parts]).sort("word", "row")
    of_words = found.group_by("word", maintain_order=True).len("rows")
    starts = np.zeros(of_words.height + 1, np.int64)
    np.cumsum(of_words["rows"].to_numpy(), out=starts[1:])
    counts = found["count"].to_numpy().astype(np.int32)
    return Postings(of_words["word"].set_sorted(), starts, found["row"].to_numpy(), counts, lengths)


def statistics(postings: Postings, known: Array, places: Sequence[slice]) -> Statistics:
    """Count over the rows that are known.

    Args:
        postings: Of n rows.
        known: bool[n].
        places: Of q different words, as `postings.places` tells.
    """
    has_text = known & (postings.lengths >= 0)
    having = [
        int(np.count_nonzero(has_text[postings.rows[place]])) if place.stop > place.start else 0 for place in places
    ]
    total = int(postings.lengths[has_text].sum(dtype=np.int64))
    return Statistics(int(np.count_nonzero(has_text)), total, np.array(having, np.int64))


def matches(postings: Postings, known: Array, places: Sequence[slice]) -> Array:
    """Return the rows that are known and have a word, ascending; the arguments are those of `statistics`."""
    has = np.zeros(known.size, np.bool_)
    for place in places:
        if place.stop > place.start:
            has[postings.rows[place]] = True
    return np.flatnonzero(has & known)


def scores(postings: Postings, rows: Array, places: Sequence[slice], counted: Statistics) -> Array:
    """Return the scores of rows; a sum in the order of the words, so that equal rows have equal scores.

    Args:
        postings: Of n rows.
        rows: int64[m], ascending.
        places: As those of `statistics`.
        counted: Over all that is known.

    Returns:
        float64[m].
    """
    found, place_of = np.zeros(rows.size, np.float64), np.full(postings.lengths.size, -1, np.int64)
    place_of[rows] = np.arange(rows.size)
    mean = counted.words / counted.texts if counted.words else 1.0
    for place, having in zip(places, counted.having.tolist(), strict=True):
        if place.stop == place.start:
            continue
        at = place_of[postings.rows[place]]
        asked = at >= 0
        at, often = at[asked], postings.counts[place][asked].astype(np.float64)
        length = postings.lengths[rows[at]].astype(np.float64)
        rarity = math.log(1.0 + (counted.texts - having + 0.5) / (having + 0.5))
        found[at] += rarity * (often * (_K1 + 1.0) / (often + _K1 * (1.0 - _B + _B * length / mean)))
    return found


def best(found: Array, k: int) -> Array:
    """Return the places of the k greatest scores, the best first; of equal ones those that come first.

    Args:
        found: float64[m].
        k: At least 1.
    """
    kept = np.arange(found.size)
    if k < found.size:
        kept = np.flatnonzero(found >= np.partition(found, found.size - k)[found.size - k])
    order: Array = kept[np.lexsort((kept, -found[kept]))][:k]
    return order
