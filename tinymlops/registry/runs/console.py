"""What runs wrote to their console: pieces of text, of which later ones replace the end of earlier ones."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.records import ConsoleText

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from tinymlops.stores.database import Database
    from tinymlops.stores.transaction import Transaction

__all__ = ["ConsoleChange", "console_of", "store_console"]


class ConsoleChange(NamedTuple):
    """What has come to the console of a run since the last change."""

    run: str
    session: int
    since: int
    """Characters before it; what was stored from here on is replaced."""
    pieces: Sequence[tuple[int, int, str]]
    """Where each begins and ends, in characters, and its text."""
    left_out: tuple[int, int]
    """Stored pieces between these two places are removed: the beginning and the end of the output are kept."""
    at: datetime


def store_console(tx: Transaction, change: ConsoleChange) -> None:
    """Store a change of the console of a run, which exists."""
    where = "FROM console_texts WHERE run = ? AND session = ?"
    tx.execute(f"DELETE {where} AND start >= ?", (change.run, change.session, change.since))
    tx.insert_many(
        ConsoleText(run=change.run, session=change.session, start=start, stop=stop, text=text, at=change.at)
        for start, stop, text in change.pieces
    )
    first, last = change.left_out
    if last > first:
        tx.execute(f"DELETE {where} AND start >= ? AND stop <= ?", (change.run, change.session, first, last))


def console_of(database: Database, run: str) -> str:
    """Return the output of a run; where some of it is left out, a line says how much."""
    texts = sorted(database.list(ConsoleText, where={"run": run}), key=lambda one: (one.session, one.start))
    sessions = [(session, list(pieces)) for session, pieces in groupby(texts, key=lambda one: one.session)]
    shown = []
    for session, pieces in sessions:
        if session:
            shown.append(f"[resumed before {pieces[0].at:%Y-%m-%d %H:%M:%S} UTC]\n")
        shown.append("".join(_joined(pieces)))
        if session != sessions[-1][0] and not shown[-1].endswith("\n"):
            shown.append("\n")
    return "".join(shown)


def _joined(pieces: Iterable[ConsoleText]) -> Iterator[str]:
    end = 0
    for piece in pieces:
        if piece.start > end:
            yield f"[{piece.start - end:,} characters are left out here]\n"
        yield piece.text
        end = piece.stop
