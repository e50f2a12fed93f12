"""The text of users' code: read without running it, compared without its layout, and taken apart by the names it binds."""

from __future__ import annotations

import ast
import hashlib
import linecache
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import CodeType, ModuleType
from typing import Any, NamedTuple

__all__ = [
    "CodeText",
    "Import",
    "canonical",
    "chains_in",
    "changed_in",
    "digest_of_code",
    "imports_in",
    "sha256",
    "text_of",
]

_UNSAID = frozenset(("ctx", "kind", "type_comment", "type_ignores"))
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_CHANGING = frozenset(
    (
        *("add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "reverse"),
        *("setdefault", "sort", "update"),
    )
)


class Import(NamedTuple):
    """What a name stands for that an import statement binds."""

    module: str
    """With leading dots where it is relative."""
    name: str | None
    """In the module; None for the module itself."""


class CodeText:
    """The text of a module or a cell, parsed.

    Args:
        lines: Its lines.
        file: Its name, for the compiler.

    Raises:
        SyntaxError: If it is not Python.
    """

    def __init__(self, lines: list[str], file: str) -> None:
        self.lines, self._file = lines, file
        self.tree = ast.parse("".join(lines))

    @cached_property
    def bound(self) -> dict[str, list[ast.stmt]]:
        """Name to the statements at the top level that bind it or change its value, imports left out."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self._top:
            for name in dict.fromkeys(_bound_by(statement)):
                found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def imports(self) -> dict[str, Import]:
        """Name to what the imports at the top level bind it to."""
        return {name: one for statement in self._top for name, one in imports_in(statement, top=True).items()}

    @cached_property
    def stars(self) -> list[str]:
        """The modules that all names are imported from."""
        nodes = [node for statement in self._top for node in _statements(statement, top=True)]
        found = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        return ["." * one.level + (one.module or "") for one in found if one.names[0].name == "*"]

    @cached_property
    def changed(self) -> frozenset[str]:
        """The names at the top level whose values functions of this text change."""
        functions = [node for node in ast.walk(self.tree) if isinstance(node, _Function | ast.Lambda)]
        return frozenset(name for function in functions for name in changed_in(function))

    @cached_property
    def _top(self) -> list[ast.stmt]:
        return [one for one in self.tree.body if not _is_main(one)]

    @cached_property
    def _nodes(self) -> dict[tuple[str, int], list[ast.AST]]:
        """Functions by name and first line; several lambdas may share a line."""
        found: dict[tuple[str, int], list[ast.AST]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, _Function):
                first = min(one.lineno for one in (node, *node.decorator_list))
                found.setdefault((node.name, first), []).append(node)
            elif isinstance(node, ast.Lambda):
                found.setdefault(("<lambda>", node.lineno), []).append(node)
        return found

    @cached_property
    def _codes(self) -> dict[str, list[CodeType]]:
        found: dict[str, list[CodeType]] = {}
        for code in _codes_in(compile(self.tree, self._file, "exec", dont_inherit=True)):
            found.setdefault(code.co_qualname, []).append(code)
        return found

    def nodes_of(self, code: CodeType) -> list[ast.AST]:
        """Return the nodes that a loaded function was compiled from; none if this is not the text that was loaded."""
        kept: dict[CodeType, list[ast.AST]] = self.__dict__.setdefault("found", {})
        if code not in kept:
            kept[code] = self._find(code)
        return kept[code]

    def _find(self, code: CodeType) -> list[ast.AST]:
        alike = [one for one in self._codes.get(code.co_qualname, ()) if _shape(one) == _shape(code)]
        alike.sort(key=lambda one: one.co_firstlineno != code.co_firstlineno)
        return self._nodes.get((code.co_name, alike[0].co_firstlineno), []) if alike else []

    def class_at(self, qualified: str) -> list[ast.AST]:
        """Return the classes with a qualified name."""
        found: list[ast.AST] = [self.tree]
        for part in qualified.replace("<locals>.", "").split("."):
            inner = [child for outer in found for child in ast.walk(outer) if child is not outer]
            found = [one for one in inner if isinstance(one, ast.ClassDef | _Function) and one.name == part]
        return [one for one in found if isinstance(one, ast.ClassDef)]


_texts: dict[str, tuple[object, CodeText | None]] = {}
"""File to the module's spec, which is another when it is loaded again, and the text."""


def text_of(file: str, module: ModuleType | None = None, *, anew: bool = False) -> CodeText | None:
    """Return the text of a file or a cell; None if there is none.

    Args:
        file: As functions have it in `co_filename`.
        module: The module that was loaded from it, if it is one.
        anew: Look at the file again.
    """
    spec = getattr(module, "__spec__", None)
    known = _texts.get(file)
    if known is not None and not anew and (spec is None or known[0] is None or known[0] is spec):
        return known[1]
    if anew or known is not None:
        linecache.checkcache(file)
    lines = linecache.getlines(file, None if module is None else vars(module))
    if known is not None and known[1] is not None and known[1].lines == lines:
        _texts[file] = spec, known[1]
        return known[1]
    try:
        text = CodeText(lines, file) if lines else None
    except (SyntaxError, ValueError):
        text = None
    _texts[file] = spec, text
    return text


def sha256(text: str) -> str:
    """Return the SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def canonical(node: object) -> str:
    """Write a part of a program without comments, layout, docstrings and places, alike for all versions of Python.

    Example:
        >>> canonical(ast.parse("x = {2, 1}  # two")) == canonical(ast.parse("x={1,2}"))
        True
    """
    if isinstance(node, ast.Constant):
        return f"{type(node.value).__name__} {node.value!a}"
    if isinstance(node, ast.JoinedStr):
        return f"JoinedStr({','.join(_of_text(node))})"
    if isinstance(node, ast.Set):
        return f"Set({','.join(sorted(map(canonical, node.elts)))})"
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if name not in _UNSAID]
        said = [f"{name}={canonical(value)}" for name, value in fields if value is not None and value != []]
        return f"{type(node).__name__}({','.join(said)})"
    if isinstance(node, list):
        return f"[{','.join('-' if one is None else canonical(one) for one in node if not _says_nothing(one))}]"
    return ascii(node)


def _of_text(node: ast.JoinedStr) -> Iterator[str]:
    """Write the parts of a formatted text; versions of Python cut what is constant differently."""
    constant = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            constant += str(part.value)
            continue
        if constant:
            yield ascii(constant)
        constant = ""
        yield canonical(part)
    if constant:
        yield ascii(constant)


def _says_nothing(node: object) -> bool:
    """Return whether a statement is a docstring, another bare constant, or `pass`."""
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def digest_of_code(code: CodeType) -> str:
    """Return the digest of a function without a text by what it does; versions of Python compile it differently."""
    return sha256(repr(_shape(code)))


def _shape(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_constant(one) for one in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_flags, constants


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _shape(value)
    if isinstance(value, frozenset):
        return "frozenset", tuple(sorted(repr(_constant(one)) for one in value))
    if isinstance(value, tuple):
        return tuple(map(_constant, value))
    return type(value).__name__, repr(value)


def _codes_in(code: CodeType) -> Iterator[CodeType]:
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield one
            yield from _codes_in(one)


def chains_in(nodes: Iterable[ast.AST]) -> list[tuple[str, ...]]:
    """Return the names that a piece of code takes from outside of it, each with the attributes that follow it.

    Example:
        >>> chains_in(ast.parse("def f(x): return helpers.clean(x) + LIMIT").body)
        [('LIMIT',), ('helpers', 'clean')]
    """
    found: set[tuple[str, ...]] = set()
    for node in nodes:
        outside = _outside(node)
        if outside is not None:  # a name that the code itself imports is one of another module
            outside |= imports_in(node).keys()
        found |= {chain for chain in _chains(node) if outside is None or chain[0] in outside}
    return sorted(found)


def _chains(node: ast.AST) -> Iterator[tuple[str, ...]]:
    chain = _chain(node)
    if chain:
        yield chain
    else:
        for child in ast.iter_child_nodes(node):
            yield from _chains(child)


def _chain(node: ast.AST) -> tuple[str, ...]:
    if isinstance(node, ast.Name):
        return (node.id,)
    if isinstance(node, ast.Attribute):
        before = _chain(node.value)
        return (*before, node.attr) if before else ()
    return ()


def _outside(node: ast.AST) -> set[str] | None:
    """Return the names that are not local, and those of attributes; None if it does not compile by itself."""
    body = [ast.Expr(node)] if isinstance(node, ast.expr) else [node]
    try:
        code = compile(ast.Module(body, []), "<part>", "exec", dont_inherit=True)  # type: ignore[arg-type]
    except (SyntaxError, ValueError, TypeError):
        return None
    return {name for one in (code, *_codes_in(code)) for name in one.co_names}


def imports_in(node: ast.AST, *, top: bool = False) -> dict[str, Import]:
    """Return the names that the import statements of a piece of code bind.

    Args:
        node: The code.
        top: Leave out those in functions and classes.
    """
    found: dict[str, Import] = {}
    for one in _statements(node, top=top):
        if isinstance(one, ast.Import):
            for alias in one.names:
                first = alias.name.partition(".")[0]
                found[alias.asname or first] = Import(alias.name if alias.asname else first, None)
        elif isinstance(one, ast.ImportFrom):
            module = "." * one.level + (one.module or "")
            found |= {
                alias.asname or alias.name: Import(module, alias.name) for alias in one.names if alias.name != "*"
            }
    return found


def _statements(node: ast.AST, *, top: bool) -> Iterator[ast.AST]:
    """Yield the statements of a piece of code; expressions, which may be long, are not looked into."""
    yield node
    if not isinstance(node, ast.expr) and not (top and isinstance(node, _Function | ast.ClassDef)):
        for child in ast.iter_child_nodes(node):
            yield from () if isinstance(child, ast.expr) else _statements(child, top=top)


def _at_top(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            yield from _at_top(child)


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    for node in _at_top(statement):
        if isinstance(node, _Function | ast.ClassDef):
            yield node.name
            # Such as @shown.register, which adds to what is called shown.
            chains = [_chain(one.func if isinstance(one, ast.Call) else one) for one in node.decorator_list]
            yield from (chain[0] for chain in chains if len(chain) > 1)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        else:
            yield from _changed_by(node)


def changed_in(function: ast.AST) -> Iterator[str]:
    """Yield the names of values from outside that a function changes."""
    outside = _outside(function)
    for node in ast.walk(function):
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield from node.names
        else:
            yield from (name for name in _changed_by(node) if outside is None or name in outside)


def _changed_by(node: ast.AST) -> Iterator[str]:
    """Yield the name whose value is changed in place: its item or attribute is set, or such a method is called."""
    place: ast.AST | None = None
    if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
        place = node.value
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
        place = node.func.value
    elif isinstance(node, ast.Call) and _chain(node.func) in (("setattr",), ("delattr",)) and node.args:
        place = node.args[0]
    while isinstance(place, ast.Subscript | ast.Attribute):
        place = place.value
    if isinstance(place, ast.Name):
        yield place.id


def _is_main(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test).replace('"', "'") == "__name__ == '__main__'"
