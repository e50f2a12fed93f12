"""SQLite as it is used here: how a connection is set up, and what its errors mean."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from tinymlops.errors import AccessError, ConflictError, DataError, IntegrityError, TinyMLOpsError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["RESTORE", "connected", "prepare", "translated"]

RESTORE = "restore the workspace from a backup"
_LARGEST_INT = 2**63 - 1
_LARGEST_WAL_KEPT = 4 * 2**20
_ROW_EXISTS = (sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_UNIQUE)
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Messages about a damaged text (Python's own error, without a code), damaged JSON, a damaged header, a damaged schema.
_SAID_OF_DAMAGE = ("Could not decode to UTF-8", "malformed JSON", "unsupported file format", "no such ")


def connected(path: Path, *, only_reads: bool = False) -> sqlite3.Connection:
    """Connect in autocommit mode; the file is created if needed, unless the connection only reads."""
    address = f"{path.resolve().as_uri()}?mode=ro" if only_reads else path
    return sqlite3.connect(
        address, uri=only_reads, isolation_level=None, check_same_thread=False, cached_statements=256
    )


def prepare(connection: sqlite3.Connection) -> None:
    """Make the settings that every connection of a workspace has."""
    for setting in (
        "busy_timeout = 5000",
        "synchronous = FULL",
        "fullfsync = ON",
        "checkpoint_fullfsync = ON",
        "foreign_keys = ON",
        "wal_autocheckpoint = 0",
        # Otherwise the file keeps its greatest size, which then cannot show that a checkpoint is due.
        f"journal_size_limit = {_LARGEST_WAL_KEPT}",
    ):
        connection.execute(f"PRAGMA {setting}").close()


class translated:  # noqa: N801 - used as a function; a class costs a fifth of what a generator does
    """Turn SQLite's errors into ours.

    Args:
        path: The database's file.
        subject: What is read or written, such as a table.
    """

    __slots__ = ("_path", "_subject")

    def __init__(self, path: Path, subject: str) -> None:
        self._path, self._subject = path, subject

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise our error for SQLite's."""
        if error is not None:
            ours = _ours(error, self._path, self._subject)
            if ours is not error:
                raise ours from error


def _ours(error: BaseException, path: Path, subject: str) -> BaseException:
    if isinstance(error, sqlite3.IntegrityError):
        return _constraint(error, subject)
    if isinstance(error, OverflowError):
        return DataError(f"a whole number for {subject} is outside -2^63 to {_LARGEST_INT}", hint="store it as text")
    if isinstance(error, UnicodeEncodeError):
        return DataError(f"a text for {subject} is not valid Unicode: {error.reason}")
    if isinstance(error, UnicodeDecodeError):  # the message quotes a damaged schema
        return _damaged(path, error)
    if isinstance(error, sqlite3.OperationalError):
        return _operational(error, path)
    if isinstance(error, sqlite3.DatabaseError) and _code(error) in _DAMAGE:
        return _damaged(path, error)
    return error


def _constraint(error: sqlite3.IntegrityError, subject: str) -> TinyMLOpsError:
    if error.sqlite_errorcode in _ROW_EXISTS:
        return ConflictError(f"{subject} already has such a row: {error}")
    if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
        return ConflictError(str(error))
    return DataError(f"{subject} does not take this row: {error}")


def _operational(error: sqlite3.OperationalError, path: Path) -> Exception:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return TinyMLOpsError(
            f"the disk of {path} is full; nothing was stored", hint="free some space and run it again"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ConflictError(
            f"{path} is locked by a program that does not take part in the workspace's write.lock",
            hint="close other SQLite tools that have it open",
        )
    if code == sqlite3.SQLITE_IOERR:
        return IntegrityError(f"{path} cannot be read or written: {error}", hint="check the disk")
    if code == sqlite3.SQLITE_CANTOPEN and not path.exists():
        return IntegrityError(
            f"{path.parent} was moved, removed or replaced while it was open here: there is nothing at its path now",
            hint="close the workspace and connect again (restart what serves it)",
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return AccessError(
            f"{path} cannot be opened: {error}", hint="see that it is a file that this user may read and write"
        )
    if code == sqlite3.SQLITE_READONLY:
        return IntegrityError(f"{path} cannot be written: {error}", hint=RESTORE)
    if code in _DAMAGE or str(error).startswith(_SAID_OF_DAMAGE):
        return _damaged(path, error)
    return error


def _damaged(path: Path, error: Exception) -> IntegrityError:
    return IntegrityError(f"{path} is damaged: {error}", hint=RESTORE)


def _code(error: sqlite3.Error) -> int:
    # Python raises a few of these itself, without a code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
