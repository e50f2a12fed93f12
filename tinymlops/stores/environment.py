"""One workspace directory as this process has it open: every Workspace of the process shares it."""

from __future__ import annotations

import os
import stat
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.errors import AccessError, DataError, NotFoundError, TinyMLOpsError, near
from tinymlops.stores.blobs import Blobs
from tinymlops.stores.database import Database
from tinymlops.stores.directory import Directory
from tinymlops.stores.forked import Owner
from tinymlops.stores.job_files import JobFiles
from tinymlops.stores.live_runs import LiveRuns
from tinymlops.stores.lmdb_store import LmdbStore
from tinymlops.stores.locks import FileLock
from tinymlops.stores.publish import fsync_directory, remove_stale, unwritable
from tinymlops.stores.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.stores.online_store import OnlineStore
    from tinymlops.times import Clock

__all__ = ["Environment", "open_environment", "reading"]

_DATABASE = "meta.db"
_DIRECTORIES = ("tmp", "blobs", "segments", "online")
_PATIENCE = 60.0


class Environment:
    """The stores of one workspace, open; made by `open_environment`, and closed with its last user.

    Attributes:
        path: The real path of the directory.
        directory: The directory that was at this path when it was opened.
        database: `meta.db`.
        blobs: Files by hash.
        segments_dir: Where the directory of each source lies.
        indexes_dir: Where the indexes of its segments lie, derived.
        tmp: Unfinished files.
        online: Derived feature values.
        live: The runs that this process keeps going.
        remembered: What this process made of the files and keeps for the next call.
        write_lock: Serialises commits. Taken after `gc_lock`, never before.
        gc_lock: Held shared from before a publish until after its commit.
        materialize_lock: Held while views are brought up to date, before any other.
        following: Held by the thread of this process that brings the online store up to date: once is enough.
        only_reads: Whether it was opened by `reading`: what is derived is not kept either.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = Directory(path)
        self.tmp = path / "tmp"
        self.segments_dir = path / "segments"
        self.indexes_dir = path / "indexes"
        self.gc_lock = FileLock(path / "gc.lock", self.directory)
        self.write_lock = FileLock(path / "write.lock", self.directory)
        self.materialize_lock = FileLock(path / "materialize.lock", self.directory)
        self.database = Database(path / _DATABASE, self.write_lock)
        self.blobs = Blobs(path / "blobs", self.tmp)
        self.live = LiveRuns(path / "live")
        self.jobs = JobFiles(path / "jobs")
        self.remembered = Remembered()
        self.online: OnlineStore
        self.following = threading.RLock()
        self.users = 0
        self.only_reads = False
        self._owner = Owner(f"the workspace {path}")

    def check(self) -> None:
        """Refuse to go on in a fork of the process that opened it, or if its directory was moved or replaced.

        Raises:
            ConflictError: If this is another process.
            IntegrityError: If the directory was moved, removed, or replaced by another.
        """
        self._owner.check()
        self.directory.check()

    def open(self) -> None:
        """Open every store; called by `open_environment`."""
        remove_stale(self.tmp)
        self.database.open()
        try:
            self.online = LmdbStore(self.path / "online")
        except OSError as error:
            self.database.close()
            raise unwritable(self.path, error) from error
        except BaseException:
            self.database.close()
            raise
        try:
            self.directory.check()
        except BaseException:
            self._close()
            raise

    def release(self) -> None:
        """Release it; the last user closes it. In a fork of the process, do nothing."""
        if not self._owner.is_here:
            return
        with _lock:
            self.users -= 1
            if self.users > 0 or self not in _open:
                return
            _open.remove(self)
            self._close()

    def _close(self) -> None:
        self.remembered.clear()
        self.live.close()
        try:
            self.online.close()
        finally:
            self.database.close()


def open_environment(path: Path, *, create: bool, clock: Clock) -> Environment:
    """Open a workspace directory, or share the one that this process has open.

    Args:
        path: The directory, such as `flights.tm`.
        create: Create it if it is missing or empty.
        clock: The workspace's clock; the audit log notes its time at the creation.

    Raises:
        NotFoundError: If it is not a workspace and `create` is false.
        DataError: If it would be created where something else is.
        ConflictError: If this process is a fork of one that has it open.
        AccessError: If it may not be written.
    """
    if sys.platform == "win32":
        raise TinyMLOpsError(
            "tinymlops needs file locks that Windows does not have", hint="run it inside WSL2 (wsl --install)"
        )
    path = Path(os.path.realpath(path))
    with _lock:
        # By inode, not by path: a backup may have been restored in its place since it was opened.
        environment = next((one for one in _open if one.directory.is_at(path)), None)
        if environment is None:
            _find_or_create(path, clock, create=create)
            _require_writable(path)
            environment = Environment(path)
            environment.open()
            _open.add(environment)
        environment.check()
        environment.users += 1
        return environment


@contextmanager
def reading(path: Path) -> Iterator[Environment]:
    """Open a workspace directory that another process has open, for reads of history and records alone, while a block runs.

    It has no online store, and shares nothing with what this process has open otherwise. Nothing is written: only locks, and
    the files beside `meta.db` in which SQLite's readers say what they read, are opened as if they were. All records are those
    of one commit.

    Args:
        path: The directory.

    Raises:
        NotFoundError: If it is not a workspace.
        IntegrityError: If its schema is not the one that this tinymlops reads.
    """
    path = Path(os.path.realpath(path))
    if not (path / _DATABASE).exists():
        _refuse(path)
    environment = Environment(path)
    environment.only_reads = True
    environment.database.open_to_read()
    try:
        environment.directory.check()
        yield environment
    finally:
        environment.database.close()


def _find_or_create(path: Path, clock: Clock, *, create: bool) -> None:
    try:
        if not (path / _DATABASE).exists():
            _create(path, clock) if create else _refuse(path)
    except OSError as error:
        raise unwritable(path, error) from error


def _create(path: Path, clock: Clock) -> None:
    """Create the directory; several processes may do so at once, and one may crash half way without harm."""
    _refuse_foreign(path)
    _make_private(path)
    fsync_directory(path.parent)
    new = Environment(path)
    with new.write_lock.exclusive(deadline=_PATIENCE):
        if (path / _DATABASE).exists():
            return
        for name in _DIRECTORIES:
            _make_private(path / name)
        fsync_directory(path)
        # Last, and by a rename: a directory with it is a complete workspace.
        new.database.create(lambda first: first.audit("workspace.create", path.name, clock=clock().isoformat()))
        new.database.close()


def _make_private(path: Path) -> None:
    """Create a directory that only its owner may enter, or restrict an existing one; the umask does not matter.

    Raises:
        AccessError: If it is there and belongs to another user.
    """
    path.mkdir(mode=0o700, exist_ok=True)
    if stat.S_IMODE(path.stat().st_mode) == stat.S_IRWXU:
        return
    try:
        path.chmod(stat.S_IRWXU)
    except PermissionError as error:
        raise AccessError(
            f"{path} belongs to another user, so that others could not be kept out of the workspace",
            hint=f"name a directory that does not exist yet, such as {path / 'shop.tm'}",
        ) from error


def _require_writable(path: Path) -> None:
    """Refuse a directory that may not be written: even reads take locks, and keep the online store up to date.

    Raises:
        AccessError: If it is read-only.
    """
    for file in (path, path / _DATABASE):
        if not os.access(file, os.W_OK):
            raise AccessError(
                f"{file} cannot be written by this user",
                hint="make it writable, or restore a backup into a directory of your own",
            )


def _refuse_foreign(path: Path) -> None:
    """Refuse a place that holds something else; the rest of an unfinished creation is ours."""
    if not path.parent.is_dir():
        raise NotFoundError(f"there is no directory {path.parent}", hint=f"mkdir -p {path.parent}")
    if not path.exists():
        return
    if not path.is_dir():
        raise DataError(f"{path} is a file", hint="name a directory that does not exist yet")
    ours = {*_DIRECTORIES, "write.lock", "write.turn", "gc.lock", "gc.turn"}
    foreign = sorted(
        entry.name for entry in path.iterdir() if entry.name not in ours and not entry.name.startswith(f"{_DATABASE}")
    )
    if foreign:
        raise DataError(
            f"{path} is not empty and no workspace: it holds {', '.join(foreign[:5])}",
            hint="name a directory that does not exist yet, such as flights.tm",
        )


def _refuse(path: Path) -> None:
    siblings = path.parent.glob("*.tm") if path.parent.is_dir() else ()
    known = [sibling.name for sibling in siblings if (sibling / _DATABASE).exists()]
    create = "connect with create=True, or `tinymlops init`, makes a new one"
    similar = near(path.name, known)
    raise NotFoundError(f"{path} is not a workspace", hint=f"{similar}; {create}" if similar else create)


_open: set[Environment] = set()
_lock = threading.Lock()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603
    # Another thread may have held it when the process was forked. The environments stay listed: SQLite and LMDB
    # keep their locks by process and file, so that even a new handle on the same files would be unsafe here.
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
