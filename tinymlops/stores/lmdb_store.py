"""The online store of one machine: views under ordered byte keys, in LMDB.

All of it is derived from the offline rows, so it is never synced. A process may die at any moment and lose nothing;
after a crash of the machine the store is recreated empty and `needs_rebuild` is set. `views.json`, a few names that are
synced, then tells what was in it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import weakref
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tinymlops.errors import ConflictError, DataError, IntegrityError, TinyMLOpsError
from tinymlops.stores import _lmdb_views as views
from tinymlops.stores._boot import BootState
from tinymlops.stores._gate import Gate
from tinymlops.stores._lmdb_entries import Writer
from tinymlops.stores._names import Names
from tinymlops.stores.directory import Directory
from tinymlops.stores.forked import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import lmdb

    from tinymlops.stores.coverage import Coverage
    from tinymlops.stores.online_store import Change

__all__ = ["LmdbStore"]

R = TypeVar("R")
_FIRST_MAP = 2**30
_READERS = 1024
_NOTHING: Mapping[bytes, Coverage | None] = {}


class LmdbStore:
    """An online store in a directory: any number of processes read while one writes.

    Args:
        path: The directory, created if needed. One store per directory and process.

    Raises:
        IntegrityError: If it is damaged while other processes use it; alone, it is rebuilt.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self.opened = 0
        """Another number for each opening of any store: a file that is rebuilt counts its transactions from 1."""
        self.covered: tuple[int, dict[bytes, Coverage]] = (-1, {})
        """The coverage that readers found, in the version of the store they read last."""
        self._owner = Owner(f"the online store {path}")
        self._gate = Gate()
        self._updating = _Updating()
        self._one_updates = threading.Lock()
        path.mkdir(mode=0o700, exist_ok=True)
        self._directory = Directory(path)
        self._state = BootState(self._directory)
        self._names = Names(path / "views.json")
        self._users = os.open(path / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        _stores.add(self)
        try:
            self._environment: lmdb.Environment | None = self._open()
        except BaseException:
            os.close(self._users)
            self._users = -1
            raise

    def read(self) -> AbstractContextManager[_Reading]:
        """Read as of one moment, in this thread; nested reads are fine.

        Raises:
            IntegrityError: If what is read is not what was written.
        """
        return _Reading(self)

    def update(self, function: Callable[[Writer], R]) -> R:
        """Change the store in one transaction; everything is undone if the function raises.

        Args:
            function: Called with the transaction, and called again after its changes were undone when LMDB's
                map was too small for them: it must do nothing that cannot be done twice.

        Returns:
            What the function returned.

        Raises:
            IntegrityError: If the store is damaged, or its directory was moved, removed or replaced.
        """
        import lmdb

        if self._updating.now:
            raise ConflictError("this thread is inside an update already", hint="use that update's transaction")
        with self._one_updates:
            while True:
                size = self._opened().info()["map_size"]
                try:
                    return self._attempt(function)
                except lmdb.MapFullError:
                    self._grow(size)
                except lmdb.Error as error:
                    raise self.explained(error) from error

    def write(
        self, batch: Mapping[bytes, Change | None], *, if_covered: Mapping[bytes, Coverage | None] = _NOTHING
    ) -> bool:
        """Change views, all or none.

        Args:
            batch: The change of each view; None removes the view.
            if_covered: The coverage of views that the writer read: if one has changed, nothing is written.

        Returns:
            Whether it was written.

        Raises:
            IntegrityError: If the store is damaged, or its directory was moved, removed or replaced.
        """
        return self.update(partial(views.write, batch, if_covered))

    def put_token(self, token: bytes) -> None:
        """Set the token that every snapshot has."""
        self.update(partial(views.put_token, token))

    def drop_other_format(self) -> None:
        """Remove all views if another version wrote their keys in another format."""
        with self.read() as reader:
            other = views.has_other_format(reader)
        if other:
            self.update(views.clear_other_format)

    def verify(self) -> int:
        """Read everything; return how many entries there are.

        Raises:
            IntegrityError: If something is not what was written.
        """
        with self.read() as reader:
            # Each is also searched for: a damaged tree misleads a search, but not a walk over all entries.
            return sum(reader.get(key) is not None for key, _ in reader.scan(b"", views.LAST_KEY))

    def needs_rebuild(self) -> bool:
        """Whether it holds nothing: new, or removed because of damage or a crash of the machine."""
        transaction = self.begin(write=False)
        try:
            return not transaction.stat()["entries"]
        finally:
            transaction.abort()
            self.end()

    def remembered(self) -> dict[str, str]:
        """Return the name of each view that was written, even if the store was lost since."""
        return self._names.read()

    def remember(self, names: Mapping[str, str]) -> None:
        """Forget all names except these and those of the views that are there."""
        self.update(partial(views.remember, names))

    def reset(self) -> None:
        """Remove everything, damaged or not, except the remembered names.

        Raises:
            ConflictError: If LMDB can no longer walk it and other processes use it, or this one has closed it.
        """
        self._opened()
        self._directory.check()
        if self._is_alone():
            try:
                with self._gate.alone():
                    self._opened().close()
                    self._remove()
                    self._environment = self._new_environment()
            finally:
                fcntl.flock(self._users, fcntl.LOCK_SH)
            return
        try:
            self.update(lambda writer: writer.clear())
        except IntegrityError as error:
            self._state.mark_damaged()
            raise ConflictError(
                f"the online store {self.path} is damaged and other processes use it",
                hint="stop them: the next one to open the workspace rebuilds it",
            ) from error

    def close(self) -> None:
        """Sync and close the files; in a fork of the process, do nothing."""
        if not self._owner.is_here or self._environment is None:
            return
        with self._gate.alone():
            environment, self._environment = self._environment, None
            if not self._state.is_clean():
                self._end_cleanly(environment)
            environment.close()
        os.close(self._users)
        self._users = -1

    def begin(self, *, write: bool) -> lmdb.Transaction[Any]:
        """Begin a transaction of LMDB; a read transaction returns views of its memory. `end` must follow."""
        # Before the gate: in a fork, its lock may be held forever by a thread that does not exist there.
        self._owner.check()
        readers_checked = False
        while True:
            self._gate.enter()
            try:
                environment = self._environment or self._opened()
                return environment.begin(write=True) if write else environment.begin(buffers=True)
            except BaseException as error:  # noqa: BLE001  # one that no second attempt can help is raised again
                self.end()
                self._prepare_again(error, readers_checked=readers_checked)
                readers_checked = True

    def _prepare_again(self, error: BaseException, *, readers_checked: bool) -> None:
        """Repair what may let the next attempt to begin succeed, or raise the error as one of ours."""
        import lmdb

        if isinstance(error, lmdb.MapResizedError):
            self._adopt()
        elif isinstance(error, lmdb.ReadersFullError) and not readers_checked:
            self._opened().reader_check()  # those of killed processes
        else:
            self.raise_explained(error)
            raise error

    def end(self) -> None:
        """Mark a transaction from `begin` as over."""
        self._gate.leave()

    def raise_explained(self, error: BaseException) -> None:
        """Raise an error of LMDB as one of ours; do nothing for any other."""
        import lmdb

        if isinstance(error, lmdb.Error):
            raise self.explained(error) from error

    def explained(self, error: lmdb.Error) -> TinyMLOpsError:
        """Turn one of LMDB's errors into ours."""
        import lmdb

        if isinstance(error, _damage()):
            return IntegrityError(
                f"the online store {self.path} is damaged: {error}",
                hint="it is derived data: stop the other processes of the workspace and materialize again",
            )
        if isinstance(error, lmdb.ReadersFullError):
            return ConflictError(
                f"the online store {self.path} has {_READERS} readers already", hint="close some processes"
            )
        if isinstance(error, lmdb.LockError):
            return ConflictError(
                f"the online store {self.path} is open in another container, by a process with the same number, {os.getpid()}",
                hint="type the command into that container (docker exec), or let both count their processes together "
                "(docker run --pid container:NAME)",
            )
        if isinstance(error, lmdb.BadValsizeError):
            return DataError(f"the online store {self.path} takes no empty key")
        if isinstance(error, lmdb.MemoryError):
            return TinyMLOpsError(
                f"the online store {self.path} cannot be mapped into memory: {error}",
                hint="free some memory, or let the process have more address space (see ulimit -v)",
            )
        if isinstance(error, lmdb.DiskError) or "No space" in str(error):
            return TinyMLOpsError(f"the online store {self.path}: {error}", hint="check the disk's free space")
        return TinyMLOpsError(f"the online store {self.path}: {error}", hint="see what `tinymlops doctor` says")

    def _attempt(self, function: Callable[[Writer], R]) -> R:
        transaction = self.begin(write=True)
        self._updating.now = True
        try:
            self._directory.check()
            self._state.mark_written()
            result = function(Writer(transaction, self.name, self._names))
            transaction.commit()
        except BaseException:
            # py-lmdb's abort of a write waits, spinning, until no other thread is inside any call on the
            # environment: busy readers keep it waiting for minutes.
            with self._gate.quiet():
                transaction.abort()
            raise
        else:
            return result
        finally:
            self._updating.now = False
            self.end()

    def _end_cleanly(self, environment: lmdb.Environment) -> None:
        import lmdb

        # Inside a write transaction no other process writes; the next one to do so marks the state again.
        # Where that fails, the next boot rebuilds the store.
        with suppress(lmdb.Error, TinyMLOpsError, OSError):
            transaction = environment.begin(write=True)
            try:
                if self._state.is_trusted():
                    environment.sync(force=True)
                    self._state.mark_clean()
            finally:
                transaction.abort()

    def _opened(self) -> lmdb.Environment:
        self._owner.check()
        if self._environment is None:
            raise ConflictError(f"the online store {self.path} is closed", hint="connect to the workspace again")
        return self._environment

    def _open(self) -> lmdb.Environment:
        import lmdb

        alone = self._is_alone()
        if not alone:
            # The thread that is alone right now is opening the store, and is done in a moment.
            fcntl.flock(self._users, fcntl.LOCK_SH)
        try:
            if alone and not self._state.is_trusted():
                self._remove()
            try:
                return self._new_environment()
            except (lmdb.Error, _TruncatedError) as error:
                if isinstance(error, lmdb.Error) and not isinstance(error, _damage()):
                    raise
                if not alone:
                    raise
                self._remove()
                return self._new_environment()
        except lmdb.Error as error:
            raise self.explained(error) from error
        finally:
            if alone:
                fcntl.flock(self._users, fcntl.LOCK_SH)

    def _new_environment(self) -> lmdb.Environment:
        import lmdb

        data = self.path / "data.mdb"
        used = data.stat().st_size if data.exists() else 0
        size = _FIRST_MAP
        while size < used:
            size *= 2
        # The directory exists: LMDB would create it once more, and report a full disk in an error of its own kind.
        environment = lmdb.open(
            self.name, map_size=size, create=False, sync=False, metasync=False, writemap=False, max_readers=_READERS
        )
        pages = environment.info()["last_pgno"] + 1
        # Reading a page beyond the end of the file would end the process (SIGBUS).
        if data.stat().st_size < pages * environment.stat()["psize"]:
            environment.close()
            raise _TruncatedError(
                f"the online store {self.path} is cut short",
                hint="stop the other processes of the workspace: the next one to open it rebuilds it",
            )
        environment.reader_check()
        self.opened = next(_openings)
        return environment

    def _is_alone(self) -> bool:
        """Take the directory for this process alone, if no other uses it; to be given back by LOCK_SH."""
        try:
            fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _remove(self) -> None:
        for name in ("data.mdb", "lock.mdb"):
            (self.path / name).unlink(missing_ok=True)

    def _grow(self, seen: int) -> None:
        with self._gate.alone():
            environment = self._opened()
            if environment.info()["map_size"] > seen:
                return
            # Another process may have made it larger.
            environment.set_mapsize(0)
            if environment.info()["map_size"] <= seen:
                environment.set_mapsize(seen * 2)

    def _adopt(self) -> None:
        with self._gate.alone():
            self._opened().set_mapsize(0)

    def _forget(self) -> None:
        """Drop the parent's descriptor in its fork, which would otherwise count as a user after the parent has ended."""
        if self._users >= 0:
            os.close(self._users)
            self._users = -1


class _Reading(views.ViewReader):
    """A read transaction as a context manager; a class, because a generator costs more than the read."""

    __slots__ = ("_store",)

    def __init__(self, store: LmdbStore) -> None:
        self._store, self._path = store, store.name

    def __enter__(self) -> Self:
        store = self._store
        self._transaction = transaction = store.begin(write=False)
        self.version = store.opened << 48 | transaction.id()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._transaction.abort()
        self._store._gate.leave()  # noqa: SLF001
        if error is not None:
            self._store.raise_explained(error)

    def read(
        self,
        view: bytes,
        keys: Sequence[bytes | None],
        lasting: bool = True,  # noqa: FBT001, FBT002  # by keyword costs
    ) -> tuple[Coverage | None, list[bytes | None]]:
        """Return the coverage of a view and the newest entry of each key."""
        version, covered = self._store.covered
        if version != self.version:
            covered = {}
            self._store.covered = self.version, covered
        coverage = covered.get(view)
        if coverage is None:
            coverage = self.coverage(view)
            if coverage is not None:
                covered[view] = coverage
        return coverage, self.get_many(keys, lasting=lasting)


class _TruncatedError(IntegrityError):
    """The file ends before its last page."""


class _Updating(threading.local):
    now = False


def _damage() -> tuple[type[Exception], ...]:
    import lmdb

    return (
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.PageNotFoundError,
        lmdb.PanicError,
        lmdb.VersionMismatchError,
    )


_stores: weakref.WeakSet[LmdbStore] = weakref.WeakSet()
_openings = count(1)


def _after_fork() -> None:
    for store in tuple(_stores):
        store._forget()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
