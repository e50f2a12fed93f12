"""Keep compiled kernels in a directory that only the user can write.

Numba's cache is pickle: a user who can write it can run code in every process that reads it. So it lives in a
directory of mode 0700 that the user owns, in places where nobody else can put another one, and where there is no such
directory there is no cache. Numba's own settings are left alone: other users of numba in the process keep theirs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import stat
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from tinymlops.progress import is_watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["KernelCache", "NotCompiledError", "cache_directory", "only_looking"]

_UNUSABLE = (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError, ValueError)
"""What reading a truncated, foreign or unreadable cache file can raise."""
_TELLING = 16
"""Characters of the digest of the sources in the name of a file."""


@functools.cache
def cache_directory() -> str | None:
    """Return the private directory, created if needed, or None where there cannot be a safe one.

    It is under the user's cache directory; where that cannot be written and has no code of this version, under the
    directory that the system keeps for what the user runs, or under the one for temporary files.
    """
    for root in _roots():
        directory = root / f"numba-{numba.__version__}"
        try:
            for path in (root, directory):
                path.mkdir(mode=0o700, parents=path is root, exist_ok=True)
            private = _is_private(root) and _is_private(directory)
            if private and (os.access(directory, os.W_OK) or _has_code(directory)):
                return str(directory)
        except OSError:
            continue
    return None


def _has_code(directory: Path) -> bool:
    """Return whether kernels of this version were compiled into a directory, as into a layer of a read-only image."""
    version = _source_digest()[:_TELLING]
    return any(version in path.name for path in directory.glob("*.nbi"))


def _roots() -> Iterator[Path]:
    home = os.environ.get("XDG_CACHE_HOME", "")
    yield (Path(home) if Path(home).is_absolute() else Path(os.path.expanduser("~/.cache"))) / "tinymlops"
    running = os.environ.get("XDG_RUNTIME_DIR", "")
    if Path(running).is_absolute():
        yield Path(running) / "tinymlops"
    yield Path(tempfile.gettempdir()) / f"tinymlops-{os.getuid()}"


def _is_private(path: Path) -> bool:
    """Return whether only the user can write a directory, and nobody else can put another one in its place."""
    if not path.is_absolute():  # no home directory is known
        return False
    found = path.lstat()
    ours = stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == os.getuid()
    return ours and all(_keeps_entries(above.stat()) for above in path.resolve().parents)


def _keeps_entries(found: os.stat_result) -> bool:
    """Return whether strangers cannot replace what is in a directory: in a sticky one only owners can."""
    return not found.st_mode & stat.S_IWOTH or bool(found.st_mode & stat.S_ISVTX)


@functools.cache
def _source_digest() -> str:
    """Digest every kernel's source: a compiled function holds what it calls, from whichever file."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class _Locator:
    """Tell numba where the cached code of one function lies and when it is stale."""

    def __init__(self, line: int, directory: str) -> None:
        self._line = line
        self._directory = directory
        self._py_file = __file__  # numba names it in a warning

    @classmethod
    def from_function(cls, function: Callable[..., Any], path: str) -> _Locator | None:
        """Return the locator of one function; numba calls it with the path of the source."""
        directory = cache_directory()
        if directory is None or not Path(path).exists():
            return None
        return cls(function.__code__.co_firstlineno, directory)

    def ensure_cache_path(self) -> None:
        """Do nothing: the directory was made and checked before."""

    def get_cache_path(self) -> str:
        """Return the private directory."""
        return self._directory

    def get_source_stamp(self) -> str:
        """Return what must be unchanged for the cached code to be used."""
        return _source_digest()

    def get_disambiguator(self) -> str:
        """Tell functions of one name in one module apart, and versions of the source.

        Numba writes its index before the code: a process that ends between the two must not leave an index that
        names the code of an older version.
        """
        return f"{self._line}-{_source_digest()[:_TELLING]}"


class NotCompiledError(Exception):
    """The cache has no code for some arguments."""


class _Looking(threading.local):
    only = False


_looking = _Looking()


@contextmanager
def only_looking() -> Iterator[None]:
    """In this thread, raise an error for a kernel that is not in the cache and would be compiled."""
    _looking.only = True
    try:
        yield
    finally:
        _looking.only = False


_Base: Any = FunctionCache  # numba is only typed in part


def _load(self: object, signature: object, context: object) -> object:
    try:
        code = _Base.load_overload(self, signature, context)
    except _UNUSABLE:
        code = None
    if code is None and _looking.only:
        raise NotCompiledError
    if code is None:
        _announce()
    return code


@functools.cache
def _announce() -> None:
    """Print once per process, on a terminal, what takes so long."""
    if is_watched():
        print("tinymlops: compiling its kernels, once for this machine ...", file=sys.stderr, flush=True)


def _save(self: object, signature: object, data: object) -> None:
    try:
        _Base.save_overload(self, signature, data)
    except _UNUSABLE:
        return  # a full or read-only disk costs time, not the answer


def _written(self: Any) -> int:
    try:
        return os.stat(self._cache_file._index_path).st_mtime_ns  # noqa: SLF001 - numba keeps it to itself
    except OSError:
        return 0


# Made with type() because numba has no type information and strict mypy refuses such a base class.
_KernelCacheImpl: Any = type("_KernelCacheImpl", (CompileResultCacheImpl,), {"_locator_classes": [_Locator]})
KernelCache: Any = type(
    "KernelCache",
    (FunctionCache,),
    {"_impl_class": _KernelCacheImpl, "load_overload": _load, "save_overload": _save, "written": _written},
)
"""The cache of one kernel, as numba wants it; `written()` says when it last changed, in nanoseconds, 0 for never."""
