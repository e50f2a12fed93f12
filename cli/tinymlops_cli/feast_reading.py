"""A Feast repository read as text: its Python files are parsed and never run, so Feast need not be installed."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tinymlops.errors import DataError, NotFoundError
from tinymlops_cli.feast_names import END, Module, Place, begin_of, chain_of

__all__ = ["Found", "Repository", "UnreadableError", "constant", "read_repository", "timestamp_in"]

_PROJECT = re.compile(r"^project:\s*[\"']?([\w-]+)", re.MULTILINE)
_SETTINGS = "feature_store.yaml"
_KINDS = frozenset(("Entity", "FeatureService", "FeatureTable"))
_ENDS = ("Source", "FeatureView", "LabelView")
_DECORATOR = re.compile(r"\w*feature_view")
_SKIPPED = frozenset(("__pycache__", "site-packages", "node_modules"))


class UnreadableError(Exception):
    """What a definition says cannot be told without running it."""


@dataclass(frozen=True, eq=False)
class Found:
    """One definition of the repository."""

    kind: str
    """The class's name, or that of the decorator."""
    variable: str
    call: ast.Call
    module: Module
    at: Place
    """Where it stands: names in it mean what they mean there."""
    function: ast.FunctionDef | None = None

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.module.file}:{self.at[0]}"

    def argument(self, *names: str, position: int | None = None) -> ast.expr | None:
        """Return what an argument is, under the first of its names; None if it is not given."""
        for name in names:
            for keyword in self.call.keywords:
                if keyword.arg == name:
                    return keyword.value
        given = self.call.args
        return given[position] if position is not None and position < len(given) else None


@dataclass
class Repository:
    """What stands in a repository."""

    root: Path
    project: str
    found: list[Found] = field(default_factory=list)
    """In the order of files and lines."""
    elsewhere: list[tuple[str, str]] = field(default_factory=list)
    """Kind and place of definitions within functions, loops and conditions."""
    nodes: dict[ast.AST, Found] = field(default_factory=dict)
    """The call, or the decorated function, to its definition."""

    def definition(self, user: Found, node: ast.AST | None) -> Found | None:
        """Return the definition that an expression within another one stands for, by its name or there and then."""
        module, at = user.module, user.at
        while isinstance(node, ast.Name | ast.Attribute):
            bound = module.find(node, at)
            if bound is None:
                return None
            module, node, at = bound
        if isinstance(node, ast.Call) and node not in self.nodes:
            kind = _kind_of(module, node, at)
            if kind and module is user.module:
                self.nodes[node] = Found(kind, f"{user.variable}_rows", node, module, at)
        return None if node is None else self.nodes.get(node)

    def elements(self, user: Found, node: ast.expr | None) -> list[ast.expr] | None:
        """Return the elements of a list, or the values of a dict, within a definition or by its name; None for all else."""
        if isinstance(node, ast.Name | ast.Attribute):
            bound = user.module.find(node, user.at)
            if bound is None or bound.module is not user.module:
                return None
            node = bound.value if isinstance(bound.value, ast.expr) else None
        if isinstance(node, ast.List | ast.Tuple):
            return node.elts
        return node.values if isinstance(node, ast.Dict) and None not in node.keys else None


def read_repository(root: Path) -> Repository:
    """Parse the Python files of a repository, except hidden ones, those of environments, and what `.feastignore` lists.

    Args:
        root: The directory that holds `feature_store.yaml`, or one above it.

    Raises:
        NotFoundError: If there is none.
        DataError: If there are several, or a file is not Python.
    """
    settings = _settings_of(root)
    home = settings.parent
    named = _PROJECT.search(settings.read_text(encoding="utf-8", errors="replace"))
    repository = Repository(home, named[1] if named else home.name)
    ignored, modules = _ignored(home), dict[str, Module]()
    for path in sorted(path for path in _files(home) if path.suffix == ".py"):
        if ignored.isdisjoint((path, *path.parents)):
            file = path.relative_to(home)
            dotted = ".".join(part for part in file.with_suffix("").parts if part != "__init__")
            modules[dotted] = Module(dotted, file.as_posix(), _parsed(path), modules)
    for module in modules.values():
        _read_module(repository, module)
    return repository


def constant(user: Found, node: ast.expr | None) -> Any:
    """Return the value of an expression of constants, lists, dicts, `timedelta` and variables of such.

    Raises:
        UnreadableError: If it is anything else.
    """
    if node is None:
        return None
    try:
        return _value(user.module, node, user.at)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnreadableError(f"{ast.unparse(node)} is known only when it runs") from error


