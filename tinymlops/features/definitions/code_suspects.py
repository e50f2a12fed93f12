"""The parts of a piece of code whose meaning its text does not show: made-up names, other code, files, the environment."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

__all__ = ["suspects_of"]

_MADE = frozenset(("eval", "exec", "compile", "__import__", "import_module", "globals", "locals", "vars"))
_BY_NAME = {"getattr": 1, "setattr": 1, "attrgetter": 0, "methodcaller": 0}
"""Functions that take a name, and in which place."""
_READS = re.compile(r"^((read|scan)_\w+|open|urlopen|load|loads?_from_\w+)$")
_ENVIRONMENT = frozenset(("environ", "getenv"))


def suspects_of(node: ast.AST) -> Iterator[str]:
    """Yield what the text of a piece of code does not show.

    Example:
        >>> list(suspects_of(ast.parse("pl.read_csv(getattr(places, name))")))
        ['what pl.read_csv reads', 'a name that getattr is given as it runs']
    """
    for one in ast.walk(node):
        if isinstance(one, ast.Call):
            name = _dotted(one.func)
            last = name.rpartition(".")[2]
            if last in _MADE and name in (last, f"builtins.{last}", f"importlib.{last}"):
                yield f"code or names that {last} makes as it runs"
            elif last in _BY_NAME and not all(
                isinstance(part, ast.Constant) for part in one.args[_BY_NAME[last] :][:1]
            ):
                yield f"a name that {last} is given as it runs"
            elif _READS.match(last):
                yield f"what {name} reads"
        elif isinstance(one, ast.Attribute | ast.Name) and _dotted(one).rpartition(".")[2] in _ENVIRONMENT:
            yield "the environment of the process"


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else node.attr
    return node.id if isinstance(node, ast.Name) else ""
