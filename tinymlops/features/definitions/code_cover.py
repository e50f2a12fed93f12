"""What a user's function reaches in its project: functions, classes and constants by name, and a digest of it all.

Names are followed in the text of the modules, as they are imported and bound there; values are looked at where there is
no text for them: in closures, defaults of inner functions, partial calls, and notebooks. Modules of Python, of installed
packages and of tinymlops are not followed. What cannot be followed is listed.
"""

from __future__ import annotations

import ast
import inspect
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from tinymlops.features.definitions.code_constants import literal_of
from tinymlops.features.definitions.code_names import Names, Notes, Space, nothing
from tinymlops.features.definitions.code_pieces import (
    Described,
    described_once,
    functions_of,
    names_in,
    nodes_of,
    plain_of,
    same_file,
)
from tinymlops.features.definitions.code_places import is_of_tinymlops, package_of
from tinymlops.features.definitions.code_text import (
    CodeText,
    canonical,
    chains_in,
    changed_in,
    digest_of_code,
    sha256,
    text_of,
)
from tinymlops.features.definitions.code_values import Unseen, written

__all__ = ["Cover", "cover"]

_MOST = 4096
"""The most functions whose digests a process keeps."""


class Cover(NamedTuple):
    """What the digest of a function covers."""

    whole: str
    """SHA-256 over the function and all that it reaches."""
    parts: dict[str, str]
    """Each of these to its own SHA-256."""
    unseen: tuple[str, ...]
    """What is not covered."""
    packages: dict[str, str]
    """The installed packages that it names, to their versions."""


class _Known(NamedTuple):
    cover: Cover
    names: list[tuple[dict[str, Any], str, object]]
    """The names that were looked up, where, and what they stood for."""
    by_value: bool
    """Whether values were looked at that may have been changed in place."""

    def holds(self) -> bool:
        """Return whether the names stand for the same things still."""
        return _stand(self.names)


class _Named(NamedTuple):
    """What was found of a name that a module binds, for all that reach it."""

    text: CodeText
    own: str
    more: str
    found: list[tuple[str, dict[str, Any], str, Any]]
    """What it reaches: as it is written, the namespace, the name there, and its value."""
    unseen: list[str]
    notes: Notes


class _Part(NamedTuple):
    """A piece of code or a value that is covered, and how to look at it."""

    key: object
    label: str
    look: Callable[[], _Look]


class _Look(NamedTuple):
    own: str
    more: str
    """What counts beside its own text: decorators, closures, defaults."""
    reached: list[tuple[str, _Part]]


_known: dict[FunctionType, _Known] = {}
_kept: dict[tuple[int, str, str], _Named] = {}


def cover(function: Callable[..., Any], *, anew: bool = False) -> Cover:
    """Return what a function reaches, and the digest of it.

    The answer is kept while the names that it reaches stand for the same things.

    Args:
        function: Of a definition.
        anew: Also look again at values that may have been changed in place.
    """
    plain = inspect.unwrap(function) if not isinstance(function, FunctionType) else function
    if not isinstance(plain, FunctionType):
        raise TypeError(f"{function!r} is not a function")
    known = _known.get(plain)
    if known is not None and not (anew and known.by_value) and known.holds():
        return known.cover
    found = _Walk(plain).run()
    if len(_known) >= _MOST:
        _known.clear()
    _known[plain] = found
    return found.cover


