"""The checks of `doctor`: whether everything the database names is there and is what was written."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import ConflictError, IntegrityError, TinyMLOpsError
from tinymlops.records import TABLES, Record
from tinymlops.stores import file_systems, images, row_index
from tinymlops.stores.locks import FileLock
from tinymlops.stores.migrations import SCHEMA_VERSION
from tinymlops.stores.publish import damaged, hash_file, scratch_directory, unreadable
from tinymlops.stores.references import NamedFile, named_files, orphans
from tinymlops.stores.text_index import TextIndex
from tinymlops.times import from_micros, system_clock, to_micros

if TYPE_CHECKING:
    from tinymlops.stores.database import Database
    from tinymlops.stores.environment import Environment

__all__ = ["Finding", "Space", "bytes_to_read", "check", "space_of", "sqlite_note"]

_PATIENCE = 60.0
_A_DAY = 86_400_000_000
_LEAST_FREE = 2**30


class Finding(msgspec.Struct, frozen=True):
    """The result of one check."""

    check: str
    level: str
    """`ok`, `warning`, or `damaged`."""
    detail: str
    file: str | None = None
    """The damaged file."""


class Space(msgspec.Struct, frozen=True):
    """The disk use of one kind of file."""

    kind: str
    files: int
    bytes: int


def check(environment: Environment, advance: Callable[[int], None]) -> Iterator[Finding]:
    """Check everything; nothing is changed.

    Args:
        environment: The open workspace.
        advance: Called with the number of bytes read since the last call.

    Yields:
        A finding for each check, and one for each damaged file.
    """
    database = environment.database
    # A collection must not remove what is about to be read.
    with environment.gc_lock.shared(deadline=_PATIENCE):
        yield _file_system(environment.path)
        yield _permissions(environment.path)
        yield _locks(environment.tmp)
        ((version,),) = database.rows("PRAGMA user_version")
        yield Finding("schema", "ok", f"version {version}, and this tinymlops writes {SCHEMA_VERSION}")
        for what, look, fine in (
            ("database", lambda: _page_problems(database), "every page and index fits"),
            (
                "audit log",
                database.verify_audit,
                f"every entry follows from the one before; head {database.audit_head()}",
            ),
            ("rows", lambda: database.damaged_rows(*_stored()), "every row has its checksum"),
        ):
            yield from _reported(what, look, fine, database.path)
        yield Finding("commits", "ok", f"none of {database.commits():,} is missing")
        yield _clock(database)
        yield _views(environment)
        yield from _files(environment.path, _named(environment), advance)
        yield from _online(environment)
        yield from _images(environment.path, advance)
        yield from _row_indexes(environment.indexes_dir, advance)
        yield from _search_index(environment.path)
        yield _orphans(environment)
        yield _free(environment.path)


def bytes_to_read(environment: Environment) -> int:
    """Return the size of the files that `check` reads."""
    named = sum(_size(environment.path / file.name) for file in _named(environment))
    return named + _size_below(environment.path / "images") + _size_below(environment.indexes_dir)


def space_of(environment: Environment) -> list[Space]:
    """Return the disk use of each kind of file, without holes in sparse files."""
    path = environment.path
    kinds = {
        "database": [*path.glob("meta.db*")],
        "search index": [*path.glob("search.db*")],
        **{name: _files_below(path / name) for name in ("segments", "indexes", "images", "blobs", "online", "tmp")},
    }
    return [Space(kind, len(files), sum(map(_occupied, files))) for kind, files in kinds.items()]


def sqlite_note(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> str:
    """Return a note about a version of SQLite."""
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    if fixed:
        return "without the write-ahead log race"
    return "has the write-ahead log race of 3.7.0 to 3.51.2, which write.lock keeps away: write with tinymlops only"


def _reported(what: str, look: Callable[[], list[str]], fine: str, file: Path) -> Iterator[Finding]:
    try:
        problems = look()
    except IntegrityError as error:  # it ends this check, not the next
        problems = [error.message]
    if not problems:
        yield Finding(what, "ok", fine)
    for problem in problems:
        yield Finding(what, "damaged", problem, str(file))


def _stored() -> list[type[Record]]:
    """Return the classes of records that nothing else holds; a check of their own looks at the others."""
    return [cls for cls in TABLES if not cls.derived]


def _clock(database: Database) -> Finding:
    """Look for rows whose commit the clock dated in the future: they are not seen before that time."""
    now = to_micros(system_clock())
    sql = """SELECT source, count(*), max(created) FROM pushed_rows WHERE created > ?1 GROUP BY source
        UNION ALL SELECT source, count(*), max(created_at) FROM segments
        WHERE created_at > ?1 AND dead_at IS NULL AND corrections > 0 GROUP BY source"""
    ahead = database.rows(sql, (now + _A_DAY,))
    if not ahead:
        return Finding("clock", "ok", "no row was stored at a time that is still to come")
    told = ", ".join(f"{source} (until {from_micros(until).isoformat()})" for source, _, until in ahead)
    return Finding(
        "clock",
        "warning",
        f"rows were stored while the clock was ahead, and are not seen before that time: {told}; "
        "once the clock is right: tinymlops doctor --repair",
    )


def _page_problems(database: Database) -> list[str]:
    problems = [text for (text,) in database.rows("PRAGMA integrity_check") if text != "ok"]
    return problems + [
        f"row {row[1]} of {row[0]} refers to nothing" for row in database.rows("PRAGMA foreign_key_check")
    ]


def _named(environment: Environment) -> list[NamedFile]:
    """Return the files that the database names; none where it is too damaged, which its own checks report."""
    with suppress(IntegrityError):
        return named_files(environment.database.rows)
    return []


def _files(root: Path, named: list[NamedFile], advance: Callable[[int], None]) -> Iterator[Finding]:
    intact = 0
    for file in named:
        path = root / file.name
        # Read again, even if this process has verified them before: a disk decays without changing a file's time.
        error: TinyMLOpsError | None
        try:
            error = None if hash_file(path) == file.sha256 else damaged(path)
        except IntegrityError as caught:
            error = caught
        except OSError as caught:
            error = unreadable(path, caught)
        advance(_size(path))
        if error is None:
            intact += 1
        else:
            yield Finding("files", "damaged", f"{error.message} ({file.owner})", str(path))
    if intact == len(named):
        yield Finding("files", "ok", f"{intact} files have the hash they are named by")


def _online(environment: Environment) -> Iterator[Finding]:
    try:
        entries = environment.online.verify()
    except IntegrityError as error:
        yield Finding("online store", "damaged", error.message, str(environment.online.path))
    else:
        yield Finding("online store", "ok", f"{entries:,} entries have their checksum")


def _images(root: Path, advance: Callable[[int], None]) -> Iterator[Finding]:
    every, broken = list(images.listed(root / "images")), []
    for path in every:
        broken += [file for file in (images.damage(path),) if file is not None]
        advance(_size_below(path))
    for file in broken:
        yield Finding("join images", "damaged", f"{file} is not what was written", str(file))
    if not broken:
        yield Finding("join images", "ok", f"{len(every)} images are what was written")


def _row_indexes(root: Path, advance: Callable[[int], None]) -> Iterator[Finding]:
    every, broken = list(row_index.listed(root)), []
    for path in every:
        broken += [file for file in (row_index.damage(path),) if file is not None]
        advance(_size(path))
    for file in broken:
        yield Finding("row indexes", "damaged", f"{file} is not what was written", str(file))
    if not broken:
        yield Finding("row indexes", "ok", f"{len(every)} indexes are what was written")


def _search_index(root: Path) -> Iterator[Finding]:
    index = TextIndex(root)
    problems = index.problems()
    for problem in problems:
        yield Finding("search index", "damaged", problem, str(index.path))
    if not problems:
        yield Finding("search index", "ok", "every page fits" if index.path.exists() else "there is none yet")


def _orphans(environment: Environment) -> Finding:
    try:
        found = list(orphans(environment.path, environment.database.rows))
    except IntegrityError as error:
        return Finding("orphans", "damaged", error.message, str(environment.database.path))
    size = sum(map(_size, found))
    return Finding("orphans", "ok", f"{len(found)} files that nothing names, {size:,} bytes; they do no harm")


def _views(environment: Environment) -> Finding:
    """Say whether every view in the online store has all rows; one that cannot take them stays as it was."""
    try:
        with environment.online.read() as snapshot:
            covered = [one.sequence for one in snapshot.coverages().values() if not one.is_hidden]
    except TinyMLOpsError:
        return Finding("online views", "ok", "not asked: what is wrong with the store stands below")
    sequence = environment.database.sequence()
    behind = [one for one in covered if one < sequence]
    if not behind:
        return Finding("online views", "ok", f"{len(covered):,} have every row")
    told = f"{len(behind):,} of {len(covered):,} have rows up to {min(behind):,} of {sequence:,}: `tinymlops status` says why"
    return Finding("online views", "warning", told)


def _file_system(path: Path) -> Finding:
    kind = file_systems.kind_of(path)
    note = file_systems.network_note(kind)
    return Finding("file system", "warning" if note else "ok", note or kind or "local")


def _permissions(path: Path) -> Finding:
    looks = (
        file_systems.writing_note(path, all_files=True),
        file_systems.privacy_note(path),
        file_systems.parents_note(path),
    )
    note = "; ".join(filter(None, looks))
    return Finding("permissions", "warning" if note else "ok", note or "only its owner may enter")


def _locks(tmp: Path) -> Finding:
    """Check whether a lock that one handle holds is refused to another."""
    with scratch_directory(tmp) as directory:
        first, second = FileLock(directory / "try.lock"), FileLock(directory / "try.lock")
        try:
            with first.exclusive(deadline=1.0), second.exclusive(deadline=0.01):
                return Finding(
                    "locks", "warning", "file locks keep nobody out here: use this directory from one process"
                )
        except ConflictError:
            return Finding("locks", "ok", "a held lock keeps others out")
        except OSError as error:
            return Finding("locks", "warning", f"file locks do not work here: {error}")


def _free(path: Path) -> Finding:
    free = shutil.disk_usage(path).free
    level = "ok" if free >= _LEAST_FREE else "warning"
    return Finding("disk", level, f"{free:,} bytes free")


def _files_below(directory: Path) -> list[Path]:
    return [Path(folder, name) for folder, _, names in os.walk(directory) for name in names]


def _size_below(directory: Path) -> int:
    return sum(map(_size, _files_below(directory)))


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _occupied(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0
