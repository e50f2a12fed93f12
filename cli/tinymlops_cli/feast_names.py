"""What a name of a Python file stands for, told from its text: across files, and as of a place in the file."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["END", "Bound", "Module", "Place", "begin_of", "chain_of"]

Place = tuple[int, int]
"""Line and column."""
END: Place = (1 << 60, 0)
_CHANGES = frozenset(
    ("add", "append", "clear", "extend", "insert", "pop", "remove", "reverse", "setdefault", "sort", "update")
)


class _Import(NamedTuple):
    """`import module`, or `from module import name`, with as many dots before it as `level` says."""

    level: int
    module: str
    name: str | None
    renamed: bool = False


class Bound(NamedTuple):
    """What a name stands for."""

    module: Module
    value: ast.AST | None
    """The expression, function or class; None if it is known only when it runs."""
    at: Place
    """Where the expression stands: names in it mean what they mean there."""


class Module:
    """The names of one file.

    Args:
        name: Dotted, from the root of the repository.
        file: Its path from there.
        tree: Its text.
        others: Every file of the repository by its dotted name; may be filled later.
    """

    def __init__(self, name: str, file: str, tree: ast.Module, others: dict[str, Module]) -> None:
        self.name, self.file, self.tree = name, file, tree
        self._others = others
        self._bindings: dict[str, list[tuple[Place, ast.AST | _Import | None, Place]]] = {}
        self._stars: list[_Import] = []
        for statement in tree.body:
            self._read(statement)

    def find(self, node: ast.expr, at: Place = END) -> Bound | None:
        """Return what a name, or a name of an imported file, stands for at a place; None if nothing here binds it."""
        chain = chain_of(node)
        if len(chain) > 1:
            module = self._module_of(chain[:-1], at)
            return None if module is None else module.find(ast.Name(chain[-1]))
        return self._find(chain[0], at) if chain else None

    def name_behind(self, name: str, at: Place) -> str | None:
        """Return the name that an imported one has where it comes from; None for a function or class of the repository."""
        found = self._last(name, at)
        if found is None:
            return name
        value = found[1]
        if isinstance(value, _Import) and value.name is not None:
            module = self._named(value)
            return value.name if module is None else module.name_behind(value.name, END)
        return None if isinstance(value, ast.ClassDef | ast.FunctionDef) else name

    def _find(self, name: str, at: Place) -> Bound | None:
        found = self._last(name, at)
        if found is None:
            modules = filter(None, map(self._named, self._stars))
            return next(filter(None, (module.find(ast.Name(name)) for module in modules)), None)
        _, value, begin = found
        if not isinstance(value, _Import):
            return Bound(self, value, begin)
        module = self._named(value)
        return None if module is None or value.name is None else module.find(ast.Name(value.name))

    def _last(self, name: str, at: Place) -> tuple[Place, ast.AST | _Import | None, Place] | None:
        before = [one for one in self._bindings.get(name, ()) if one[0] <= at]
        return before[-1] if before else None

    def _module_of(self, chain: list[str], at: Place) -> Module | None:
        found = self._last(chain[0], at)
        if found is None or not isinstance(found[1], _Import):
            return None
        first = found[1]
        parts = [first.module, *([first.name] if first.name else [])] if first.renamed or first.name else [chain[0]]
        return self._named(_Import(first.level, ".".join(filter(None, [*parts, *chain[1:]])), None))

    def _named(self, imported: _Import) -> Module | None:
        """Return the file of the repository that an import names; its root may be within another package."""
        wanted = imported.module
        if imported.level:
            own = self.name.split(".") if self.name else []
            up = imported.level - (1 if self.file.endswith("__init__.py") else 0)
            wanted = ".".join(filter(None, [*own[: len(own) - up], imported.module]))
            return self._others.get(wanted)
        if wanted in self._others:
            return self._others[wanted]
        near = [name for name in self._others if name and f".{wanted}".endswith(f".{name}")]
        near = near or [name for name in self._others if name.endswith(f".{wanted}")]
        return self._others[max(near, key=len)] if near else None

    def _read(self, statement: ast.stmt) -> None:
        begin, end = begin_of(statement), (statement.end_lineno or 0, statement.end_col_offset or 0)
        for name, value in _bindings(statement):
            if name == "*" and isinstance(value, _Import):
                self._stars.append(value)
            else:
                self._bindings.setdefault(name, []).append((end, value, begin))


def begin_of(statement: ast.stmt) -> Place:
    """Return where a statement begins, decorators included."""
    first = [*getattr(statement, "decorator_list", []), statement][0]
    return first.lineno, first.col_offset


def chain_of(node: ast.AST) -> list[str]:
    """Return the names of `Entity` and `feast.Entity`; none for another expression."""
    if isinstance(node, ast.Attribute):
        before = chain_of(node.value)
        return [*before, node.attr] if before else []
    return [node.id] if isinstance(node, ast.Name) else []


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.AST | _Import | None]]:
    """Yield the names that a statement binds, or whose values it changes."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets = [statement.target]
    if targets and all(isinstance(one, ast.Name) for one in targets):
        yield from ((one.id, statement.value) for one in targets)  # type: ignore[attr-defined]  # as asked above
    elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name, statement
    else:
        yield from _inner(statement)


def _inner(node: ast.AST) -> Iterator[tuple[str, ast.AST | _Import | None]]:
    """Yield what is bound or changed within a statement, known only when it runs."""
    if isinstance(node, ast.ImportFrom):
        yield from ((a.asname or a.name, _Import(node.level, node.module or "", a.name)) for a in node.names)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            named = alias.asname or alias.name.partition(".")[0]
            yield named, _Import(0, alias.name, None, renamed=alias.asname is not None)
    elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, None
    else:
        base: ast.expr | None = None
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            base = node
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            base = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
            base = node.func.value
        if isinstance(base, ast.Name):
            yield base.id, None
        for child in ast.iter_child_nodes(node):
            yield from _inner(child)
