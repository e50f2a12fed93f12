"""What every step on features needs: the open stores, the definitions in force, the clock and the user's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops._time import Clock, system_clock, to_micros
from tinymlops.errors import DefinitionError
from tinymlops.features import specs
from tinymlops.features.planning import Definitions

if TYPE_CHECKING:
    from tinymlops.features.specs import CodeReference
    from tinymlops.registry.catalog import Catalog
    from tinymlops.stores.environment import Environment

__all__ = ["Context", "load_definitions"]


@dataclass(frozen=True)
class Context:
    """The state that ingestion, reads and training sets work on."""

    environment: Environment
    definitions: Definitions
    functions: Mapping[str, Callable[..., Any]]
    """The user's Python functions by definition name, of the projects applied or loaded in this process."""
    clock: Clock
    root: Path
    """Relative paths in SQL start here."""

    def now(self) -> int:
        """Return the clock's time, microseconds UTC."""
        return to_micros(self.clock())

    @property
    def replays(self) -> bool:
        """Whether the clock is not the machine's: then ingest takes only rows available by it."""
        return self.clock is not system_clock

    def function(self, name: str, code: CodeReference | None) -> Callable[..., Any]:
        """Return the Python function of a definition.

        Raises:
            DefinitionError: If no project of this process has it.
        """
        if name not in self.functions:
            where = f"{code.module}.{code.name}" if code else name
            raise DefinitionError(
                f"the Python code of {name!r} ({where}) is not loaded in this process",
                hint="import the project's module and apply it, or list the module in tinymlops.toml",
            )
        return self.functions[name]


def load_definitions(catalog: Catalog) -> Definitions:
    """Read the definitions in force from the catalog."""
    return Definitions(specs.decode(msgspec.json.encode(row.spec)) for row in catalog.list())
