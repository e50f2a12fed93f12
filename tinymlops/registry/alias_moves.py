"""Who was champion when: the moves of a model's aliases, as the audit log has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tinymlops.records import AuditEntry, Note

if TYPE_CHECKING:
    from datetime import datetime

    from tinymlops.stores.database import Database

__all__ = ["AliasMove", "alias_moves"]


class AliasMove(NamedTuple):
    """A time from which on an alias pointed at a version."""

    alias: str
    version: int
    previous: int | None
    since: datetime
    until: datetime | None
    """When it moved on; None if it points there now."""
    actor: str
    is_rollback: bool
    reason: str = ""
    """As it was given with the move."""


def alias_moves(database: Database, name: str) -> list[AliasMove]:
    """Return where each alias of a model pointed when, the newest first.

    Args:
        database: Of the workspace.
        name: Of the model.
    """
    # Subjects are `name@alias`, and A follows @: one range of an index.
    rest = "WHERE subject >= ? AND subject < ? AND action IN ('model.promote', 'model.rollback') ORDER BY n DESC"
    moves: list[AliasMove] = []
    left: dict[str, datetime] = {}
    entries = list(database.select(AuditEntry, rest, [f"{name}@", f"{name}A"]))
    noted = [entry.detail["note"] for entry in entries if "note" in entry.detail]
    notes = {note.id: note.text for note in database.list(Note, where={"id": noted})} if noted else {}
    for entry in entries:
        alias = entry.subject.partition("@")[2]
        version, previous = entry.detail["version"], entry.detail.get("previous")
        is_rollback = entry.action == "model.rollback"
        reason = notes.get(entry.detail.get("note"), "").partition(": ")[2]
        moves.append(AliasMove(alias, version, previous, entry.at, left.get(alias), entry.actor, is_rollback, reason))
        left[alias] = entry.at
    return moves