class _Walk:
    """One walk from a definition's function to all that it reaches."""

    def __init__(self, function: FunctionType) -> None:
        self._function = function
        code = inspect.unwrap(function).__code__
        self._names = Names(function.__globals__, code.co_filename)
        self._unseen: dict[str, None] = {}
        self._by_value = False

    def run(self) -> _Known:
        root = self._of_function(self._function, self._function.__qualname__)
        numbers, todo, lines, parts = {root.key: 0}, deque([root]), list[str](), dict[str, str]()
        alive = [root]  # so that no identity is given twice
        while todo:
            part = todo.popleft()
            look = part.look()
            lines.append(f"{look.own}\0{look.more}")
            label = part.label
            while label in parts:
                label += "'"
            parts[label] = sha256(look.own if not look.more or part is root else lines[-1])
            for name, reached in sorted(look.reached, key=lambda one: one[0]):
                if reached.key not in numbers:
                    numbers[reached.key] = len(numbers)
                    todo.append(reached)
                    alive.append(reached)
                lines.append(f"{name} {numbers[reached.key]}")
        unseen = (*self._unseen, *self._names.notes.unseen)
        found = Cover(sha256("\n".join(lines)), parts, unseen, dict(sorted(self._names.notes.packages.items())))
        return _Known(found, self._names.notes.looked_up, self._by_value)

    # Functions

    def _of_function(self, function: FunctionType, label: str) -> _Part:
        return _Part(function, label, lambda: self._look_at_function(function, label))

    def _look_at_function(self, function: FunctionType, label: str) -> _Look:
        space = self._names.space(function.__globals__)
        code = function.__code__
        text, nodes = nodes_of(function, space)
        if text is None or not nodes:
            why = "no source text" if text is None else "its file is not what was loaded"
            self._unseen[f"{label}: {why}"] = None
            own, decorated, described = digest_of_code(code), "", []
            chains = [(name,) for name in sorted(names_in(code))]
            reached = self._reached([(chain, {}) for chain in chains], space)
        else:
            described = [described_once(text, node) for node in nodes]
            own = "".join(one.own for one in described)
            decorated, reached = self._look_at(described, space, label, skip=code.co_freevars)
        more, held = self._held(function, nodes, label)
        return _Look(own, decorated + more, reached + held)

    def _look_at(
        self, described: Iterable[Described], space: Space, label: str, skip: Iterable[str] = ()
    ) -> tuple[str, list[tuple[str, _Part]]]:
        """Return the decorators of pieces of code that count, and what the pieces reach."""
        described, skipped = list(described), {*skip}
        self._unseen |= {f"{label}: {said}": None for one in described for said in one.suspects}
        more, chains = self._counting(described, space)
        return more, self._reached([(chain, imports) for chain, imports in chains if chain[0] not in skipped], space)

    def _counting(
        self, described: Iterable[Described], space: Space
    ) -> tuple[str, list[tuple[tuple[str, ...], dict[str, Any]]]]:
        """Return the decorators that are not tinymlops' own, and the names that pieces of code take from outside."""
        more, chains = "", list[tuple[tuple[str, ...], dict[str, Any]]]()
        for one in described:
            counting = [part for part in one.decorators if not is_of_tinymlops(self._names.runtime(space, part))]
            more += "".join(map(canonical, counting))
            left_out = {*chains_in(one.decorators)} - {*chains_in(counting)} if one.decorators else set()
            chains += [(chain, one.imports) for chain in one.chains if chain not in left_out]
        return more, chains

    def _held(self, function: FunctionType, nodes: list[ast.AST], label: str) -> tuple[str, list[tuple[str, _Part]]]:
        """Write the values of a function's closure, and the defaults of an inner function."""
        values: dict[str, object] = {}
        free = function.__code__.co_freevars
        changed = {name for node in nodes for name in changed_in(node)} if free else set()
        for name, cell in zip(free, function.__closure__ or (), strict=False):
            if name == "__class__":
                continue
            if name in changed:
                self._unseen[f"{label}: {name}, which it changes"] = None
                continue
            try:
                values[name] = cell.cell_contents
            except ValueError:  # not bound yet
                continue
        if "<locals>" in function.__qualname__:
            values |= {"__defaults__": function.__defaults__, "__kwdefaults__": function.__kwdefaults__}
        return self._write(values, label)

    # Values

    def _write(self, values: dict[str, object], label: str) -> tuple[str, list[tuple[str, _Part]]]:
        reached: list[tuple[str, _Part]] = []
        lines = []
        for name, value in values.items():
            refer = partial(self._refer, name=name, reached=reached)
            try:
                lines.append(f"{name}={written(value, refer)}")
            except (Unseen, RecursionError) as error:
                self._unseen[f"{label}: {name}, a value of {error}" if name else f"{label}: a value of {error}"] = None
            self._by_value = True
        return ";".join(lines), reached

    def _refer(self, value: object, *, name: str, reached: list[tuple[str, _Part]]) -> str | None:
        """Write a function, class or module that a value holds; null for what is not one of these."""
        function = getattr(value, "function", None) if is_of_tinymlops(value) else value
        if isinstance(function, FunctionType) and self._names.owns(function):
            part = self._of_function(function, self._label_of(function))
        elif isinstance(value, type) and self._names.owns_class(value):
            part = self._of_class(value)
        else:
            return self._foreign(value, name, reached)
        reached.append((f"{name}#{len(reached)}", part))
        return f"@{len(reached)}"

    def _foreign(self, value: Any, name: str, reached: list[tuple[str, _Part]]) -> str | None:
        if isinstance(value, ModuleType):
            self._names.note(value.__name__)
            return f"module {value.__name__}"
        if inspect.ismethod(value):
            refer = partial(self._refer, name=name, reached=reached)
            return f"method({written((value.__func__, value.__self__), refer)})"
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
            module = str(getattr(value, "__module__", "") or "")
            self._names.note(module)
            held = getattr(value, "__wrapped__", None)
            said = written(held, lambda one: self._refer(one, name=name, reached=reached)) if callable(held) else ""
            return f"{module.partition('.')[0]}.{value.__qualname__}({said})"
        return None

    def _label_of(self, function: FunctionType) -> str:
        return self._names.space(function.__globals__).label(function.__qualname__)

    def _of_class(self, cls: type) -> _Part:
        space = self._names.space_of(cls.__module__)
        top = cls.__qualname__.partition(".")[0]
        if space is not None and space.text is not None and top in space.text.bound:
            return self._of_name(space, top)
        label = cls.__qualname__ if space is None else space.label(cls.__qualname__)
        return _Part(cls, label, lambda: self._look_at_class(cls, label, space))

    def _look_at_class(self, cls: type, label: str, space: Space | None) -> _Look:
        """Look at a class that is bound to no name of a module: of a notebook, or made in a function."""
        functions = [one for one in map(plain_of, vars(cls).values()) if isinstance(one, FunctionType)]
        own = [one for one in functions if self._names.owns(one)]
        text = next((text for text in (text_of(one.__code__.co_filename) for one in own) if text is not None), None)
        nodes = [] if text is None else text.class_at(cls.__qualname__)
        reached = [(f"{one.__name__}#", self._of_function(one, f"{label}.{one.__name__}")) for one in own]
        if nodes and text is not None and space is not None:
            described = [described_once(text, node) for node in nodes]
            more, names = self._look_at(described, space, label)
            return _Look("".join(one.own for one in described), more, [*reached, *names])
        self._unseen[f"{label}: no source text of the class"] = None
        values = {
            name: one for name, one in vars(cls).items() if not name.startswith("__") and not callable(plain_of(one))
        }
        own_text, held = self._write(dict(sorted(values.items())), label)
        own_bases = filter(self._names.owns_class, cls.__bases__)
        bases = [(f"base#{number}", self._of_class(one)) for number, one in enumerate(own_bases)]
        return _Look(own_text, "", [*reached, *held, *bases])

    # Names

    def _reached(
        self, chains: Iterable[tuple[tuple[str, ...], dict[str, Any]]], space: Space
    ) -> list[tuple[str, _Part]]:
        parts = [
            (one, self._of_found(self._names.space(values), *rest)) for one, values, *rest in self._found(chains, space)
        ]
        return [(written_as, part) for written_as, part in parts if part is not None]

    def _found(
        self, chains: Iterable[tuple[tuple[str, ...], dict[str, Any]]], space: Space
    ) -> list[tuple[str, dict[str, Any], str, Any]]:
        return [
            (".".join(chain), where.values, name, value)
            for chain, imports in chains
            for where, name, value in self._names.find(space, chain, imports)
        ]

    def _of_found(self, space: Space, name: str, value: Any) -> _Part | None:
        if name and space.is_bound(name):
            return self._of_name(space, name)
        return self._of_value(space, name, value)

    def _of_name(self, space: Space, name: str) -> _Part:
        label = space.label(name)
        return _Part((id(space), name), label, lambda: self._look_at_name(space, name, label))

    def _look_at_name(self, space: Space, name: str, label: str) -> _Look:
        """Look at the statements of a module that bind a name; once in a process for all that reach it."""
        key = (id(space.values), name, self._names.package)
        kept = _kept.get(key)
        if kept is None or kept.text is not space.text or not _stand(kept.notes.looked_up):
            if len(_kept) >= _MOST:
                _kept.clear()
            outer, self._names.notes = self._names.notes, Notes([], {}, {})
            kept = _kept[key] = self._named(space, name)
            self._names.notes = outer
        self._names.add(kept.notes)
        self._unseen |= {f"{label}: {said}": None for said in kept.unseen}
        reached = []
        for written_as, values, inner, value in kept.found:
            part = self._of_found(self._names.space(values), inner, value)
            if part is not None and part.key != (id(space), name):
                reached.append((written_as, part))
        return _Look(kept.own, kept.more, reached)

    def _named(self, space: Space, name: str) -> _Named:
        text = space.text
        assert text is not None, "what is bound has a text"
        statements, value = text.bound[name], space.values.get(name)
        literal = None if name in text.changed else literal_of(self._names, space, statements)
        described = [] if literal is not None else [described_once(text, one) for one in statements]
        unseen, found, more = list[str](), list[tuple[str, dict[str, Any], str, Any]](), ""
        if literal is not None:
            own = f"value {literal}"
        else:
            own = "".join(one.own for one in described)
            unseen += [said for one in described for said in one.suspects]
            more, chains = self._counting(described, space)
            found += self._found(chains, space)
        defines = [one for one in statements if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        if name in text.changed and len(defines) < len(statements):
            unseen.append("a value that functions change")
        for function in functions_of(value):
            if not same_file(function.__code__.co_filename, space.file):
                if self._names.owns(function):
                    own_name = "" if isinstance(value, FunctionType) else function.__name__
                    found.append((f"{name}={own_name}", function.__globals__, "", function))
            elif defines and not nodes_of(function, space)[1]:
                unseen.append("its file is not what was loaded")
                more += digest_of_code(function.__code__)
        self._names.notes.looked_up.append((space.values, name, space.values.get(name, nothing)))
        return _Named(text, own, more, found, unseen, self._names.notes)

    def _of_value(self, space: Space, name: str, value: Any) -> _Part | None:
        """Return the part of a value that no text binds; None for what is not of the project."""
        function = getattr(value, "function", None) if is_of_tinymlops(value) else value
        if isinstance(function, FunctionType) and self._names.owns(function):
            return self._of_function(function, self._label_of(function))
        if isinstance(value, type) and self._names.owns_class(value):
            return self._of_class(value)
        if is_of_tinymlops(value) or isinstance(value, ModuleType | type):
            return None
        if callable(value) and not hasattr(value, "func") and not callable(getattr(value, "__wrapped__", None)):
            module = getattr(value, "__module__", None) or type(value).__module__
            if package_of(str(module)) is not None or not self._names.owns_class(type(value)):
                self._names.note(str(module))
                return None
        label = space.label(name)

        def look() -> _Look:
            text, reached = self._write({"": value}, label)
            return _Look(f"value {text.removeprefix('=')}", "", reached)

        return _Part((id(space), name), label, look)


def _stand(names: list[tuple[dict[str, Any], str, object]]) -> bool:
    """Return whether names stand for the same things still."""
    return all(values.get(name, nothing) is value for values, name, value in names)
