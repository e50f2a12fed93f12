"""How far the sinks are, as far as the workspace knows it: no database of others is asked."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tinymlops.features.definitions.specs import SinkSpec
from tinymlops.registry.sinks import Logged, SinkStates

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["SinkStatus", "sink_status"]


class SinkStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Where a sink stands."""

    sink: str
    writes: str
    """Such as "predictions churn"; "removed" where the sink is not defined any more, and its rows stay in the table."""
    target: str
    rows: int
    """In the table."""
    waiting: int | None
    """Rows to be written; of features None, for values change with the time."""
    sequence: int | None = None
    """Of features: at which sequence they were computed; None before the first run."""
    delivered_at: datetime | None = None
    """When all that there was had been written."""
    error: str = ""
    """Why the last run did not end."""

    @property
    def waits(self) -> str:
        """What waits, for people."""
        if self.waiting is not None:
            return f"{self.waiting:,}"
        return "-" if self.sequence is None else f"since Q={self.sequence}"


def sink_status(context: Context) -> list[SinkStatus]:
    """Return where each sink stands, also one that is not defined any more but has written."""
    states = {one.sink: one for one in SinkStates(context.scope).list()}
    found = []
    for spec in context.definitions.of(SinkSpec).values():
        state, target = states.pop(spec.name, None), f"{spec.connection}: {spec.table}"
        is_there = state is not None and state.target == target
        position = state.position if state is not None and is_there else 0
        waiting = None
        if spec.writes != "features":
            log = Logged(context.environment.database, spec.of if spec.writes == "predictions" else None)
            waiting = log.count(position).after
        found.append(
            SinkStatus(
                sink=spec.name,
                writes=f"{spec.writes} {spec.of}".strip(),
                target=target,
                rows=state.rows if state is not None and is_there else 0,
                waiting=waiting,
                sequence=position if is_there and waiting is None else None,
                delivered_at=None if state is None else state.delivered_at,
                error="" if state is None else state.error,
            )
        )
    gone = [one for one in states.values() if one.rows]
    return found + [
        SinkStatus(sink=one.sink, writes="removed", target=one.target, rows=one.rows, waiting=0, error=one.error)
        for one in gone
    ]
