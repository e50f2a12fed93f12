"""What a name in a user's code stands for: the module and the name there that bind it, through imports."""

from __future__ import annotations

import ast
import builtins
import importlib
import importlib.util
import os.path
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

from tinymlops.errors import is_fault
from tinymlops.features.definitions.code_places import is_of_tinymlops, is_own, package_of
from tinymlops.features.definitions.code_text import CodeText, Import, text_of

__all__ = ["Names", "Notes", "Space", "nothing"]

nothing = object()
"""What a name stands for that is not there."""
_Found = tuple["Space", str, Any]


class Space:
    """The names of a module, as they are and as its text binds them.

    Args:
        values: Its namespace.
        package: The directory of the definition's own package if that is installed; else empty.
        prefix: What its names are told with, such as `helpers.`.
    """

    def __init__(self, values: dict[str, Any], package: str, prefix: str) -> None:
        self.values = values
        name = values.get("__name__")
        module = sys.modules.get(name) if isinstance(name, str) else None
        self.module = module if module is not None and vars(module) is values else None
        self.name = name if isinstance(name, str) else ""
        self.file = str(values.get("__file__") or "")
        self.package = str(values.get("__package__") or self.name.rpartition(".")[0])
        reads = self.file.endswith(".py") and is_own(self.file, package)
        self.text: CodeText | None = text_of(self.file, self.module) if reads else None
        self._prefix = prefix

    def label(self, name: str) -> str:
        """Return a name as it is told."""
        return f"{self._prefix}{name}"

    def is_bound(self, name: str) -> bool:
        """Return whether the text binds a name, other than by an import."""
        return self.text is not None and name in self.text.bound


class Notes(NamedTuple):
    """What was met on the way."""

    looked_up: list[tuple[dict[str, Any], str, object]]
    """The names that were looked up, where, and what they stood for."""
    unseen: dict[str, None]
    packages: dict[str, str]
    """Installed packages to their versions."""


