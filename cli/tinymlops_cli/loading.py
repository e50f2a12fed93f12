"""The project that the modules of `tinymlops.toml` define."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.config import FILE_NAME
from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from tinymlops.features.definitions.project import Project

__all__ = ["load_project"]


def load_project(names: Sequence[str], root: Path) -> Project:
    """Import a project's modules in order and return their one project.

    Args:
        names: The modules.
        root: The project's directory.

    Raises:
        DefinitionError: If a module cannot be imported, or there is no project, or more than one.
    """
    from tinymlops.features.definitions.code import import_modules
    from tinymlops.features.definitions.project import Project

    if not names:
        raise DefinitionError(
            f"{root / FILE_NAME} lists no modules", hint='add the one with the definitions: modules = ["features"]'
        )
    found: dict[int, tuple[str, Project]] = {}
    for module in import_modules(names, root):
        for value in vars(module).values():
            if isinstance(value, Project):
                found.setdefault(id(value), (module.__name__, value))
    if not found:
        raise DefinitionError(
            f"no module of {FILE_NAME} has a project: {', '.join(names)}",
            hint='create one at the top level of a module: project = tm.Project("shop")',
        )
    if len(found) > 1:
        listed = ", ".join(f"{project.name!r} in {module}" for module, project in found.values())
        raise DefinitionError(
            f"the modules of {FILE_NAME} have {len(found)} projects: {listed}",
            hint="keep one; a second project has a directory and a tinymlops.toml of its own",
        )
    ((_, project),) = found.values()
    return project
