"""Names of key columns at the border: what a client calls them, and what the entity does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinymlops.errors import DataError

__all__ = ["KeyNames"]

Row = dict[str, Any]


class KeyNames:
    """The key columns of one request, which may be sent by an alias.

    Args:
        aliases: Alias to key column.
        rows: What was sent: rows, or an object of columns.

    Attributes:
        rows: The same by the entities' names.

    Raises:
        DataError: If a row has a column by two names.
    """

    def __init__(self, aliases: Mapping[str, str], rows: Any) -> None:
        self.rows = rows
        self._sent: list[dict[str, str]] = []
        """For each row, or for all of an object of columns, the name of each column that came by an alias."""
        if not aliases:
            return
        given: list[Row] = [rows] if isinstance(rows, dict) else rows
        if all(aliases.keys().isdisjoint(row) for row in given):
            return
        renamed = [self._renamed(aliases, row, place) for place, row in enumerate(given)]
        self.rows = renamed[0] if isinstance(rows, dict) else renamed

    def restored(self, answers: list[Row]) -> list[Row]:
        """Return answers, one for each row that was sent, by the names that were sent."""
        if not self._sent:
            return answers
        sent = self._sent if isinstance(self.rows, list) else self._sent * len(answers)
        return [
            {names.get(name, name): value for name, value in row.items()}
            for names, row in zip(sent, answers, strict=True)
        ]

    def _renamed(self, aliases: Mapping[str, str], row: Row, place: int) -> Row:
        found = {aliases.get(name, name): value for name, value in row.items()}
        self._sent.append({aliases[name]: name for name in row if name in aliases})
        if len(found) < len(row):
            twice = next(name for name in found if sum(aliases.get(one, one) == name for one in row) > 1)
            names = ", ".join(repr(one) for one in row if aliases.get(one, one) == twice)
            raise DataError(f"row {place} has the key column {twice!r} as {names}", hint="send it once")
        return found