class Names:
    """Finds what names stand for, from the module of one definition on.

    Args:
        values: The namespace of the definition's module.
        file: Its file.
    """

    def __init__(self, values: dict[str, Any], file: str) -> None:
        self.package = _package_around(file, str(values.get("__name__", "")))
        self._spaces: dict[int, Space] = {id(values): Space(values, self.package, "")}
        self.notes = Notes([], {}, {})

    def space(self, values: dict[str, Any]) -> Space:
        """Return the names of a module by its namespace."""
        known = self._spaces.get(id(values))
        if known is None:
            name = str(values.get("__name__", ""))
            known = self._spaces[id(values)] = Space(values, self.package, f"{name}." if name else "")
        return known

    def space_of(self, module: str) -> Space | None:
        """Return the names of a module; None if it is not loaded."""
        found = sys.modules.get(module)
        return None if found is None else self.space(vars(found))

    def owns(self, function: FunctionType) -> bool:
        """Return whether a function is the project's."""
        file = function.__code__.co_filename
        module = str(function.__globals__.get("__name__", ""))
        if file.startswith("<"):  # typed in, or made by exec: the module says whose it is
            return module not in sys.modules or self._owns_module(sys.modules[module])
        return is_own(file, self.package)

    def owns_class(self, cls: type) -> bool:
        """Return whether a class is the project's."""
        module = sys.modules.get(cls.__module__)
        if cls.__module__ in ("builtins", "tinymlops") or is_of_tinymlops(module):
            return False
        return cls.__module__ == "__main__" or (module is not None and self._owns_module(module))

    def add(self, notes: Notes) -> None:
        """Add what was met on another way."""
        self.notes.looked_up.extend(notes.looked_up)
        self.notes.unseen.update(notes.unseen)
        self.notes.packages.update(notes.packages)

    def note(self, module: str) -> None:
        """Note the package of a module that is not the project's."""
        package = package_of(module)
        if package is not None:
            self.notes.packages[package[0]] = package[1]

    def runtime(self, space: Space, node: ast.expr) -> object:
        """Return what a dotted name or the start of a decorator stands for as it is now; None if that is not known."""
        while isinstance(node, ast.Call):
            node = node.func
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        value = space.values.get(node.id, getattr(builtins, node.id, None)) if isinstance(node, ast.Name) else None
        while names and isinstance(value, ModuleType | type) and not is_of_tinymlops(value):
            value = getattr(value, names.pop(), None)
        return value

    def find(self, space: Space, chain: tuple[str, ...], imports: Mapping[str, Import] = {}) -> Iterator[_Found]:
        """Find what a dotted name stands for in the project.

        Args:
            space: Where it is written.
            chain: Its parts.
            imports: What the code around it imports itself.

        Yields:
            The module that binds it, the name there, and its value.
        """
        yield from self._find(space, chain, imports, ())

    def _find(
        self, space: Space, chain: tuple[str, ...], imports: Mapping[str, Import], seen: tuple[tuple[int, str], ...]
    ) -> Iterator[_Found]:
        root, rest = chain[0], chain[1:]
        if root in imports:
            yield from self._imported(space, imports[root], rest, seen)
            return
        if (id(space), root) in seen or root.startswith("__"):
            return
        seen = (*seen, (id(space), root))
        value = space.values.get(root)
        self.notes.looked_up.append((space.values, root, space.values.get(root, nothing)))
        if space.text is not None and (root in space.text.imports or root in space.text.bound):
            if root in space.text.imports:
                yield from self._imported(space, space.text.imports[root], rest, seen)
            if root in space.text.bound:
                yield space, root, value
            return
        for star in [] if space.text is None else space.text.stars:
            module = self._module(space, star)
            if module is not None and root in vars(module) and self._owns_module(module):
                yield from self._find(self.space(vars(module)), chain, {}, seen)
                return
        if isinstance(value, ModuleType):
            yield from self._in_module(value, rest, seen)
        elif root in space.values:
            yield space, root, value

    def _imported(
        self, space: Space, one: Import, rest: tuple[str, ...], seen: tuple[tuple[int, str], ...]
    ) -> Iterator[_Found]:
        module = self._module(space, one.module)
        if module is not None:
            yield from self._in_module(module, rest if one.name is None else (one.name, *rest), seen)

    def _in_module(
        self, module: ModuleType, chain: tuple[str, ...], seen: tuple[tuple[int, str], ...]
    ) -> Iterator[_Found]:
        if not self._owns_module(module):
            self.note(module.__name__)
            return
        if not chain:
            self.notes.unseen[f"{module.__name__}: a module that is handed on as a value"] = None
            return
        space = self.space(vars(module))
        named = space.text is not None and (chain[0] in space.text.bound or chain[0] in space.text.imports)
        inner = sys.modules.get(f"{module.__name__}.{chain[0]}")
        if inner is None and not named and chain[0] not in vars(module) and hasattr(module, "__path__"):
            inner = self._load(f"{module.__name__}.{chain[0]}")
        if inner is not None and not named:
            yield from self._in_module(inner, chain[1:], seen)
        else:
            yield from self._find(space, chain, {}, seen)

    def _module(self, space: Space, name: str) -> ModuleType | None:
        """Return an imported module; the project's own are imported if they are not yet, as the code would do."""
        try:
            full = importlib.util.resolve_name(name, space.package) if name.startswith(".") else name
        except ImportError:
            return None
        found = sys.modules.get(full)
        if found is not None:
            return found
        top = full.partition(".")[0]
        if package_of(top) is None:
            return None
        known = sys.modules.get(top)
        spec = importlib.util.find_spec(top) if known is None else None
        places = (
            [] if spec is None else [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())]
        )
        if self._owns_module(known) if known is not None else any(self._owns_file(str(one)) for one in places):
            return self._load(full)
        self.note(full)
        return None

    def _load(self, name: str) -> ModuleType | None:
        try:
            return importlib.import_module(name)
        except BaseException as error:  # the user's module may raise anything
            if not is_fault(error):
                raise
            self.notes.unseen[f"{name}: a module that cannot be imported"] = None
            return None

    def _owns_module(self, module: ModuleType) -> bool:
        if module.__name__ == "__main__":
            return True
        file = getattr(module, "__file__", None)
        return any(map(self._owns_file, [file] if file else map(str, getattr(module, "__path__", ()))))

    def _owns_file(self, file: str) -> bool:
        return is_own(file if file.endswith((".py", ".so", ".pyd")) else os.path.join(file, ""), self.package)


def _package_around(file: str, module: str) -> str:
    """Return the directory of the package that a module is in, if it is in one."""
    depth = module.count(".")
    path = os.path.realpath(file)
    if not depth and os.path.basename(path) != "__init__.py":
        return ""
    for _ in range(depth if os.path.basename(path) != "__init__.py" else depth + 1):
        path = os.path.dirname(path)
    return os.path.join(path, "")
