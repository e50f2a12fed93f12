"""A training set as the linter looks at it: spine, features and outcomes, before anything is left out; nothing is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from tinymlops.features.definitions.specs import LabelSpec, TrainingSetSpec
from tinymlops.features.history.historical import FeatureColumns, features_for
from tinymlops.features.history.labels import complete_until, outcomes_of
from tinymlops.features.history.spines import spine_of
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.history.in_place import Operation

__all__ = ["Assembled", "assemble"]


class Assembled(NamedTuple):
    """A training set and what it was made of."""

    spec: TrainingSetSpec
    spine: pl.DataFrame
    """m rows, with their system columns."""
    time: Array
    """int64[m], microseconds UTC."""
    table: FeatureColumns
    outcome: pl.Series
    """m outcomes: null where there is none, or none that can be known yet."""
    sequence: int
    """`Q`: by the rows up to it."""

    def described(self, row: int, columns: Sequence[str] = ()) -> dict[str, Any]:
        """Name a row for people: its number, these columns, its time."""
        shown = {name: self.spine[name][row] for name in dict.fromkeys(columns) if name in self.spine.columns}
        return {"number": row, **shown, "time": from_micros(int(self.time[row])).isoformat()}


def assemble(context: Context, spec: TrainingSetSpec, operation: Operation) -> Assembled:
    """Compute a training set by all rows there are.

    Args:
        context: The workspace's state.
        spec: The training set.
        operation: What reads each source in place once.

    Raises:
        TinyMLOpsError: If it cannot be built.
    """
    sequence = context.environment.database.sequence()
    operation.as_of.add(sequence)
    label = context.definitions.get(LabelSpec, spec.label)
    complete = complete_until(context, label, as_of=sequence)
    spine = spine_of(context, spec, as_of=sequence, fields_as_known=True)
    time = spine["__event"].to_numpy()
    table = features_for(context, spine, time, spec.features, spine_source=spec.spine, as_of=sequence)
    outcome, mature = outcomes_of(context, label, spine, time, complete=complete, as_of=sequence)
    return Assembled(spec, spine, time, table, outcome.set(pl.Series(~mature), None), sequence)
