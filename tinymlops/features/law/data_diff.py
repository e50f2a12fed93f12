"""`DataDiff`: the difference of two builds, or of features at two sequences, as people and programs read it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tinymlops.errors import NotFoundError, near
from tinymlops.features.law.attribution import CAUSES, JOINT, UNKNOWN
from tinymlops.features.law.matching import in_text
from tinymlops.notebook import in_notebook
from tinymlops.printable import printable
from tinymlops.tables import html_table, text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.law.attribution import Cells

__all__ = ["ChangedColumn", "DataDiff", "DiffExample", "causes_in"]

_NAMES = {**{bit: name for name, bit in CAUSES.items()}, JOINT: "joint", UNKNOWN: "unknown"}
_ORDER = [*CAUSES, "joint", "unknown"]


class DiffExample(msgspec.Struct, frozen=True, kw_only=True):
    """A cell that changed."""

    row: dict[str, Any]
    """The keys and the time of its row."""
    column: str
    before: Any
    after: Any
    cause: str
    """Of `spine`, `new rows`, `correction`, `deletion`, `definition`, `joint` and `unknown`."""
    together: tuple[str, ...] = ()
    """Of a joint cell: the changes that it takes."""
    records: tuple[dict[str, Any], ...] = ()
    """The first changed rows of its key: source, id, event time and sequence."""


class ChangedColumn(NamedTuple):
    """The cells of a column that changed, with their values."""

    cells: Cells
    before: pl.Series
    after: pl.Series


def causes_in(bits: int) -> tuple[str, ...]:
    """Return the names of changes that are given as bits."""
    return tuple(name for name, bit in CAUSES.items() if bits & bit)


class DataDiff:
    """What differs between two builds of training sets, or between features at two sequences, and why.

    Attributes:
        before: What was compared, such as "buyers 3fa2b1c0 at Q=120".
        after: With what.
        rows: How many rows are in both.
        changed: How many cells of these rows differ.
        counts: Column to cause to the number of its cells.
        examples: Some cells of each cause.
        only_before: Rows that are only in the first: keys, time and `why`: "spine row" if the other's spine does not have it,
            else what left it out there: "immature", "no outcome" or "purged".
        only_after: Rows that are only in the second; `why` says what left them out of the first.
        columns_only_before: Columns that only the first has.
        columns_only_after: Columns that only the second has.
        definitions: What differs between the definitions, field by field.
        notes: What else is worth knowing.
    """

    def __init__(
        self,
        titles: tuple[str, str],
        rows: pl.DataFrame,
        columns: Mapping[str, ChangedColumn],
        *,
        compared: Sequence[str],
        examples: Sequence[DiffExample] = (),
        only: tuple[pl.DataFrame, pl.DataFrame],
        columns_only: tuple[Sequence[str], Sequence[str]] = ((), ()),
        definitions: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.before, self.after = titles
        self.rows = rows.height
        self.only_before, self.only_after = only
        self.columns_only_before, self.columns_only_after = map(list, columns_only)
        self.definitions, self.notes, self.examples = list(definitions), list(notes), list(examples)
        self.counts = {name: _counted(one.cells) for name, one in columns.items() if one.cells.places.size}
        self.changed = sum(sum(counts.values()) for counts in self.counts.values())
        self._compared = list(compared)
        self._rows, self._columns = rows, dict(columns)

    @property
    def same(self) -> bool:
        """Whether both hold the same rows, columns and values."""
        only = (self.only_before, self.only_after)
        return not (
            self.changed or self.columns_only_before or self.columns_only_after or any(one.height for one in only)
        )

    @property
    def by_cause(self) -> dict[str, int]:
        """Cause to the number of its cells, in the order in which causes are tried."""
        total: Counter[str] = Counter()
        for counts in self.counts.values():
            total.update(counts)
        return {name: total[name] for name in _ORDER if total[name]}

    def to_polars(self, column: str | None = None) -> pl.DataFrame:
        """Return every changed cell: the row's keys and time, `column`, `before`, `after`, `cause` and `together`.

        Args:
            column: Only those of this column, with values of its type; None for all columns, with values as text.

        Raises:
            NotFoundError: If no such column was compared, with the near match.
        """
        if column is not None and column not in self._compared:
            raise NotFoundError(f"no column {column!r} was compared", hint=near(column, self._compared))
        names = [name for name in self._columns if column in (None, name)]
        parts = [self._cells_of(name, as_text=column is None) for name in names]
        text = pl.Series([], dtype=pl.String)
        return pl.concat(parts) if parts else self._long(np.zeros(0, np.int64), "", text, text, [], [])

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data, without the cells beyond the examples."""
        return {
            "before": self.before,
            "after": self.after,
            "rows": self.rows,
            "columns": len(self._compared),
            "changed": self.changed,
            "causes": self.by_cause,
            "counts": self.counts,
            "only_before": dict(_why(self.only_before)),
            "only_after": dict(_why(self.only_after)),
            "columns_only_before": self.columns_only_before,
            "columns_only_after": self.columns_only_after,
            "definitions": self.definitions,
            "notes": self.notes,
            "examples": self.examples,
        }

    def table(self) -> list[list[str]]:
        """Return how many cells of each column each cause changed, with names above and sums below; empty without any."""
        causes = list(self.by_cause)
        if not causes:
            return []
        rows = [
            [name, *(f"{counts.get(cause, 0):,}" for cause in causes), f"{sum(counts.values()):,}"]
            for name, counts in self.counts.items()
        ]
        total = ["all", *(f"{count:,}" for count in self.by_cause.values()), f"{self.changed:,}"]
        return [["column", *causes, "all"], *rows, total]

    def __repr__(self) -> str:
        return "\n".join(
            [self._head, *([text_table(self.table(), numbers=True)] if self.changed else []), *self._told()]
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        parts = [html_table(self._head.strip("<>"), self.table())]
        told = [(line.strip(),) for line in self._told()]
        return in_notebook(*parts, html_table("", told) if told else "")

    @property
    def _head(self) -> str:
        verdict = "the same" if self.same else f"{self.changed:,} cells changed"
        return f"<diff {self.before} -> {self.after}: {self.rows:,} rows and {len(self._compared)} columns in both, {verdict}>"

    def _told(self) -> Iterator[str]:
        for when, rows in (("before", self.only_before), ("after", self.only_after)):
            if rows.height:
                yield f"rows only {when}: {', '.join(f'{count:,} {why}' for why, count in _why(rows))}"
        for when, names in (("before", self.columns_only_before), ("after", self.columns_only_after)):
            if names:
                yield f"columns only {when}: {', '.join(names)}"
        yield from (f"definition: {one}" for one in self.definitions)
        yield from (f"note: {one}" for one in self.notes)
        yield from map(_in_words, self.examples)

    def _cells_of(self, name: str, *, as_text: bool) -> pl.DataFrame:
        cells, before, after = self._columns[name]
        if as_text:
            before, after = in_text(before), in_text(after)
        codes = np.unique(cells.touching)
        names = {int(bits): list(causes_in(int(bits))) for bits in codes}
        together = [
            names[int(bits)] if cause == JOINT else [] for bits, cause in zip(cells.touching, cells.cause, strict=True)
        ]
        return self._long(cells.places, name, before, after, [_NAMES[int(one)] for one in cells.cause], together)

    def _long(
        self,
        places: Array,
        name: str,
        before: pl.Series,
        after: pl.Series,
        causes: Sequence[str],
        together: Sequence[Sequence[str]],
    ) -> pl.DataFrame:
        keys: pl.DataFrame = self._rows[places]
        taken = {column: f"{column}_of_row" for column in keys.columns if column in _OWN}
        return keys.rename(taken).with_columns(
            pl.lit(name).alias("column"),
            before.alias("before"),
            after.alias("after"),
            pl.Series("cause", causes, dtype=pl.String),
            pl.Series("together", together, dtype=pl.List(pl.String)),
        )


_OWN = ("column", "before", "after", "cause", "together")


def _counted(cells: Cells) -> dict[str, int]:
    found = {_NAMES[code]: int(count) for code, count in enumerate(np.bincount(cells.cause)) if count}
    return {name: found[name] for name in _ORDER if name in found}


def _why(rows: pl.DataFrame) -> list[tuple[str, int]]:
    return sorted(rows["why"].value_counts().rows(), key=lambda one: (-one[1], one[0]))


def _in_words(example: DiffExample) -> str:
    row = ", ".join(f"{name}={_shown(value)}" for name, value in example.row.items())
    cause = f"{example.cause} of {', '.join(example.together)}" if example.together else example.cause
    records = "; ".join(
        " ".join([one["source"], *([] if one["id"] is None else [_shown(one["id"])]), f"Q={one['sequence']}"])
        for one in example.records
    )
    why = f"{cause} ({records})" if records else cause
    values = f"{_shown(example.before)} -> {_shown(example.after)}"
    return printable(f"{row}: {example.column} {values}: {why}", line=True)


def _shown(value: Any) -> str:
    return "null" if value is None else value.isoformat() if hasattr(value, "isoformat") else str(value)
