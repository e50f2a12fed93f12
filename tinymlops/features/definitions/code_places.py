"""Where code comes from: the project, the standard library, an installed package, or tinymlops itself."""

from __future__ import annotations

import importlib.metadata
import os.path
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from types import ModuleType

__all__ = ["is_of_tinymlops", "is_own", "package_of"]

_INSTALLED = ("site-packages", "dist-packages")
_TINYMLOPS = str(Path(__file__).resolve().parents[2]) + os.path.sep


@lru_cache(maxsize=4096)
def is_own(file: str, package: str) -> bool:
    """Return whether a file is the project's: of no installed package but that of the definition, nor of Python.

    Args:
        file: As a module has it in `__file__`, or a function in `co_filename`.
        package: The directory of the definition's own package if that is installed; else empty.
    """
    if not file or file.startswith("<frozen"):
        return False
    path = os.path.realpath(file) + (os.path.sep if file.endswith(os.path.sep) else "")
    if path.startswith(_TINYMLOPS):
        return False
    if any(f"{os.path.sep}{name}{os.path.sep}" in path for name in _INSTALLED):
        return bool(package) and path.startswith(package)
    return not path.startswith(_of_python())


@lru_cache(maxsize=1)
def _of_python() -> tuple[str, ...]:
    return tuple(os.path.realpath(sysconfig.get_path(name)) + os.path.sep for name in ("stdlib", "platstdlib"))


def is_of_tinymlops(value: object) -> bool:
    """Return whether a value is tinymlops itself, or one of its nouns."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(type(value), "__module__", None)
    # A class may have a property of this name.
    return isinstance(name, str) and (name == "tinymlops" or name.startswith("tinymlops."))


@lru_cache(maxsize=256)
def package_of(module: str) -> tuple[str, str] | None:
    """Return the installed package of a module and its version; None for one of Python or of tinymlops."""
    top = module.partition(".")[0]
    if not top or top in sys.stdlib_module_names or top in ("tinymlops", "__main__", "builtins"):
        return None
    try:
        return top, importlib.metadata.version(top)
    except importlib.metadata.PackageNotFoundError:
        return top, str(getattr(sys.modules.get(top), "__version__", ""))
