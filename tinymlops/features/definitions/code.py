"""Users' functions: where to find one again, and whether it and what it reaches are still what was applied.

SQL and expressions are stored as data. On-demand views and Python transformations need their code, which comes from
the installed project and never from the workspace: by module, or by file for a script that ran as `__main__`. A catalog
may come from a stranger's backup, so a file is read first, and run only if the function in it is the one that was
applied.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import io
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, TypeVar

import msgspec

from tinymlops.errors import DefinitionError, TinyMLOpsError, is_fault
from tinymlops.features.definitions.code_cover import cover
from tinymlops.features.definitions.code_pieces import digest_of_definition
from tinymlops.features.definitions.specs import AnySpec, CodeCover, CodeReference, OnDemandSpec, SourceSpec
from tinymlops.secrets import without_secrets
from tinymlops.stores.directory import workspace_around

__all__ = [
    "find_function",
    "import_modules",
    "is_importable",
    "is_interactive",
    "is_same",
    "reference_of",
    "require_same",
    "settled",
    "told",
    "with_cover",
]


S = TypeVar("S", bound=AnySpec)
_SHOWN = 300
"""The most characters of another error that are shown."""


def reference_of(function: Callable[..., Any]) -> CodeReference:
    """Return where a function can be found again, with the digest of its source text.

    What it reaches is left for `with_cover`: a decorator sees it before the rest of its module is there. A function that
    names no module, as `exec` makes them, lives where it was typed.
    """
    module = function.__module__ or "__main__"
    loaded = sys.modules.get(module) if function.__module__ else None
    file = getattr(loaded, "__file__", None)
    return CodeReference(
        module=module,
        name=function.__qualname__,
        file=None if file is None else str(Path(file).resolve()),
        digest=_digest(function),
        logic=_logic(function),
    )


def with_cover(spec: S, function: Callable[..., Any]) -> S:
    """Return a definition of a project with what the digest of its code covers, as the project is now."""
    if not isinstance(spec, SourceSpec | OnDemandSpec) or spec.code is None:
        return spec
    try:
        found = cover(function, anew=True)
    except TypeError:  # not a function of Python: its text is all that there is
        return spec
    covers = CodeCover(**found._asdict())
    return msgspec.structs.replace(spec, code=msgspec.structs.replace(spec.code, covers=covers))


def settled(spec: S, known: Iterable[AnySpec]) -> S:
    """Return a definition of a project with the digest that its code is known by.

    Code that is the same as that of a version keeps the digest of the version, so that fingerprints, builds and models
    stay valid. Of a version from before digests covered more than a function, the function's text is compared.

    Args:
        spec: As `with_cover` returns it: its digest is that of the text.
        known: Versions of it.
    """
    if not isinstance(spec, SourceSpec | OnDemandSpec) or spec.code is None or spec.code.covers is msgspec.UNSET:
        return spec
    digest = spec.code.covers.whole
    for before in known:
        code = getattr(before, "code", None)
        if code is not None and _agree(code, spec.code):
            digest = code.digest
            break
    return msgspec.structs.replace(spec, code=msgspec.structs.replace(spec.code, digest=digest))


def _agree(before: CodeReference, now: CodeReference) -> bool:
    if before.covers is msgspec.UNSET or now.covers is msgspec.UNSET:
        return before.digest == now.digest
    return before.covers.whole == now.covers.whole


def is_interactive(module: str) -> bool:
    """Return whether a module is a notebook or a prompt, where every run of a cell defines its nouns again."""
    return module == "__main__" and getattr(sys.modules.get("__main__"), "__file__", None) is None


def is_importable(code: CodeReference) -> bool:
    """Return whether another process can find the function: not if it is in a notebook or a function, or is a lambda."""
    return "<" not in code.name and (code.module != "__main__" or code.file is not None)


def find_function(code: CodeReference, root: Path) -> Callable[..., Any]:
    """Import a definition's function.

    Args:
        code: Where it is.
        root: The project's directory, where its modules are looked for first.

    Raises:
        DefinitionError: If it is not there, or is no longer what was applied.
    """
    where = _where(code)
    if not is_importable(code):
        raise DefinitionError(
            f"the Python code of {where} cannot be imported: it lives only where it was typed",
            hint=f"move {code.name.rpartition('.')[2]} to the top level of a module, such as features.py, and apply again",
        )
    function: Callable[..., Any] | None = _function_in(_module_of(code, root), code)
    if function is None or not callable(function):
        raise _gone(code)
    require_same(function, code)
    return function


def is_same(function: Callable[..., Any], code: CodeReference) -> bool:
    """Say whether a function and what it reaches are what was applied."""
    if code.covers is msgspec.UNSET:
        return _digest(function) == code.digest
    return cover(function).whole == code.covers.whole


def require_same(function: Callable[..., Any], code: CodeReference) -> None:
    """Refuse a function that is not what was applied, or reaches something else.

    Raises:
        DefinitionError: If it differs; it names what differs.
    """
    if not is_same(function, code):
        raise _changed(code, function)


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
    """Describe what the user's code raised, with the line of the project."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).parent.is_relative_to(root)]
    place = f" ({Path(own[-1].filename).relative_to(root)}, line {own[-1].lineno})" if own else ""
    said = without_secrets(str(error).strip().partition("\n")[0])[:_SHOWN]
    return f"{type(error).__name__}{f': {said}' if said else ''}{place}"


