"""`checks run`: the checks in force, asked about what is stored already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError
from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.specs import CheckSpec, SourceSpec, ViewSpec
from tinymlops.features.history.stored import current_rows, newest_sequence
from tinymlops.features.intake.looking import look_at_stored
from tinymlops.features.intake.view_checks import look_at_view

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.intake.looking import Looked
    from tinymlops.records import CheckResult

__all__ = ["ask"]


def ask(context: Context, target: str | None) -> list[CheckResult]:
    """Ask the checks on a source or a view, or on all that have rows, and record what they say.

    Args:
        context: The workspace's state.
        target: Its name; None for all.

    Raises:
        NotFoundError: If it has no checks, or was never ingested.
        DataError: If a check cannot be computed.
    """
    names = list(dict.fromkeys(spec.target for spec in context.definitions.of(CheckSpec).values()))
    if target is not None and target not in names:
        raise NotFoundError(f"there are no checks on {target!r}", hint=f'project.check({target}, tm.not_null("..."))')
    looked = [_looked(context, name, named=target is not None) for name in names if target in (None, name)]
    results = [result for one in looked if one is not None for result in one.results()]
    with context.scope.write("checks.run", target or "all", results=len(results)) as tx:
        stored = [msgspec.structs.replace(one, sequence=tx.sequence()) for one in results]
        tx.insert_many(stored)
    return stored


def _looked(context: Context, target: str, *, named: bool) -> Looked | None:
    """Ask about one target; None if it has no rows and was not named."""
    view = context.definitions.of(ViewSpec).get(target)
    source = view.source if view is not None else target
    if not named and newest_sequence(context, source) is None:
        return None
    if view is not None:
        return look_at_view(context, view, moment="run")
    spec = context.definitions.get(SourceSpec, target)
    return look_at_stored(context, spec, checks_on(context.definitions, target), current_rows(context, target))
