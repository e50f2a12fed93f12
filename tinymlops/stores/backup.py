"""`backup` and `restore`: a workspace as of one commit, copied while others go on working.

SQLite's own online backup comes first, then the files that this copy names: a commit made meanwhile is simply not in
it. Derived data (the online store, join images) is left out and rebuilt after a restore.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DataError, IntegrityError, NotFoundError
from tinymlops.records import TABLES, AuditHead
from tinymlops.stores._commits import LastCommit
from tinymlops.stores._opening import upgrade
from tinymlops.stores._sqlite import RESTORE, connected, translated
from tinymlops.stores._verify import audit_head, read_counter, row_problems
from tinymlops.stores.directory import Directory
from tinymlops.stores.publish import (
    damaged,
    fsync,
    fsync_directory,
    hash_file,
    open_regular,
    unreadable,
    unwritable,
)
from tinymlops.stores.references import NAMING_FILES, named_files
from tinymlops.stores.transaction import Transaction
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tinymlops.stores.environment import Environment

__all__ = ["Backup", "BackupFile", "backup", "read_manifest", "restore"]

_DATABASE = "meta.db"
_MANIFEST = "manifest.json"
_PROTOCOL = 1
_PATIENCE = 60.0
_CHUNK = 1 << 20


class BackupFile(msgspec.Struct, frozen=True):
    """One file of a backup."""

    path: str
    """Its path relative to the backup, with forward slashes."""
    sha256: str
    bytes: int


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds: its `manifest.json`."""

    protocol: int = _PROTOCOL
    created_at: datetime
    sequence: int
    """The workspace's sequence at which it was taken."""
    audit: AuditHead | None = None
    """The head of its audit log; None in the backups of an earlier tinymlops."""
    files: tuple[BackupFile, ...]

    @property
    def bytes(self) -> int:
        """The size of all files together."""
        return sum(file.bytes for file in self.files)


