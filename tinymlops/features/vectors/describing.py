"""What a group of rows is: the words and the values of columns that are more frequent in it than elsewhere."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Said", "described"]

Array = np.ndarray[Any, Any]
_WORDS, _VALUES = 6, 3
_MOST_VALUES = 50
"""A column with more different values says nothing of a group."""
_CLEAR = 0.1
"""By how much the share of a value must be greater in a group than elsewhere."""
_LEAST_ROWS = 2
_COMMON = 0.5
"""A word that more of all rows have says little of a group."""
_READ = 2_000
"""Of a text, so many characters are read."""
_WORD = re.compile(r"[^\W\d_][\w'\u2019]+")


class Said(NamedTuple):
    """What a group is."""

    words: list[str] | None
    """None where the rows have no text."""
    values: list[str]


def described(rows: pl.DataFrame, text: str | None, columns: Sequence[str], group: Array, count: int) -> list[Said]:
    """Say of each group what is more frequent in it than in the other rows.

    Args:
        rows: n rows.
        text: The column whose words are compared, if any.
        columns: Whose values are compared; those with many different ones are left out.
        group: int64[n], the group of each row.
        count: How many groups there are.
    """
    sizes = np.bincount(group, minlength=count)
    words = _words(rows[text], group, sizes) if text is not None else None
    values = list[tuple[str, Array]]()
    for name in columns:
        values += _counts(rows[name], group, count)
    return [Said(None if words is None else words[number], _clearest(values, number, sizes)) for number in range(count)]


def _words(texts: pl.Series, group: Array, sizes: Array) -> list[list[str]]:
    """Return for each group the words by how much more of its rows have them, against the spread that chance gives."""
    having = dict[str, Array]()
    for text, number in zip(texts.to_list(), group.tolist(), strict=True):
        plain = unicodedata.normalize("NFKC", (text or "")[:_READ]).casefold()
        for word in set(_WORD.findall(plain)):
            if word not in having:
                having[word] = np.zeros(sizes.size, np.int64)
            having[word][number] += 1
    least, most = min(_LEAST_ROWS, len(texts)), len(texts) * _COMMON
    kept = sorted(word for word, counts in having.items() if least <= counts.sum() <= most)
    if not kept:
        return [[] for _ in sizes]
    counts = np.array([having[word] for word in kept])
    total, rows = counts.sum(axis=1), int(sizes.sum())
    found = []
    for number, size in enumerate(sizes.tolist()):
        inside = counts[:, number] / size
        outside = (total - counts[:, number]) / max(1, rows - size)
        share = (total + 1) / (rows + 2)
        clear = (inside - outside) / np.sqrt(share * (1 - share))
        best = [place for place in np.argsort(-clear, kind="stable")[:_WORDS] if clear[place] > 0]
        found.append([kept[place] for place in best])
    return found


def _counts(column: pl.Series, group: Array, count: int) -> list[tuple[str, Array]]:
    """Return the values of a column as text, with how many rows of each group have them; none if they are many."""
    simple = column.dtype in (pl.String, pl.Boolean, pl.Categorical) or column.dtype.is_integer()
    if not (simple or isinstance(column.dtype, pl.Enum)):
        return []
    frame = pl.DataFrame({"value": column.cast(pl.String), "group": group}).drop_nulls()
    if not 2 <= frame["value"].n_unique() <= _MOST_VALUES:
        return []
    found = dict[str, Array]()
    for value, number, rows in frame.group_by("value", "group").len().sort("value", "group").iter_rows():
        found.setdefault(value, np.zeros(count, np.int64))[number] = rows
    return [(f"{column.name}={value} ", counts) for value, counts in found.items()]


def _clearest(values: list[tuple[str, Array]], number: int, sizes: Array) -> list[str]:
    """Return the values that are clearly more frequent in a group, with their shares in it and elsewhere."""
    size, rest = int(sizes[number]), max(1, int(sizes.sum() - sizes[number]))
    found = []
    for said, counts in values:
        inside, outside = counts[number] / size, (counts.sum() - counts[number]) / rest
        if inside - outside >= _CLEAR:
            found.append((outside - inside, f"{said}({inside:.0%}, elsewhere {outside:.0%})"))
    return [said for _, said in sorted(found)[:_VALUES]]