def _module_of(code: CodeReference, root: Path) -> ModuleType:
    if code.module == "__main__":
        return _script_of(code)
    if code.module not in sys.modules:
        _put_first_in_path(root)
        try:
            _require_same_in(_source_of_module(code), code)
        except DefinitionError:
            if not _has_file(code):
                raise
            return _script_of(code)
    elif _has_file(code) and not _holds(sys.modules[code.module], code):
        return _script_of(code)
    return import_modules([code.module], root)[0]


def _has_file(code: CodeReference) -> bool:
    """Return whether the function can be read from its file where another project has a module of that name."""
    return "." not in code.module and code.file is not None and Path(code.file).is_file()


def _holds(module: ModuleType, code: CodeReference) -> bool:
    """Return whether a loaded module is the one of the code's file, or has the same function."""
    file = getattr(module, "__file__", None)
    if file is None or Path(file).resolve() == Path(str(code.file)):
        return True
    function = _function_in(module, code)
    return callable(function) and is_same(function, code)


def _function_in(module: ModuleType, code: CodeReference) -> Any:
    found: Any = module
    for part in code.name.split("."):
        found = getattr(found, part, None)
    return getattr(found, "function", found)


def _script_of(code: CodeReference) -> ModuleType:
    """Run a file under a name of its own, once per process."""
    main = sys.modules.get("__main__")
    file = Path(str(code.file))
    _require_elsewhere(file, code)
    if main is not None and getattr(main, "__file__", None) and Path(str(main.__file__)).resolve() == file:
        return main
    name = f"_tinymlops_script_{hashlib.sha256(str(file).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise DefinitionError(f"the script {file} is not there any more", hint="restore it, or apply the project again")
    _require_same_in(_source(spec), code)
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
            hint='correct it, and put what is not a definition under if __name__ == "__main__":',
        ) from error
    return module


