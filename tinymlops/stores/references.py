"""Which files the database names, and which of them are still needed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from string import Formatter
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.errors import IntegrityError
from tinymlops.records import TABLES, Record, Segment
from tinymlops.stores._sqlite import RESTORE
from tinymlops.stores.rows import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Query = Callable[[str], Iterable[tuple[Any, ...]]]

__all__ = ["NAMING_FILES", "NamedFile", "named_files", "orphans"]

NAMING_FILES: tuple[type[Record], ...] = (*(cls for cls in TABLES if cls.files), Segment)
"""The records that name files; the queries below do not check their checksums: a caller that acts on them does so first."""

# A read as of an earlier sequence needs the rows that a rebuild has replaced.
_SEGMENTS = "SELECT source, sha256 FROM segments WHERE dead_at IS NULL OR until IS NOT NULL ORDER BY id"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"(blobs/[0-9a-f]{2}|segments/(?!\.{1,2}/)[^/\0]+)/[0-9a-f]{64}")


class NamedFile(NamedTuple):
    """A file that the database names."""

    name: str
    """Its path in the workspace."""
    sha256: str
    owner: str
    """What it belongs to, for messages."""


def named_files(query: Query) -> list[NamedFile]:
    """Return the blobs and the segments that a database names and that may be read, each once.

    Args:
        query: Runs one SELECT on it.

    Raises:
        IntegrityError: If one would be elsewhere: no path out of the workspace is taken from a database.
    """
    found: dict[str, NamedFile] = {}
    for sha256, owner in _blobs(query):
        name = f"blobs/{sha256[:2]}/{sha256}"
        found.setdefault(name, NamedFile(name, sha256, owner))
    for source, sha256 in query(_SEGMENTS):
        name = f"segments/{source}/{sha256}"
        found.setdefault(name, NamedFile(name, sha256, f"rows of source {source}"))
    for name in found:
        if not _NAME.fullmatch(name):
            raise IntegrityError(f"the database names {name!r}, which is not a file of a workspace", hint=RESTORE)
    return list(found.values())


def orphans(root: Path, query: Query) -> Iterator[Path]:
    """Yield the files of a workspace that no row names, not even that of a segment out of use.

    Args:
        root: The workspace's directory.
        query: Runs one SELECT on its database.
    """
    named = {file.name for file in named_files(query)}
    named |= {f"segments/{source}/{sha256}" for source, sha256 in query("SELECT source, sha256 FROM segments")}
    for part in ("blobs", "segments"):
        for folder, _, names in os.walk(root / part):
            for path in (Path(folder, name) for name in names if _SHA256.fullmatch(name)):
                if path.relative_to(root).as_posix() not in named:
                    yield path


def _blobs(query: Query) -> Iterator[tuple[str, str]]:
    """Yield the hash of every blob that a row names, and what it belongs to."""
    for cls in TABLES:
        for column, what in cls.files.items():
            names = [name for _, name, _, _ in Formatter().parse(what) if name]
            columns = ", ".join(map(quoted, (column, *names)))
            for sha256, *values in query(
                f"SELECT {columns} FROM {quoted(cls.table)} WHERE {quoted(column)} IS NOT NULL"
            ):
                yield sha256, what.format(**dict(zip(names, values, strict=True)))
