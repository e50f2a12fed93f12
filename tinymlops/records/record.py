"""The base of all records: one row of the workspace's database, with the properties of its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

__all__ = ["Record", "Scalar"]

Scalar = bool | int | float | str | None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A row of one table of the workspace's database.

    `tinymlops.stores.database` reads and writes any of them. Times are aware UTC datetimes here and integer microseconds in
    SQLite; what is not a scalar is JSON text there. Code that handles all tables relies on what each class declares.
    """

    table: ClassVar[str] = ""
    """Its table."""
    key: ClassVar[tuple[str, ...]] = ()
    """The columns of its primary key."""
    files: ClassVar[Mapping[str, str]] = {}
    """Columns that hold the SHA-256 of a file in `blobs/`, or null, each with a description of the file: text with columns
    in braces. `gc` keeps these files, `backup` and `restore` copy them, `doctor` reads them."""
    subjects: ClassVar[tuple[str, ...]] = ()
    """Columns that hold values of one data subject, such as an entity's key: erasure must search them."""
    small: ClassVar[bool] = False
    """Whether the table does not grow with traffic, so that it is compared with its indexes whenever it is opened."""
    sql_name: ClassVar[str | None] = None
    """The name of the table in `ws.sql`; None where it is not shown."""
    search: ClassVar[tuple[str, ...]] = ()
    """Columns whose text people look for: those of a full-text index."""
    derived: ClassVar[bool] = False
    """Whether it follows from other records: `doctor` compares it with them, and `doctor --repair` makes it anew."""