def _source_of_module(code: CodeReference) -> str | None:
    """Find a module and read its source without running it or its packages; None where there is no source."""
    path: Sequence[str] | None = None
    spec: ModuleSpec | None = None
    name = ""
    for part in code.module.split("."):
        name = f"{name}.{part}" if name else part
        spec = _spec_of(name, path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
        for place in (*(path or ()), *((spec.origin,) if spec.has_location and spec.origin else ())):
            _require_elsewhere(Path(place), code)
    return None if spec is None else _source(spec)


def _spec_of(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Find a module as `importlib.util.find_spec` does, but without importing its package."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def _source(spec: ModuleSpec) -> str | None:
    try:
        text: str | None = spec.loader.get_source(spec.name)  # type: ignore[union-attr]  # where it has it
    except (AttributeError, ImportError, OSError, SyntaxError):  # the import gives a better error
        return None
    return text


def _require_elsewhere(file: Path, code: CodeReference) -> None:
    """Refuse code from inside a workspace or a backup: its author may have put it there.

    Raises:
        DefinitionError: If it is.
    """
    workspace = workspace_around(file)
    if workspace is None and file.is_absolute():
        return
    raise DefinitionError(
        f"the code of {code.name!r} is not run: {file} "
        + ("is not an absolute path" if workspace is None else f"is inside {workspace}, which holds data"),
        hint="move the code to the project's own directory, and apply the project again",
    )


def _require_same_in(text: str | None, code: CodeReference) -> None:
    """Refuse a source text whose function is not the one that was applied, before any of it is run.

    Raises:
        DefinitionError: If it differs, or is not there.
    """
    if text is None:
        return
    try:
        found: list[ast.AST] = [ast.parse(text)]
    except (SyntaxError, ValueError):  # the import gives a better error
        return
    for part in code.name.split("."):
        found = [inner for outer in found for inner in _definitions(outer) if inner.name == part]
    lines = io.StringIO(text if text.endswith("\n") else f"{text}\n").readlines()  # as `inspect` has them
    functions = [one for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not functions:
        raise _gone(code)
    if code.covers is msgspec.UNSET:
        firsts = [min(part.lineno for part in (one, *one.decorator_list)) for one in functions]
        known, digests = {code.digest}, [_digest_of("".join(inspect.getblock(lines[first - 1 :]))) for first in firsts]
    else:
        # A wrapper has the name of what it wraps, which comes after it with a mark.
        known = {digest for name, digest in code.covers.parts.items() if name.rstrip("'") == code.name}
        digests = list(map(digest_of_definition, functions))
    if known.isdisjoint(digests):
        raise _changed(code)


def _definitions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield the functions and classes that a module or class defines, also under `if` and `try`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield child
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _definitions(child)


def _where(code: CodeReference) -> str:
    return f"{code.module}.{code.name}" if code.module != "__main__" else f"{code.name} in {code.file or 'a notebook'}"


def _gone(code: CodeReference) -> DefinitionError:
    return DefinitionError(f"there is no {_where(code)} any more", hint="restore it, or apply the project again")


def _changed(code: CodeReference, function: Callable[..., Any] | None = None) -> DefinitionError:
    reached = []
    if function is not None and code.covers is not msgspec.UNSET:
        before, now = code.covers.parts, cover(function).parts
        reached = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    others = [name for name in reached if name.rstrip("'") != code.name]
    return DefinitionError(
        f"the code of {code.name!r} has changed since it was applied" + (f", in {', '.join(others)}" if others else ""),
        hint="apply the project again and restart; a model keeps to the code it was trained with",
    )


def _put_first_in_path(directory: Path) -> None:
    """Search a directory for modules first, as Python does with a script's own."""
    text = str(directory)
    if text not in sys.path:
        sys.path.insert(0, text)


@lru_cache(maxsize=1024)  # so the text is read once, when a decorator sees the function: the file may change later
def _digest(function: Callable[..., Any]) -> str:
    try:
        return _digest_of(inspect.getsource(function))
    except (OSError, TypeError):
        return _digest_of(_compiled(function.__code__))


def _digest_of(text: str) -> str:
    return hashlib.sha256(textwrap.dedent(text).encode()).hexdigest()


@lru_cache(maxsize=1024)
def _logic(function: Callable[..., Any]) -> str:
    """Digest what a function does: its text without name, docstrings, decorators, comments and layout."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return _digest_of(_compiled(function.__code__))
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    for definition in tree.body:
        if isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
            definition.name, definition.decorator_list = "_", []
    return _digest_of(ast.unparse(tree))


def _compiled(code: CodeType) -> str:
    """Describe a function without a source text by what it does."""
    constants = [_compiled(value) if isinstance(value, CodeType) else value for value in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))