def timestamp_in(place: Path, created: str | None) -> str:
    """Return the one column of a Parquet file that has times, which Feast would take.

    Raises:
        UnreadableError: If there are none or several, or the file is not there.
    """
    import polars as pl

    try:
        schema = pl.read_parquet_schema(min(place.rglob("*.parquet")) if place.is_dir() else place)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise UnreadableError(
            "without timestamp_field Feast looks into the data, which is not there: name it"
        ) from error
    found = [name for name, dtype in schema.items() if dtype.is_temporal() and name != created]
    if len(found) != 1:
        raise UnreadableError(
            f"without timestamp_field Feast looks into the data, where {len(found)} columns have times"
        )
    return found[0]


def _value(module: Module, node: ast.AST | None, at: Place) -> Any:
    if isinstance(node, ast.Name | ast.Attribute):
        bound = module.find(node, at)
        if bound is None:
            raise ValueError(node)
        return _value(*bound)
    if isinstance(node, ast.Call) and _called(module, node, at) == "timedelta":
        named = {str(one.arg): _value(module, one.value, at) for one in node.keywords}
        return timedelta(*(_value(module, one, at) for one in node.args), **named)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(module, one, at) for one in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(module, key, at): _value(module, one, at) for key, one in pairs}
    if not isinstance(node, ast.expr):
        raise ValueError(node)  # noqa: TRY004 - it is one of what cannot be told
    return ast.literal_eval(node)


def _settings_of(root: Path) -> Path:
    found = sorted((path for path in _files(root) if path.name == _SETTINGS), key=lambda path: len(path.parts))
    found = [path for path in found if len(path.parts) == len(found[0].parts)]
    if not found:
        raise NotFoundError(f"there is no {_SETTINGS} in {root}", hint="name the directory of a Feast repository")
    if len(found) > 1:
        shown = ", ".join(sorted(str(path.parent.relative_to(root)) for path in found))
        raise DataError(f"{root} holds several Feast repositories: {shown}", hint="name the directory of one")
    return found[0]


def _files(root: Path) -> Iterator[Path]:
    """Yield the files below a directory, without hidden directories and environments; links to directories are not followed."""
    for place, directories, files in os.walk(root):
        directories[:] = [
            name
            for name in sorted(directories)
            if name[0] != "." and name not in _SKIPPED and not (Path(place) / name / "pyvenv.cfg").exists()
        ]
        yield from (Path(place) / name for name in files)


def _ignored(home: Path) -> set[Path]:
    listed = home / ".feastignore"
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else []
    patterns = [line.partition("#")[0].strip().strip("/") for line in lines]
    return {path for pattern in patterns if pattern for path in home.glob(pattern)}


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise DataError(
            f"{path} is not Python: {error}", hint="correct the file, or list it in .feastignore"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", hint="correct it, or move it away") from error


def _read_module(repository: Repository, module: Module) -> None:
    seen: set[ast.AST] = set()
    for statement in module.tree.body:
        for variable, call, kind, function in _definitions(module, statement):
            found = Found(kind, variable, call, module, begin_of(statement), function)
            repository.found.append(found)
            repository.nodes[call if function is None else function] = found
            seen.update(ast.walk(call))
    for node in ast.walk(module.tree):
        kind = _kind_of(module, node, END) if isinstance(node, ast.Call) and node not in seen else ""
        if kind and isinstance(node, ast.Call):
            repository.elsewhere.append((kind, f"{module.file}:{node.lineno}"))


def _definitions(module: Module, statement: ast.stmt) -> Iterator[tuple[str, ast.Call, str, ast.FunctionDef | None]]:
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign | ast.Expr) else None
    if isinstance(value, ast.Call):
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        kind = _kind_of(module, value, begin_of(statement))
        if kind:
            yield targets[0].id if isinstance(targets[0], ast.Name) else kind.lower(), value, kind, None
    elif isinstance(statement, ast.FunctionDef):
        for decorator in statement.decorator_list:
            name = _called(module, decorator, begin_of(statement)) if isinstance(decorator, ast.Call) else ""
            if isinstance(decorator, ast.Call) and _DECORATOR.fullmatch(name):
                yield statement.name, decorator, name, statement


def _kind_of(module: Module, call: ast.Call, at: Place) -> str:
    """Return which class of Feast's is called; empty for any other call."""
    name = _called(module, call, at)
    return name if name[:1].isupper() and (name in _KINDS or name.endswith(_ENDS)) else ""


def _called(module: Module, call: ast.Call, at: Place) -> str:
    """Return the name that what is called has where it comes from; empty if it is of the repository."""
    chain = chain_of(call.func)
    try:
        return (module.name_behind(chain[0], at) or "") if len(chain) == 1 else "".join(chain[-1:])
    except RecursionError:  # two files that import a name from each other
        return ""
