"""Users' functions: where one is found again, and whether it still is the one that was applied.

SQL and expressions are stored as data. On-demand views and Python transformations need their code, which comes from
the installed project and never from the workspace: by module, or by file for a script that ran as `__main__`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from tinymlops.errors import DefinitionError, TinyMLOpsError, is_fault
from tinymlops.features.definitions.specs import CodeReference

__all__ = [
    "find_function",
    "import_modules",
    "is_importable",
    "is_interactive",
    "reference_of",
    "require_same",
    "told",
]


_SHOWN = 300
"""Characters of another error that are shown."""


def reference_of(function: Callable[..., Any]) -> CodeReference:
    """Say where a function is found again, and what its source text is now."""
    file = getattr(sys.modules.get(function.__module__), "__file__", None)
    return CodeReference(
        module=function.__module__,
        name=function.__qualname__,
        file=None if file is None else str(Path(file).resolve()),
        digest=_digest(function),
    )


def is_interactive(module: str) -> bool:
    """Say whether a module is a notebook or a prompt, where a definition is made anew whenever a cell runs again."""
    return module == "__main__" and getattr(sys.modules.get("__main__"), "__file__", None) is None


def is_importable(code: CodeReference) -> bool:
    """Say whether another process can find the function: not if it lives in a notebook, in a function, or is a lambda."""
    return "<" not in code.name and (code.module != "__main__" or code.file is not None)


def find_function(code: CodeReference, root: Path) -> Callable[..., Any]:
    """Import a definition's function.

    Args:
        code: Where it is.
        root: The project's directory, where its modules are looked for first.

    Raises:
        DefinitionError: If it is not there, or is no longer what was applied.
    """
    where = f"{code.module}.{code.name}" if code.module != "__main__" else f"{code.name} in {code.file or 'a notebook'}"
    if not is_importable(code):
        raise DefinitionError(
            f"the Python code of {where} cannot be imported: it lives only where it was typed",
            hint=f"move {code.name.rpartition('.')[2]} to the top level of a module, such as features.py, and apply again",
        )
    found: Any = _module_of(code, root)
    for part in code.name.split("."):
        found = getattr(found, part, None)
    function: Callable[..., Any] | None = getattr(found, "function", found)
    if function is None or not callable(function):
        raise DefinitionError(f"there is no {where} any more", hint="restore it, or apply the project again")
    require_same(function, code)
    return function


def require_same(function: Callable[..., Any], code: CodeReference) -> None:
    """Refuse a function whose source text is not the one that was applied.

    Raises:
        DefinitionError: If it differs.
    """
    if _digest(function) != code.digest:
        raise DefinitionError(
            f"the code of {code.name!r} has changed since it was applied",
            hint="apply the project again and restart; a model keeps to the code it was trained with",
        )


def import_modules(names: Iterable[str], root: Path) -> list[ModuleType]:
    """Import a project's modules in order, its directory first in the search path.

    Raises:
        DefinitionError: If one is not there or raises.
    """
    modules = []
    _put_first_in_path(root)
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except BaseException as error:  # the user's module may raise anything
            if isinstance(error, TinyMLOpsError) or not is_fault(error):
                raise
            raise DefinitionError(
                f"module {name!r} of the project cannot be imported: {told(error, root)}",
                hint=f"it is looked for in {root} and in the environment; tinymlops.toml lists it in modules",
            ) from error
    return modules


def told(error: BaseException, root: Path) -> str:
    """Say what a user's code raised, and at which line of the project's own."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent.is_relative_to(root)]
    place = f" ({Path(own[-1].filename).relative_to(root)}, line {own[-1].lineno})" if own else ""
    said = str(error).strip().partition("\n")[0][:_SHOWN]
    return f"{type(error).__name__}{f': {said}' if said else ''}{place}"


def _module_of(code: CodeReference, root: Path) -> ModuleType:
    if code.module != "__main__":
        return import_modules([code.module], root)[0]
    main = sys.modules.get("__main__")
    file = Path(str(code.file))
    if main is not None and getattr(main, "__file__", None) and Path(str(main.__file__)).resolve() == file:
        return main
    # One name per file, so that a script is run once per process.
    name = f"_tinymlops_script_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise DefinitionError(f"the script {file} is not there any more", hint="restore it, or apply the project again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _put_first_in_path(file.parent)
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, TinyMLOpsError) or not is_fault(error):
            raise
        raise DefinitionError(
            f"the script {file} cannot be run to find its functions: {error}",
            hint='correct it, and put what is no definition under if __name__ == "__main__":',
        ) from error
    return module


def _put_first_in_path(directory: Path) -> None:
    """Look for modules in a directory first, as Python does for a script's own."""
    text = str(directory)
    if text not in sys.path:
        sys.path.insert(0, text)


@lru_cache(maxsize=1024)  # and so the text is read once, when a decorator sees the function: the file may change later
def _digest(function: Callable[..., Any]) -> str:
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        text = _compiled(function.__code__)
    return hashlib.sha256(text.encode()).hexdigest()


def _compiled(code: CodeType) -> str:
    """Write what a function without a source text does."""
    constants = [_compiled(value) if isinstance(value, CodeType) else value for value in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))
