"""`materialize`: keep in the online store what a read from now on can need of a view, and let it follow.

For each key of a view that is the newest visible row of each expression, every row not yet available, and the rows
of the longest window. A key with late rows or corrections is kept whole. Once materialized, a view follows every push
and ingest (`following.py`).
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tinymlops.features.online.arranging import filtered, needed, with_keys
from tinymlops.features.online.following import Part, changed, follow_views, origin_of, written_anew
from tinymlops.features.online.variants import Covered, State, Variant
from tinymlops.stores.coverage import HIDDEN

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import ViewSpec
    from tinymlops.features.online.following import Judge
    from tinymlops.stores.coverage import Coverage
    from tinymlops.stores.online_store import Snapshot

__all__ = ["Covered", "covered", "materialize"]

_AT_ONCE = 20_000
"""The number of keys that are trimmed together."""


def materialize(context: Context, view: ViewSpec, *, judge: Judge | None = None) -> Covered:
    """Bring a view up to date in the online store, and drop rows that no read from now on can use.

    Args:
        context: The workspace's state.
        view: The view.
        judge: Asks the checks on the views that follow with it.

    Returns:
        The present coverage.

    Raises:
        DataError: If the view's expressions do not fit its rows.
    """
    variant, now = Variant.of(context.definitions, view), context.now()
    while True:
        with context.environment.online.read() as snapshot:
            known = snapshot.coverage(variant.name)
        if known is None or known.at > now:
            _write_anew(context, variant, known, now, judge)
        else:
            failed = follow_views(context, judge=judge)
            if variant.name in failed:
                raise failed[variant.name]
            _trim(context, variant, now)
        found = covered(context, view)
        if found is not None:
            return found


def covered(context: Context, view: ViewSpec) -> Covered | None:
    """Return what the online store holds of a view; None if no read uses it."""
    with context.environment.online.read() as snapshot:
        state = Variant.of(context.definitions, view).state(snapshot)
    return None if state is None or state.coverage.is_hidden else state.covered


def _write_anew(context: Context, variant: Variant, known: Coverage | None, now: int, judge: Judge | None) -> None:
    """Write a view from history, hidden until it has reached the sequence of the others, unless another process did so.

    Other views do not wait and may have taken newer rows, and all views of an answer must have one sequence.
    """
    online, view = context.environment.online, variant.name
    origin = origin_of(context, variant)
    change = written_anew(context, variant, origin, context.environment.database.sequence(), now)
    hidden = change.coverage._replace(at=HIDDEN)
    if not online.write({view: change._replace(coverage=hidden)}, if_covered={view: known}):
        return
    failed = follow_views(context, {hidden.stamp: now}, judge=judge)
    if view in failed:
        online.write({view: None}, if_covered={view: hidden})
        raise failed[view]


def _trim(context: Context, variant: Variant, now: int) -> None:
    """Drop the rows of a view that no read from now on can use; reads before now then need history."""
    online, after = context.environment.online, b""
    while True:
        with online.read() as snapshot:
            state = variant.state(snapshot)
            keys = [] if state is None else list(islice(snapshot.keys_of(variant.name, after), _AT_ONCE))
            part = None if state is None or not keys else _trimmed(snapshot, state, keys, now)
        if state is None or not keys:
            return
        if part is None or online.write(
            {variant.name: changed(state, [part], at=now)}, if_covered={variant.name: state.coverage}
        ):
            after = keys[-1]


def _trimmed(snapshot: Snapshot, state: State, keys: list[bytes], now: int) -> Part | None:
    """Return the keys with rows that no read from now on can use, without these rows; None if there are none."""
    rows, full = state.variant.rows(snapshot, state.layout, keys)
    keep = needed(rows, state.layout, state.variant.view, now)
    lost = np.diff(np.append(0, np.cumsum(~keep))[rows.offsets]) > 0
    if not lost.any():
        return None
    left = with_keys(filtered(rows, keep), lost)
    return Part(left, full[lost], np.zeros(int(lost.sum()), np.int64), len(left.keys))
