"""Check the options of a source whose rows are in a database of others."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from tinymlops.connectors.queries import require_text
from tinymlops.errors import DefinitionError
from tinymlops.times import parse_duration

if TYPE_CHECKING:
    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["ConnectionOptions", "check_connection_text", "connected"]

_OVERLAP = "1d"


class ConnectionOptions(NamedTuple):
    """What a source with a connection can be given, as the user gave it; see `project.source`."""

    connection: str | None = None
    overlap: str | timedelta | None = None
    snapshot_deletes: bool = False


def check_connection_text(name: str, returns: Any, *, parameters: bool) -> None:
    """Check that the function of a source with a connection says what to read, and nothing else.

    Raises:
        DefinitionError: If it takes `since`, or is not hinted to return text.
    """
    if parameters:
        raise DefinitionError(
            f"source {name!r} has a connection and takes `since`, which the connection sets by itself",
            hint='leave `since` out and name the column of times: cursor="updated_at"',
        )
    if returns is not str:
        raise DefinitionError(
            f"source {name!r} has a connection and does not return text",
            hint=f'write def {name}() -> str: return "orders", the name of a table, or one SELECT',
        )


def connected(
    source: SourceSpec, options: ConnectionOptions, *, cursor: str | None, lookback: object
) -> dict[str, Any]:
    """Return how a source with a connection is read, as fields of its definition.

    Args:
        source: The source, with all other options.
        options: As the user gave them.
        cursor: As the user gave it.
        lookback: As the user gave it; it is `overlap` here.

    Raises:
        DefinitionError: If an option needs another one, or the text is neither a table nor a SELECT.
    """
    assert isinstance(source.query, str), "a source with a connection says what to read"
    require_text(source.query)
    if lookback is not None:
        raise DefinitionError(
            f"source {source.name!r} has a connection and lookback",
            hint='write overlap="1d": how far each read goes back',
        )
    needs = [name for name, given in (("cursor", cursor), ("snapshot_deletes", options.snapshot_deletes)) if given]
    if needs and source.id is None:
        raise DefinitionError(
            f"source {source.name!r} has {needs[0]} and no id, so its rows could not be recognized",
            hint='name the column that tells its rows apart: id="order_id"',
        )
    if options.overlap is not None and cursor is None:
        raise DefinitionError(
            f"source {source.name!r} has overlap and no cursor, so every read is of all rows",
            hint='name the column of times that changes with every row: cursor="updated_at"',
        )
    span = 0
    if cursor is not None:
        span = parse_duration(_OVERLAP if options.overlap is None else options.overlap, name="overlap")
    found: dict[str, Any] = {"cursor": cursor, "lookback": span}
    return {**found, "snapshot_deletes": True} if options.snapshot_deletes else found
