"""`ws.connections`: the databases that sources read, and whether they can be read now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.connectors.addresses import address_of, settings_of
from tinymlops.connectors.opening import connector_of
from tinymlops.errors import DataError, TinyMLOpsError, near
from tinymlops.features.definitions.specs import SourceSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tinymlops.connectors.connector import Connector
    from tinymlops.features.context import Context

__all__ = ["CheckedConnection", "CheckedSource", "Connections"]

_TIMEOUT = 60_000_000
"""Microseconds for each question of a check."""


class CheckedSource(msgspec.Struct, frozen=True, kw_only=True):
    """Whether what a source names is there."""

    source: str
    ok: bool
    said: str = ""
    """What is wrong, or what its columns are."""


class CheckedConnection(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a database can be read."""

    connection: str
    ok: bool
    place: str = ""
    """Where it is, without user and password."""
    server: str = ""
    error: str = ""
    hint: str = ""
    notes: tuple[str, ...] = ()
    """What limits incremental reads."""
    sources: tuple[CheckedSource, ...] = ()


class Connections:
    """The connections of `tinymlops.toml`.

    Args:
        context: Gives the workspace's state, by the definitions in force.
    """

    def __init__(self, context: Callable[[], Context]) -> None:
        self._context = context

    def __repr__(self) -> str:
        names = ", ".join(self._context().config.connections) or "none"
        return f"<connections: {names}; ws.connections.check()>"

    def check(self, name: str | None = None) -> list[CheckedConnection]:
        """Reach databases, and look for the tables and columns that sources read; no row is read, nothing is written.

        Args:
            name: Only this connection; None for all, and for those that sources name and `tinymlops.toml` does not.

        Raises:
            NotFoundError: If there is no such connection.
        """
        context = self._context()
        used: dict[str, list[SourceSpec]] = {one: [] for one in context.config.connections}
        for source in context.definitions.of(SourceSpec).values():
            if isinstance(source.connection, str):
                used.setdefault(source.connection, []).append(source)
        if name is not None:
            settings_of(name, context.config.connections)
            used = {name: used[name]}
        return [_checked(context, one, sources) for one, sources in used.items()]


def _checked(context: Context, name: str, sources: list[SourceSpec]) -> CheckedConnection:
    place = ""
    try:
        address = address_of(name, context.config.connections, context.root)
        place, connector = address.place, connector_of(address, timeout=_TIMEOUT)
        server = connector.server()
    except TinyMLOpsError as error:
        return CheckedConnection(connection=name, ok=False, place=place, error=error.message, hint=error.hint)
    looked = tuple(_looked(connector, source) for source in sources)
    return CheckedConnection(
        connection=name,
        ok=all(one.ok for one in looked),
        place=place,
        server=server.version,
        notes=server.notes if any(source.cursor for source in sources) else (),
        sources=looked,
    )


def _looked(connector: Connector, source: SourceSpec) -> CheckedSource:
    try:
        columns = connector.columns(str(source.query))
        _require(source, columns)
    except TinyMLOpsError as error:
        said = f"{error.message}; {error.hint}" if error.hint else error.message
        return CheckedSource(source=source.name, ok=False, said=said)
    return CheckedSource(source=source.name, ok=True, said=", ".join(columns))


def _require(source: SourceSpec, columns: Mapping[str, object]) -> None:
    roles = {
        "timestamp": source.timestamp,
        "id": source.id,
        "created": source.created,
        "cursor": source.cursor,
        "delay": source.delay_column,
        **{f"keys[{key!r}]": column for key, column in source.keys.items()},
    }
    for role, column in roles.items():
        if column is not None and column not in columns:
            raise DataError(f"there is no column {column!r}, which its {role}= names", hint=near(column, columns))
