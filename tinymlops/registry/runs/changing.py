"""Changes of a run's row: parameters, which keep their value, and tags, notes and surroundings, which do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import ConflictError, NotFoundError
from tinymlops.records import DeletedRun, RunRow, Scalar
from tinymlops.registry.runs.values import same

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.stores.transaction import Transaction

__all__ = ["RunChange", "changed", "row_of", "with_params"]


@dataclass(frozen=True, slots=True)
class RunChange:
    """What changes in a run's row."""

    run: str
    params: Mapping[str, Scalar] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Other columns, such as `notes`, by name."""


def row_of(tx: Transaction, run: str) -> RunRow:
    """Return a run.

    Raises:
        NotFoundError: If there is none with that id.
    """
    record = tx.get(RunRow, id=run)
    if record is None:
        gone = tx.get(DeletedRun, id=run)
        if gone is not None:
            raise NotFoundError(f"run {gone.name!r} ({run}) was deleted at {gone.deleted_at:%Y-%m-%d %H:%M} UTC")
        raise NotFoundError(f"there is no run with the id {run!r}", hint="find it with ws.runs.search()")
    return record


def changed(tx: Transaction, run: str, changes: Sequence[RunChange]) -> None:
    """Make changes of a run, or none.

    Raises:
        NotFoundError: If there is no such run.
        ConflictError: If a parameter was logged with another value.
    """
    if not changes and tx.has(RunRow, id=run):  # most often, and nothing of its row is needed
        return
    before = record = row_of(tx, run)
    for change in changes:
        params = with_params(record.name, record.params, change.params)
        tags = {**record.tags, **change.tags}
        record = msgspec.structs.replace(record, params=params, tags=tags, **change.fields)
    if record is not before:
        tx.update(record)


def with_params(name: str, params: Mapping[str, Scalar], added: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return parameters with some more; a logged one keeps its value.

    Args:
        name: The run's name.
        params: Those it has.
        added: More.

    Raises:
        ConflictError: If one has another value.
    """
    for key, value in added.items():
        if key in params and not same(params[key], value):
            raise ConflictError(
                f"run {name!r} has logged {key} as {params[key]!r}, not {value!r}",
                hint="log it under another name, or start a new run",
            )
    return {**params, **added}
