"""Compile a kernel with numba on its first call, and keep the machine code where only its user can write.

Numba's cache is pickle: whoever can write it can run code in every process that reads it. So it lives in a
directory of mode 0700 that the user owns, and where there is no such directory there is no cache. Numba's own
settings are left alone: other users of numba in the process keep theirs.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache

from tinymlops._progress import is_watched

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NO", "YES", "compiled", "frozen"]

P = ParamSpec("P")
R = TypeVar("R")

NO: Any = np.bool_(False)
YES: Any = np.bool_(True)
"""What a kernel passes on for a bool: numba would compile a version of the called one for each literal."""

_UNUSABLE = (OSError, EOFError, pickle.UnpicklingError, AttributeError, ImportError, IndexError, ValueError)
"""What reading a cut-off, foreign or unreadable cache file can raise."""


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of scalars and contiguous arrays to machine code that runs without the GIL.

    Division by zero gives an infinity or NaN as in numpy, and indices are not checked. One version is
    compiled per combination of argument types; `frozen` keeps those few.

    Args:
        function: Plain Python in the subset that numba compiles.

    Returns:
        The compiled function, with the same signature.
    """
    dispatcher: Any = numba.njit(function, nogil=True, error_model="numpy", boundscheck=False)
    if _cache_directory() is not None:
        # Assigned rather than asked for with cache=True, which would look for a place by numba's global
        # settings.
        dispatcher._cache = _KernelCache(function)  # noqa: SLF001
    result: Callable[P, R] = dispatcher
    return result


def frozen(values: object, dtype: type[np.generic] | np.dtype[Any]) -> np.ndarray[Any, Any]:
    """View an array as contiguous, of one dtype and read-only.

    Numba compiles anew for each of read-only, writable and strided; inputs that all look alike need one
    version.

    Args:
        values: Anything numpy takes for an array.
        dtype: The wanted dtype; values are copied only when it differs or they are not contiguous.

    Returns:
        The view.
    """
    view = np.ascontiguousarray(values, dtype=dtype).view()
    view.flags.writeable = False
    return view


@functools.cache
def _cache_directory() -> str | None:
    """Return the private directory, made if need be, or None where there cannot be a safe one."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    root = Path(home) if Path(home).is_absolute() else Path(os.path.expanduser("~/.cache"))
    directory = root / "tinymlops" / f"numba-{numba.__version__}"
    if not directory.is_absolute():  # no home directory is known
        return None
    try:
        root.mkdir(parents=True, exist_ok=True)
        for path in (directory.parent, directory):
            path.mkdir(mode=0o700, exist_ok=True)
            if not _is_private(path):
                return None
    except OSError:
        return None
    return str(directory)


def _is_private(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == os.getuid()


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
        directory = _cache_directory()
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
        return f"{self._line}-{_source_digest()[:16]}"


_Base: Any = FunctionCache  # numba is only typed in part


def _load(self: object, signature: object, context: object) -> object:
    try:
        code = _Base.load_overload(self, signature, context)
    except _UNUSABLE:
        code = None
    if code is None:
        _announce()
    return code


@functools.cache
def _announce() -> None:
    """Say once per process what takes so long, to whoever looks."""
    if is_watched():
        print("tinymlops: compiling its kernels, once for this machine ...", file=sys.stderr, flush=True)


def _save(self: object, signature: object, data: object) -> None:
    try:
        _Base.save_overload(self, signature, data)
    except _UNUSABLE:
        return  # a full or read-only disk costs time, not the answer


# Made with type() because numba has no type information and strict mypy refuses such a base class.
_KernelCacheImpl: Any = type("_KernelCacheImpl", (CompileResultCacheImpl,), {"_locator_classes": [_Locator]})
_KernelCache: Any = type(
    "_KernelCache",
    (FunctionCache,),
    {"_impl_class": _KernelCacheImpl, "load_overload": _load, "save_overload": _save},
)
