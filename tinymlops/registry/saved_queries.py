"""Queries that were saved by name: what a team asks every morning, with who wrote it and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError, DataError, NotFoundError, near
from tinymlops.records import SavedQuery

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.registry.scope import Scope

__all__ = ["CHARTS", "SavedQueries"]

CHARTS = ("", "line", "bar")
_LONGEST_NAME = 100
_LONGEST = 100_000
_MOST = 1_000


class SavedQueries:
    """The saved queries of a workspace.

    Args:
        scope: Of the open workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._database = scope.environment.database

    def __repr__(self) -> str:
        return f"<saved queries: {self._database.count(SavedQuery)}>"

    def list(self) -> list[SavedQuery]:
        """Return all of them by name."""
        return self._database.list(SavedQuery)

    def get(self, name: str) -> SavedQuery:
        """Return one.

        Args:
            name: Its name.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        found = self._database.get(SavedQuery, name=name) if _is_name(name) else None
        if found is None:
            raise NotFoundError(
                f"there is no saved query {name[:_LONGEST_NAME]!r}", hint=near(name, [one.name for one in self.list()])
            )
        return found

    def save(
        self, name: str, text: str, *, chart: str = "", x: str = "", y: str = "", seen: datetime | None = None
    ) -> SavedQuery:
        """Save a query; it is not run.

        Args:
            name: At most 100 characters on one line.
            text: The SELECT.
            chart: "line" or "bar" for a picture of the result.
            x: The column that it goes along.
            y: The column of its numbers.
            seen: `at` of the one that this replaces; None for a new name.

        Raises:
            DataError: If it has no name or text, or is too long.
            ConflictError: If there is one of this name already, and not the one that was seen, or there are too many.
        """
        name = name.strip()
        _check(name, text, chart, x, y)
        query = SavedQuery(
            name=name, text=text, chart=chart, x=x, y=y, author=self._scope.actor, at=self._scope.clock()
        )
        with self._scope.write("query.save", name) as tx:
            before = tx.get(SavedQuery, name=name)
            if before is not None and before.at != seen:
                raise ConflictError(
                    f"{before.author} saved another query as {name!r} at {before.at:%Y-%m-%d %H:%M:%S} UTC",
                    hint="choose another name, or open that one and change it",
                )
            if before is not None:
                tx.delete(SavedQuery, name=name)
            elif len(tx.list(SavedQuery)) >= _MOST:
                raise ConflictError(f"there are {_MOST} saved queries already", hint="delete some")
            tx.insert(query)
        return query

    def delete(self, name: str) -> None:
        """Delete one.

        Args:
            name: Its name.

        Raises:
            NotFoundError: If there is none.
        """
        self.get(name)
        with self._scope.write("query.delete", name) as tx:
            tx.delete(SavedQuery, name=name)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def _check(name: str, text: str, chart: str, x: str, y: str) -> None:
    if not _is_name(name):
        raise DataError(
            "a saved query needs a name", hint=f"up to {_LONGEST_NAME} characters that can be printed, on one line"
        )
    if not text.strip() or "\0" in text or (not text.isascii() and _is_broken(text)):
        raise DataError("the query is empty, or holds what is not text", hint="write a SELECT")
    if max(map(len, (text, x, y))) > _LONGEST:
        raise DataError(
            f"the query has more than {_LONGEST:,} characters", hint="put long lists of values into a table"
        )
    if chart not in CHARTS:
        raise DataError(f"{chart[:50]!r} is not a picture", hint='use "line", "bar" or ""')


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
