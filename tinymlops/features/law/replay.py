"""The replay proof: spine rows computed again from what was visible at their time must come out bit for bit the same."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tinymlops.features.compute.views import plan_view
from tinymlops.features.definitions.nouns import title_of
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec, ViewSpec
from tinymlops.features.history.historical import FeatureColumns, in_order
from tinymlops.features.law.past import Past, past_of
from tinymlops.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from tinymlops.features.compute.arranged import Array
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.law.assembled import Assembled

__all__ = ["chosen_rows", "replay"]

_OF_EXPRESSIONS = "write it without what looks at other rows; what needs many rows is a feature view with a window"
_OURS = "tinymlops doctor checks what is stored; if that is sound, please report this as a bug"
_NEAR = 1e-9
"""Relative difference of floats that another order of adding up explains."""


def chosen_rows(height: int, rows: int, seed: int) -> list[int]:
    """Choose rows of a spine at random, in ascending order; the same for the same seed."""
    return sorted(random.Random(seed).sample(range(height), min(rows, height)))  # noqa: S311 - no secret


def replay(context: Context, built: Assembled, rows: Sequence[int]) -> list[Finding]:
    """Compute features of some spine rows again, each from nothing but the records that were visible at its time.

    Args:
        context: The workspace's state.
        built: The training set.
        rows: Their numbers.

    Returns:
        A finding for each feature that comes out otherwise, with the first row that shows it and the record that the row
        could not know.
    """
    found: list[Finding] = []
    if rows:
        for request in built.spec.features:
            found += (
                _of_on_demand(context, built, request, rows)
                if request.on_demand
                else _of_view(context, built, request, rows)
            )
    return found


def _of_view(context: Context, built: Assembled, request: FeatureRequest, rows: Sequence[int]) -> Iterator[Finding]:
    plan = plan_view(context.definitions, request, spine_source=built.spec.spine)
    context = context.for_request(request)
    view = context.definitions.get(ViewSpec, request.view)
    source = context.definitions.get(SourceSpec, view.source)
    past = past_of(context, source, plan, built.spine[rows], built.time[rows], built.sequence)
    for name, replayed in past.replayed().items():
        original = built.table.read(name)[rows]
        other, near = _differing(original, replayed, exact=not plan.source.inputs)
        if len(other) or len(near):
            at = int(other[0]) if len(other) else int(near[0])
            yield _finding(built, past, name, rows, at, (original, replayed), len(other))


def _finding(
    built: Assembled,
    past: Past,
    name: str,
    rows: Sequence[int],
    at: int,
    values: tuple[pl.Series, pl.Series],
    count: int,
) -> Finding:
    cause = past.cause(at, name) if count else None
    before, after = values[0][at], values[1][at]
    said = f"{name!r} is {before!r}, and {after!r} when it is computed from what was visible then"
    return Finding(
        rule="replay",
        level="leak" if count else "note",
        where=f"{built.spec.name}.{name}",
        feature=name,
        row=built.described(rows[at], past.plan.on),
        record=None if cause is None else past.record(cause),
        rows=count,
        message=said if count else f"{said}: only its last digits hang on later rows",
        fix=_fix(past, found=cause is not None),
    )


def _fix(past: Past, *, found: bool) -> str:
    source = past.source if past.source.row_wise else past.plan.source
    if not source.inputs:
        return _OURS
    if not found:
        return f"what transformation {source.name!r} makes of the same rows is not the same: tinymlops lint --pure says why"
    if source.row_wise:
        return f"leave row_wise out of {source.name!r}: what it makes of a row depends on others"
    return (
        f"let each row of transformation {source.name!r} be made of rows up to its own time, or be dated by the latest of "
        "them; or use a window of a feature view"
    )


def _of_on_demand(
    context: Context, built: Assembled, request: FeatureRequest, rows: Sequence[int]
) -> Iterator[Finding]:
    """Compute an on-demand view of a few rows alone, from the features that they have."""
    taken = {name: column[rows] for name, column in built.table.columns.items()}
    names = [name for name, origin in built.table.origins.items() if origin.partition(":")[0] == title_of(request)]
    table = FeatureColumns({name: one for name, one in taken.items() if name not in names}, {}, {}, {})
    alone = in_order(
        context,
        built.spine[rows],
        built.time[rows],
        built.spec.features,
        table,
        spine_source=built.spec.spine,
        as_of=built.sequence,
    ).columns
    for name in names:
        other, _ = _differing(taken[name], alone[name], exact=True)
        if len(other):
            at = int(other[0])
            spec = context.definitions.for_request(request).get(OnDemandSpec, request.view)
            yield Finding(
                rule="replay",
                level="leak",
                where=f"{built.spec.name}.{name}",
                feature=name,
                row=built.described(rows[at], spec.request),
                rows=len(other),
                message=f"{name!r} of on-demand view {title_of(request)!r} is {taken[name][at]!r}, and {alone[name][at]!r} where "
                "fewer rows are asked for",
                fix=_OF_EXPRESSIONS if spec.nearest is msgspec.UNSET else _OURS,
            )


def _differing(one: pl.Series, other: pl.Series, *, exact: bool) -> tuple[Array, Array]:
    """Return the places where two columns differ: by more than the order of adding up explains, and by less.

    Our own sums are exact, so that only what SQL or Polars adds up may differ a little.
    """
    other = other.cast(one.dtype, strict=False) if other.dtype != one.dtype else other
    differs = one.ne_missing(other).to_numpy()
    if exact or not one.dtype.is_float():
        return np.flatnonzero(differs), np.zeros(0, np.int64)
    left, right = one.fill_null(np.nan).to_numpy(), other.fill_null(np.nan).to_numpy()
    near = differs & (np.abs(left - right) <= _NEAR * np.maximum(np.abs(left), np.abs(right)))
    return np.flatnonzero(differs & ~near), np.flatnonzero(near)