def backup(environment: Environment, target: Path, *, advance: Callable[[int], None]) -> Backup:
    """Copy a workspace while others read and write it.

    Args:
        environment: The open workspace.
        target: A directory that does not exist yet; it appears complete or not at all.
        advance: Called with the number of bytes copied since the last call.

    Raises:
        DataError: If there is something at the target.
        IntegrityError: If a file of the workspace is missing, or a file or a row is damaged.
    """
    with _appearing(target) as building:
        # No file that the copied database names may be collected before it is copied.
        with environment.gc_lock.shared(deadline=_PATIENCE):
            copy = building / _DATABASE
            environment.database.copy_to(copy)
            sequence, head, names = _contents(copy)
            files = [BackupFile(_DATABASE, hash_file(copy), copy.stat().st_size)]
            for name, sha256 in names.items():
                size = _copy(environment.path / name, building / name, sha256)
                files.append(BackupFile(name, sha256, size))
                advance(size)
        manifest = Backup(created_at=system_clock(), sequence=sequence, audit=head, files=tuple(files))
        _write(building / _MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def restore(source: Path, target: Path, *, actor: str, advance: Callable[[int], None]) -> Backup:
    """Make a workspace from a backup, after checking every file of it; its audit log says so.

    Only the files that the backup's database names are copied: the author of the backup cannot add others.

    Args:
        source: A backup.
        target: The workspace's directory, which does not exist yet; it appears complete or not at all.
        actor: The actor in the audit log.
        advance: Called with the number of bytes copied since the last call.

    Returns:
        What was restored.

    Raises:
        NotFoundError: If the source is not a backup.
        IntegrityError: If a file of it is missing or damaged, or its audit log does not end as the manifest says; nothing
            is restored then.
        DataError: If there is something at the target.
    """
    manifest = read_manifest(source)
    with _appearing(target) as building:
        files = [file for file in manifest.files if file.path == _DATABASE]
        if not files:
            raise IntegrityError(f"{source / _MANIFEST} lists no {_DATABASE}", hint="use another backup")
        _copy(source / _DATABASE, building / _DATABASE, files[0].sha256)
        advance(files[0].bytes)
        _require_head(building / _DATABASE, manifest)
        for name, sha256 in _brought_up(building, target.name, manifest, actor).items():
            size = _copy(source / name, building / name, sha256)
            files.append(BackupFile(name, sha256, size))
            advance(size)
        for name in ("tmp", "blobs", "segments", "online"):
            (building / name).mkdir(mode=0o700, exist_ok=True)
    return msgspec.structs.replace(manifest, files=tuple(files))


def read_manifest(source: Path) -> Backup:
    """Read what a backup holds.

    Raises:
        NotFoundError: If the directory is not a backup.
        IntegrityError: If its manifest cannot be read.
    """
    path = source / _MANIFEST
    if not path.is_file():
        raise NotFoundError(
            f"{source} is not a backup: it has no {_MANIFEST}", hint="name the directory that backup made"
        )
    try:
        with open_regular(path) as file:
            manifest = msgspec.json.decode(file.read(), type=Backup)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise IntegrityError(f"{path} cannot be read: {error}", hint="use another backup") from error
    if manifest.protocol > _PROTOCOL:
        raise IntegrityError(f"{path} has protocol {manifest.protocol}", hint="pip install --upgrade tinymlops")
    outside = [file.path for file in manifest.files if file.path.startswith("/") or ".." in Path(file.path).parts]
    if outside:
        raise IntegrityError(f"{path} names files outside of it: {outside[0]}", hint="use another backup")
    return manifest


def _contents(copy: Path) -> tuple[int, AuditHead, dict[str, str]]:
    """Return the sequence of a copied database, its audit log's head, and path to SHA-256 of every file that it names."""
    with translated(copy, "the copy"), closing(sqlite3.connect(copy)) as connection:
        # A damaged copy must not replace an older one that is not.
        for problem in row_problems(connection, copy, TABLES):
            raise IntegrityError(f"nothing was backed up: {problem}", hint=RESTORE)
        sequence = read_counter(connection, "sequence")
        head = audit_head(connection)
        names = {file.name: file.sha256 for file in named_files(connection.execute)}
    return sequence, head, names


def _require_head(path: Path, manifest: Backup) -> None:
    with translated(path, "the database"), closing(connected(path)) as connection:
        found = audit_head(connection)
    if manifest.audit is not None and found != manifest.audit:
        raise IntegrityError(
            f"the audit log of the backup ends with entry {found}, and its manifest says {manifest.audit}",
            hint="use another backup",
        )


def _brought_up(workspace: Path, name: str, manifest: Backup, actor: str) -> dict[str, str]:
    """Migrate a copied database, as opening it would, and note in it that it was restored.

    Returns:
        Path to SHA-256 of every file that it names.
    """
    path = workspace / _DATABASE
    with translated(path, "the database"), closing(connected(path)) as connection:
        upgrade(connection, path, LastCommit(path, Directory(workspace)))
        for problem in row_problems(connection, path, NAMING_FILES):
            raise IntegrityError(problem, hint="use another backup")
        connection.execute("BEGIN IMMEDIATE")
        tx = Transaction(connection, path, actor=actor)
        tx.audit("workspace.restore", name, backed_up_at=manifest.created_at.isoformat(), sequence=manifest.sequence)
        tx.count_commit()
        connection.execute("COMMIT")
        return {file.name: file.sha256 for file in named_files(connection.execute)}


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """Yield a directory beside the target that becomes the target, durably, once the block is done."""
    if target.exists():
        raise DataError(f"{target} is there already", hint="name a directory that does not exist yet")
    if not target.parent.is_dir():
        raise NotFoundError(f"there is no directory {target.parent}", hint=f"mkdir -p {target.parent}")
    building = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        building.mkdir(mode=0o700)
        yield building
        for folder, _, _ in os.walk(building):
            fsync_directory(Path(folder))
        building.rename(target)
        fsync_directory(target.parent)
    except OSError as error:
        raise unwritable(target, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _copy(source: Path, target: Path, sha256: str) -> int:
    """Copy a file durably, hashing on the way; return its size."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    try:
        reading = open_regular(source)
    except OSError as error:
        raise unreadable(source, error) from error
    with reading, target.open("xb") as writing:
        while chunk := reading.read(_CHUNK):
            digest.update(chunk)
            writing.write(chunk)
        writing.flush()
        fsync(writing.fileno())
        size = writing.tell()
    if digest.hexdigest() != sha256:
        raise damaged(source)
    return size


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        fsync(file.fileno())
