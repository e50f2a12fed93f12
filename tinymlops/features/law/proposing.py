"""`checks infer`: rules that all stored rows of a source pass, as code to paste."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import polars as pl

from tinymlops.errors import NotFoundError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.rules import between, in_code, not_null, one_of, unique
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.stored import current_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.rules import AnyRule

__all__ = ["Proposal", "propose"]

_FEW = 20
"""So many different texts are listed."""
_OFTEN = 10
"""Rows for each of them, at least: fewer may only be those that have been seen."""


class Proposal(msgspec.Struct, frozen=True):
    """Checks that all stored rows of a source pass; shown, it is code to paste."""

    source: str
    rows: int
    """That were looked at."""
    rules: list[str]
    """As they are written in a definition, in the order of the columns."""

    def __str__(self) -> str:
        if not self.rules:
            return f"# nothing holds for all {self.rows:,} rows of {self.source}"
        lines = [f"    tm.{rule}," for rule in self.rules]
        code = [
            f"# What holds for {self.rows:,} rows.",
            "project.check(",
            f"    {self.source},",
            *lines,
            '    action="warn",',
            ")",
        ]
        return "\n".join([*self._imports, *code])

    __repr__ = __str__

    @property
    def _imports(self) -> list[str]:
        needed = {"datetime.": "import datetime", "Decimal(": "from decimal import Decimal"}
        return [line for word, line in needed.items() if any(word in rule for rule in self.rules)]


def propose(context: Context, name: str) -> Proposal:
    """Propose checks on a source from its rows of now.

    A column without nulls must have none, numbers and dates lie between those that were seen, text that takes few values
    takes these, and an id, or a column of text or integers all of whose values differ, is unique.

    Args:
        context: The workspace's state.
        name: Of a source or a transformation.

    Raises:
        NotFoundError: If there is no such source, or it has no rows.
    """
    source = context.definitions.get(SourceSpec, name)
    rows = current_rows(context, name)
    rows = rows.drop([column for column in rows.columns if column.startswith("__")])
    if not rows.height:
        raise NotFoundError(f"source {name!r} has no rows to learn from", hint=f"tinymlops ingest {name}")
    origin = graph.origin(context.definitions, source)
    ours = {origin.timestamp, origin.created, "deleted"}
    rules = [
        rule for column in rows if column.name not in ours for rule in _rules_of(column, is_id=column.name == origin.id)
    ]
    return Proposal(name, rows.height, [in_code(rule) for rule in rules])


def _rules_of(column: pl.Series, *, is_id: bool) -> Iterator[AnyRule]:
    values = column.drop_nulls()
    if not len(values):
        return
    if len(values) == len(column):
        yield not_null(column.name)
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        return
    different = values.n_unique()
    named = column.dtype == pl.String or column.dtype.is_integer()
    if is_id or (named and different == len(column) >= _FEW):
        yield unique(column.name)
        return
    if column.dtype == pl.String or isinstance(column.dtype, pl.Enum):
        if different <= _FEW and different * _OFTEN <= len(values):
            yield one_of(column.name, sorted(values.cast(pl.String).unique().to_list()))
        return
    if column.dtype.is_numeric() or column.dtype == pl.Date:
        yield between(column.name, values.min(), values.max())
