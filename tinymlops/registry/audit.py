"""The audit log: who changed what, when; and whether it still is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError
from tinymlops.records import AuditEntry, AuditHead
from tinymlops.stores.backup import read_manifest
from tinymlops.stores.pseudonyms import names_of
from tinymlops.times import parse_instant, to_micros

if TYPE_CHECKING:
    import builtins
    from datetime import date, datetime

    from tinymlops.registry.scope import Scope

__all__ = ["Audit", "AuditVerified"]

_MOST = 10_000
"""The most entries of one answer."""
_HASH = 64


class AuditVerified(msgspec.Struct, frozen=True):
    """The result of `ws.audit.verify`."""

    head: AuditHead
    """The last entry, whose hash stands for all before it: keep it elsewhere, and verify against it later."""
    against: AuditHead | None
    """The head that the log was compared with."""
    problems: tuple[str, ...]
    """What was removed, edited or replaced, one sentence each."""

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class Audit:
    """The audit log of a workspace: `list`, `head`, `verify`. Nobody writes to it by itself: every change does.

    Args:
        scope: The workspace.

    Example:
        >>> import tempfile
        >>> import tinymlops as tm
        >>> with tm.connect(f"{tempfile.mkdtemp()}/shop.tm", create=True) as ws:
        ...     [(entry.n, entry.actor, entry.action) for entry in ws.audit.list()], ws.audit.verify().intact
        ([(1, 'tinymlops', 'workspace.create')], True)
    """

    def __init__(self, scope: Scope) -> None:
        self._database = scope.environment.database

    def __repr__(self) -> str:
        return f"<audit log: {self.head().n:,} entries>"

    def list(
        self,
        *,
        subject: str | None = None,
        who: str | None = None,
        since: datetime | date | str | None = None,
        until: datetime | date | str | None = None,
        action: str | None = None,
        before: int | None = None,
        limit: int = 1000,
    ) -> builtins.list[AuditEntry]:
        """Return entries, the newest first.

        Args:
            subject: A name, such as "delay" or "feature_view:spending", an id, free text such as a batch id, or a person such
                as "customer:7": the log keeps hashes of the last two, and these are looked for.
            who: The actor.
            since: Only entries from this moment on: a datetime or ISO 8601 text with a zone.
            until: Only entries before this moment.
            action: "model.promote", or "model" or "model." for every action on models.
            before: Only entries with a smaller number: the last one of the page before.
            limit: The most entries to return, at most 10,000.

        Raises:
            DataError: If a moment is not one, or the limit is outside its bounds.
        """
        if not 1 <= limit <= _MOST:
            raise DataError(f"limit is {limit}", hint=f"use 1 to {_MOST:,}, and before= for the next page")
        conditions: builtins.list[tuple[str, builtins.list[Any]]] = []
        if subject is not None:
            conditions.append(self._about(subject))
        if who is not None:
            conditions.append(("actor = ?", [who]))
        if action is not None:
            stem = action.rstrip(".")
            conditions.append(("(action = ? OR substr(action, 1, ?) = ?)", [action, len(stem) + 1, f"{stem}."]))
        for moment, name, sign in ((since, "since", ">="), (until, "until", "<")):
            if moment is not None:
                conditions.append((f"at {sign} ?", [to_micros(parse_instant(moment, name=name))]))
        if before is not None:
            conditions.append(("n < ?", [before]))
        where = " AND ".join(text for text, _ in conditions) or "1"
        bound = [value for _, values in conditions for value in values]
        return self._database.select(AuditEntry, f"WHERE {where} ORDER BY n DESC LIMIT ?", [*bound, limit])

    def head(self) -> AuditHead:
        """Return the last entry's number and hash, `n:hash` as text, which stand for the whole log."""
        return self._database.audit_head()

    def verify(self, against: AuditHead | str | Path | None = None) -> AuditVerified:
        """Check that no entry was edited, removed, inserted or put elsewhere.

        The entries are a chain of hashes. It shows every change but two: the end of the log cut off together with its
        counter, and a log that was written anew as a whole. A head that was kept elsewhere shows these as well.

        Args:
            against: A head, as `ws.audit.head()` returned it or as text, or the directory of a backup, which has one.

        Raises:
            NotFoundError: If there is no such backup.
            DataError: If it is not a head, or the backup has none.
        """
        since = None if against is None else _head_of(against)
        return AuditVerified(self.head(), since, tuple(self._database.verify_audit(since)))

    def _about(self, subject: str) -> tuple[str, builtins.list[Any]]:
        # Version 3 of the model "delay" is the subject "delay:3", its alias "delay@champion", a view "feature_view:delay".
        text = "(subject = ? OR substr(subject, 1, ?) IN (?, ?) OR substr(subject, ?) = ?"
        size = len(subject) + 1
        bound: builtins.list[Any] = [subject, size, f"{subject}:", f"{subject}@", -size, f":{subject}"]
        for name in names_of(self._database, subject):
            text += " OR subject = ? OR instr(detail, ?) > 0"
            bound += [name, f'"{name}"']
        return f"{text})", bound


def _head_of(against: AuditHead | str | Path) -> AuditHead:
    """Return a head that was kept.

    Raises:
        DataError: If it is not one.
    """
    if isinstance(against, AuditHead):
        return against
    number, colon, digest = str(against).partition(":")
    if colon and number.isascii() and number.isdigit() and len(digest) == _HASH:
        return AuditHead(int(number), digest)
    if number.isdigit() and not Path(against).exists():
        raise DataError(
            f"{against} is not a head: it is a number, a colon and {_HASH} characters", hint="copy the whole of it"
        )
    head = read_manifest(Path(against)).audit
    if head is None:
        raise DataError(
            f"the backup {against} was made by an earlier tinymlops, without the head of its audit log",
            hint="verify against a newer backup, or a head, such as 12:3f...",
        )
    return head
