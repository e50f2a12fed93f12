"""What every kind of database answers: rows, columns, and whether it can be read at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import polars as pl

__all__ = ["Asked", "Connector", "Read", "ReadFile", "Server"]


class Asked(NamedTuple):
    """What to read of a database, all of it in one snapshot."""

    text: str
    """The name of a table, or one SELECT."""
    cursor: str | None = None
    """The column of times that says which rows are new."""
    since: datetime | None = None
    """Rows with an earlier cursor are left out, those without one are not; None for all rows."""
    ids: str | None = None
    """The column of which every value is read, whatever `since` says; None for none."""
    also: tuple[int | str, ...] = ()
    """Ids of rows that are read whatever their cursor is."""
    zone: str = "UTC"
    """The zone of times without one."""
    times: tuple[str, ...] = ()
    """Columns that hold times, for a database that has no type for them."""
    hashes: bool = False
    """Whether to say what each file holds, if files are read."""


class ReadFile(msgspec.Struct, frozen=True):
    """One file as it was read."""

    path: str
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since 1970, as the file system or the store says."""
    sha256: str
    """Of its bytes."""


class Read(NamedTuple):
    """What one snapshot holds."""

    frame: pl.DataFrame
    ids: pl.Series | None
    floor: int | None
    """Rows that the snapshot does not show get cursors from this time on, microseconds UTC; None if nobody can say."""
    unknown: str = ""
    """Why not."""
    hint: str = ""
    """What to do about that."""
    files: tuple[ReadFile, ...] = ()
    """The files that were read, if they were asked for."""


class Server(NamedTuple):
    """What a database says of itself."""

    version: str
    notes: tuple[str, ...] = ()
    """What limits its reads."""


class Connector(Protocol):
    """One database, to be read."""

    def read(self, asked: Asked) -> Read:
        """Read rows in one snapshot.

        Raises:
            UnavailableError: If the database cannot be reached, or goes away meanwhile.
            AccessError: If it refuses the user, or what the user may not read.
            DefinitionError: If a table or a column does not exist, or the SELECT cannot be understood.
            DataError: If values cannot be read.
        """

    def columns(self, text: str, times: Sequence[str] = ()) -> Mapping[str, pl.DataType | None]:
        """Return the columns of a table or a SELECT, without reading a row.

        Args:
            text: The name of a table, or one SELECT.
            times: Columns that hold times, for a database that has no type for them.

        Returns:
            Column to type; None where only rows tell it.
        """

    def server(self) -> Server:
        """Reach the database."""
