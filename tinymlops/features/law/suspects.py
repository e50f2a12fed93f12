"""The parts of a definition's code whose answer is another the next time: clocks, chance, and what takes rows as they come."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec
from tinymlops.features.law.readings import facts

__all__ = ["Suspects", "suspects_in"]

_CLOCKS = re.compile(r"(^|\.)(now|utcnow|today|time_ns|monotonic|perf_counter|gmtime|localtime)$|^time\.time$|^time$")
_CHANCE = re.compile(
    r"(^|\.)random\.|^(random|randint|choice|uuid1|uuid4|token_hex|urandom|shuffle)$|^secrets\.|\.(uuid1|uuid4|urandom)$"
)
_OF_FRAMES = re.compile(r"\.(sample|shuffle)$")
_HASHED = frozenset({"hash", "id"})
_SEEDED = re.compile(r"\.(default_rng|Random|RandomState|seed|Generator|PCG64)$")


class Suspects(NamedTuple):
    """What is found in the text of a definition, by name and line."""

    clocks: tuple[str, ...] = ()
    chance: tuple[str, ...] = ()
    unordered: tuple[str, ...] = ()


def suspects_in(spec: SourceSpec | OnDemandSpec, code: str) -> Suspects:
    r"""Find what makes a definition answer differently.

    Args:
        spec: A source, a transformation or an on-demand view.
        code: The text of its Python function; empty if it has none.

    Example:
        >>> spec = SourceSpec(name="s", via="function", timestamp="at")
        >>> suspects_in(spec, "def s():\n    return [random.random(), datetime.now()]").chance
        ('random.random() in line 2 of its function',)
    """
    if isinstance(spec, SourceSpec) and spec.sql is not None:
        read = facts(spec)
        return Suspects() if read is None else Suspects(read.clocks, read.chance, read.unordered)
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return Suspects()
    calls = [(_dotted(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return Suspects(
        clocks=tuple(_placed(name, node) for name, node in calls if _CLOCKS.search(name)),
        chance=tuple(_placed(name, node) for name, node in calls if _is_chance(name, node)),
        unordered=(
            *(_placed(name, node) for name, node in calls if name in _HASHED),
            *(f"a set that is walked through in line {line} of its function" for line in _walked_sets(tree)),
        ),
    )


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _placed(name: str, node: ast.Call) -> str:
    return f"{name.lstrip('.')}() in line {node.lineno} of its function"


def _is_chance(name: str, call: ast.Call) -> bool:
    if _SEEDED.search(name):
        return not (call.args or call.keywords)
    if _OF_FRAMES.search(name):
        return not any(keyword.arg in ("seed", "random_state") for keyword in call.keywords)
    return _CHANCE.search(name) is not None


def _walked_sets(tree: ast.AST) -> Iterator[int]:
    """Give the lines where the order of a set's elements is taken."""
    for node in ast.walk(tree):
        walked: list[ast.expr] = []
        if isinstance(node, ast.For | ast.comprehension):
            walked = [node.iter]
        elif isinstance(node, ast.Call) and _dotted(node.func) in ("list", "tuple", "iter", "enumerate"):
            walked = node.args[:1]
        for one in walked:
            made = isinstance(one, ast.Call) and _dotted(one.func) in ("set", "frozenset")
            if made or isinstance(one, ast.Set | ast.SetComp):
                yield one.lineno
