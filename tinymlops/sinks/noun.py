"""`ws.sinks`: the tables that rows are written to, and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.definitions.sinks import Sink
from tinymlops.features.definitions.specs import SinkSpec
from tinymlops.registry.sinks import SinkStates

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable

    from tinymlops.features.context import Context
    from tinymlops.features.law.sink_status import SinkStatus
    from tinymlops.registry.models import Models
    from tinymlops.sinks.delivering import Delivered

__all__ = ["Sinks"]


class Sinks:
    """The sinks of a workspace.

    Args:
        context: Gives the workspace's state, by the definitions in force.
        models: Registered ones.
        flush: Stores what is logged and still on its way.
    """

    def __init__(self, context: Callable[[], Context], models: Models, flush: Callable[[], object]) -> None:
        self._context, self._models, self._flush = context, models, flush

    def __repr__(self) -> str:
        return f"<sinks: {', '.join(one.name for one in self.list()) or 'none'}>"

    def list(self) -> list[SinkSpec]:
        """Return the sinks in force, in the order of their definitions."""
        return list(self._context().definitions.of(SinkSpec).values())

    def status(self) -> builtins.list[SinkStatus]:
        """Return where each sink stands, as far as the workspace knows; no database is asked."""
        from tinymlops.features.law.sink_status import sink_status

        self._flush()
        return sink_status(self._context())

    def run(self, *sinks: Sink | str, full: bool = False) -> builtins.list[Delivered]:
        """Write to tables what they lack, and delete what the workspace does not have any more.

        A run that is ended, however, is gone on with by the next one: no row is lost, and none is there twice.

        Args:
            sinks: Which, or their names; none for all.
            full: Compare every row with the table, which finds what others changed there.

        Raises:
            NotFoundError: If there is no such sink.
            TinyMLOpsError: The first failure, after the other sinks were run; `status` tells them all.
        """
        from tinymlops.sinks.delivering import deliver

        context = self._context()
        known = context.definitions.of(SinkSpec)
        names = [one.spec.name if isinstance(one, Sink) else one for one in sinks] or list(known)
        specs = [context.definitions.get(SinkSpec, name) for name in names]
        self._flush()
        states, done, failures = SinkStates(context.scope), [], []
        for spec in specs:
            try:
                done.append(deliver(context, self._models, spec, full=full))
            except TinyMLOpsError as error:
                states.of(spec.name)
                states.failed(spec.name, error.message)
                failures.append(error)
        if failures:
            raise failures[0]
        return done
