"""The columns of a table of runs: which there are, which are shown, and what stands in them."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.goals import goal_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tinymlops.records import Run

__all__ = ["Column", "RunCells", "column_of_key", "columns_of", "differing", "field_text", "is_numeric"]

MOST = 40
"""Columns of one table."""
_FIRST = {"metrics": 4, "params": 5}
"""How many are shown if none are chosen."""
_DIGITS = re.compile(r"([0-9]+)")
_PLAIN = re.compile(r"[\w/@:-]+")
_GROUPS = ("metrics", "params", "tags")


class Column(NamedTuple):
    """One column."""

    group: str
    """`metrics`, `params` or `tags`."""
    name: str

    @property
    def key(self) -> str:
        """What stands in the address, such as `params.depth`."""
        return f"{self.group}.{self.name}"

    @property
    def order(self) -> str | None:
        """The field to sort by, in the language of searches: of a metric the best value."""
        field = field_text(self.group, self.name)
        return f"{field}.best" if field and self.group == "metrics" else field

    @property
    def first_order(self) -> str | None:
        """How it is sorted at first: the best metric on top."""
        is_greatest_first = self.group == "metrics" and goal_of(self.name) == "max"
        return f"-{self.order}" if self.order and is_greatest_first else self.order


class RunCells(NamedTuple):
    """A run and what stands in its columns."""

    run: Run
    place: int
    """From 1 on."""
    experiment: str
    values: list[Any]


def field_text(group: str, name: str) -> str | None:
    """Return a field as a search names it; None for a name that no search can name.

    Example:
        >>> field_text("params", "depth"), field_text("params", "a b")
        ('params.depth', 'params."a b"')
    """
    if _PLAIN.fullmatch(name):
        return f"{group}.{name}"
    return None if not name or '"' in name or "\\" in name else f'{group}."{name}"'


def column_of_key(key: str) -> Column | None:
    """Return the column that a key names.

    Example:
        >>> column_of_key("params.a.b")
        Column(group='params', name='a.b')
    """
    group, _, name = key.partition(".")
    return Column(group, name) if group in _GROUPS and name else None


def columns_of(runs: Sequence[Run]) -> list[Column]:
    """Return all columns that some of these runs have, those that most have first; without the load of the machine."""
    found: list[Column] = []
    for group in _GROUPS:
        maps: Iterable[Mapping[str, Any]] = (getattr(run, group) for run in runs)
        counts = Counter(name for one in maps for name in one if not name.startswith("system/"))
        found += [
            Column(group, name) for name, _ in sorted(counts.items(), key=lambda pair: (-pair[1], _counted(pair[0])))
        ]
    return found


def chosen_columns(keys: Sequence[str], known: Sequence[Column]) -> list[Column]:
    """Return the columns that an address names; without any, the first of metrics and params."""
    if keys:
        return [one for one in map(column_of_key, dict.fromkeys(keys[:MOST])) if one is not None]
    return [one for group, most in _FIRST.items() for one in [c for c in known if c.group == group][:most]]


def differing(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[int]:
    """Return the places of the columns in which not all rows are the same; NaN is the same as NaN."""
    return [place for place in range(len(columns)) if len({_same(row[place]) for row in rows}) > 1]


def is_numeric(values: Sequence[Any]) -> bool:
    """Return whether what stands in a column are numbers, so that they are set to the right, as their title is.

    Example:
        >>> is_numeric([1, None, 2.5]), is_numeric([1, "a"])
        (True, False)
    """
    return all(value is None or isinstance(value, int | float) for value in values)


def _counted(name: str) -> list[tuple[int, str]]:
    """Return by what names are sorted, so that `m2` comes before `m10`.

    Example:
        >>> sorted(["m10", "m2", "loss"], key=_counted)
        ['loss', 'm2', 'm10']
    """
    parts = [part for part in _DIGITS.split(name) if part]
    return [(len(part.lstrip("0")) if part.isdigit() else -1, part.lstrip("0") or part) for part in parts]


def _same(value: Any) -> tuple[type, str] | None:
    return None if value is None else (type(value), repr(value))
