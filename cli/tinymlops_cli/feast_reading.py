"""A Feast repository read as text: its Python files are parsed and never run, so Feast need not be installed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tinymlops.errors import DataError, NotFoundError

__all__ = ["Found", "Repository", "UnreadableError", "constant", "read_repository"]

_PROJECT = re.compile(r"^project:\s*[\"']?([\w-]+)", re.MULTILINE)
_KINDS = frozenset(
    (
        *("Entity", "FileSource", "PushSource", "RequestSource", "FeatureView", "FeatureService"),
        *("BatchFeatureView", "StreamFeatureView", "LabelView", "OnDemandFeatureView", "KafkaSource", "KinesisSource"),
        *("BigQuerySource", "SnowflakeSource", "RedshiftSource", "SparkSource", "PostgreSQLSource", "AthenaSource"),
    )
)
_DECORATOR = "on_demand_feature_view"


class UnreadableError(Exception):
    """What a definition says cannot be told without running it."""


@dataclass(frozen=True)
class Found:
    """One definition of the repository."""

    kind: str
    """The class's name, or `on_demand_feature_view` for a decorated function."""
    variable: str
    call: ast.Call
    place: str
    """File and line."""
    function: ast.FunctionDef | None = None

    def argument(self, name: str, position: int | None = None) -> ast.expr | None:
        """Return what an argument is; None if it is not given."""
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
    found: dict[str, Found] = field(default_factory=dict)
    """Variable to definition, in the order of files and lines."""
    constants: dict[str, ast.expr] = field(default_factory=dict)
    """Other variables of a module."""
    elsewhere: list[tuple[str, str]] = field(default_factory=list)
    """Kind and place of definitions within functions, loops and conditions."""


def read_repository(root: Path) -> Repository:
    """Parse the Python files of a repository.

    Args:
        root: The directory that holds `feature_store.yaml`, or one above it.

    Raises:
        NotFoundError: If there is none.
        DataError: If a file is not Python.
    """
    settings = sorted(root.rglob("feature_store.yaml"))
    if not settings:
        raise NotFoundError(
            f"there is no feature_store.yaml in {root}", hint="name the directory of a Feast repository"
        )
    home = settings[0].parent
    named = _PROJECT.search(settings[0].read_text())
    repository = Repository(home, named[1] if named else home.name)
    for path in sorted(home.rglob("*.py")):
        try:
            tree = ast.parse(path.read_text())
        except (SyntaxError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is not Python: {error}", hint="correct the file, or move it away") from error
        _read_module(repository, tree, path.relative_to(home).as_posix())
    return repository


def constant(repository: Repository, node: ast.expr | None) -> Any:
    """Return the value of an expression of constants, lists, dicts, `timedelta` and variables of such.

    Raises:
        UnreadableError: If it is anything else.
    """
    if isinstance(node, ast.Name) and node.id in repository.constants:
        return constant(repository, repository.constants[node.id])
    if isinstance(node, ast.Call) and _name_of(node.func) == "timedelta":
        return timedelta(
            *(constant(repository, one) for one in node.args),
            **{str(one.arg): constant(repository, one.value) for one in node.keywords},
        )
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise UnreadableError(f"{ast.unparse(node)} is known only when it runs") from error


def _read_module(repository: Repository, tree: ast.Module, file: str) -> None:
    seen: set[int] = set()
    for statement in tree.body:
        for variable, value, function in _bindings(statement):
            kind = _name_of(value.func) if isinstance(value, ast.Call) else ""
            if isinstance(value, ast.Call) and (kind in _KINDS or kind == _DECORATOR):
                seen.update(id(node) for node in ast.walk(value))
                place = f"{file}:{statement.lineno}"
                repository.found[variable] = Found(kind, variable, value, place, function)
            else:
                repository.constants.setdefault(variable, value)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name_of(node.func) in _KINDS and id(node) not in seen:
            repository.elsewhere.append((_name_of(node.func), f"{file}:{node.lineno}"))


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.expr, ast.FunctionDef | None]]:
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        yield statement.targets[0].id, statement.value, None
    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        yield statement.target.id, statement.value, None
    elif isinstance(statement, ast.FunctionDef):
        for decorator in statement.decorator_list:
            if isinstance(decorator, ast.Call):
                yield statement.name, decorator, statement


def _name_of(node: ast.expr) -> str:
    """Return the last name of `Entity` and `feast.Entity`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
