"""The definitions in force, kept in memory until they change; also finishes a change that a crash interrupted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tinymlops.features.context import load_definitions
from tinymlops.stores.generation import Kept, end_change, is_changing

if TYPE_CHECKING:
    from tinymlops.features.definitions.definitions import Definitions
    from tinymlops.registry.catalog import Catalog
    from tinymlops.stores.environment import Environment

__all__ = ["finish_change", "in_force"]

_PATIENCE = 60.0


def in_force(catalog: Catalog) -> Kept[Definitions]:
    """Return the definitions in force, read from the catalog when they have changed."""
    return Kept(partial(load_definitions, catalog))


def finish_change(environment: Environment) -> None:
    """Finish the change of a crashed process, or set the first token."""
    with environment.online.read() as snapshot:
        if not is_changing(snapshot):
            return
    with environment.write_lock.exclusive(deadline=_PATIENCE):  # no process is inside a change
        end_change(environment.online)
