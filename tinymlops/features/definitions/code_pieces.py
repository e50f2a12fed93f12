"""Pieces of a user's code in the text of its file: what each says by itself, and the functions that a value holds."""

from __future__ import annotations

import ast
import inspect
import os.path
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.features.definitions.code_places import is_of_tinymlops
from tinymlops.features.definitions.code_suspects import suspects_of
from tinymlops.features.definitions.code_text import CodeText, canonical, chains_in, imports_in, sha256, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.definitions.code_names import Space

__all__ = [
    "Described",
    "described_once",
    "digest_of_definition",
    "functions_of",
    "names_in",
    "nodes_of",
    "plain_of",
    "same_file",
]

_Def = ast.FunctionDef | ast.AsyncFunctionDef


class Described(NamedTuple):
    """What is to be known of a piece of code."""

    own: str
    """Its text by itself, in one form."""
    decorators: list[ast.expr]
    chains: list[tuple[str, ...]]
    imports: dict[str, Any]
    suspects: list[str]


def digest_of_definition(node: ast.AST) -> str:
    """Return the digest of the text of a function or a class by itself, without its decorators."""
    return sha256(_own(node))


def _own(node: ast.AST) -> str:
    if isinstance(node, _Def):
        fields = {name: value for name, value in ast.iter_fields(node) if name != "decorator_list"}
        return canonical(type(node)(**fields, decorator_list=[]))
    return canonical(node)


def described_once(text: CodeText, node: ast.AST) -> Described:
    """Describe a node once for all that reach it."""
    kept: dict[ast.AST, Described] = text.__dict__.setdefault("described", {})
    if node not in kept:
        decorators = node.decorator_list if isinstance(node, _Def) else []
        kept[node] = Described(_own(node), decorators, chains_in([node]), imports_in(node), list(suspects_of(node)))
    return kept[node]


def nodes_of(function: FunctionType, space: Space) -> tuple[CodeText | None, list[ast.AST]]:
    """Return the text of a function's file and its nodes there; the file is read again if it was loaded anew."""
    file = function.__code__.co_filename
    module = space.module if same_file(file, space.file) else None
    text = space.text if module is not None else text_of(file)
    nodes = [] if text is None else text.nodes_of(function.__code__)
    if not nodes and text is not None:
        text = text_of(file, module, anew=True)
        nodes = [] if text is None else text.nodes_of(function.__code__)
    return text, nodes


def same_file(one: str, other: str) -> bool:
    """Return whether two paths lead to one file."""
    return one == other or (bool(other) and os.path.realpath(one) == os.path.realpath(other))


def functions_of(value: Any) -> Iterator[FunctionType]:
    """Yield the functions that a name stands for: itself without its wrappers, or the methods of a class."""
    found = [value] if not isinstance(value, type) else list(vars(value).values())
    for one in found:
        plain = plain_of(getattr(one, "function", one) if is_of_tinymlops(one) else one)
        if isinstance(plain, FunctionType) and plain.__code__.co_filename[:1] != "<":
            yield plain


def plain_of(value: Any) -> Any:
    """Return the function in a method, a property or a wrapper."""
    value = getattr(value, "fget", value) if isinstance(value, property) else getattr(value, "__func__", value)
    try:
        return inspect.unwrap(value) if callable(value) else value
    except ValueError:  # wrapped in a circle
        return value


def names_in(code: Any) -> set[str]:
    """Return the names that compiled code, and the code inside it, may look up."""
    found = set(code.co_names)
    for one in code.co_consts:
        if isinstance(one, type(code)):
            found |= names_in(one)
    return found
