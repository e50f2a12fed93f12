"""`checks run`: the checks in force, asked about what is stored already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import NotFoundError
from tinymlops.features.definitions.data_checks import checks_on
from tinymlops.features.definitions.specs import CheckSpec, SourceSpec, ViewSpec
from tinymlops.features.history.in_place import reading_once
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
    definitions = context.definitions
    specs = [spec for spec in definitions.of(CheckSpec).values() if target in (None, spec.target)]
    if target is not None and not specs:
        raise NotFoundError(f"there are no checks on {target!r}", hint=f'project.check({target}, tm.not_null("..."))')
    views = {spec.target: definitions.get(ViewSpec, spec.target) for spec in specs if spec.of_view}
    sources = {spec.target: definitions.get(SourceSpec, spec.target) for spec in specs if not spec.of_view}
    targets: list[ViewSpec | SourceSpec] = [*sources.values(), *views.values()]
    with reading_once():
        looked = [_looked(context, one, named=target is not None) for one in targets]
    results = [result for one in looked if one is not None for result in one.results()]
    with context.scope.write("checks.run", target or "all", results=len(results)) as tx:
        stored = [msgspec.structs.replace(one, sequence=tx.sequence()) for one in results]
        tx.insert_many(stored)
    return stored


def _looked(context: Context, target: ViewSpec | SourceSpec, *, named: bool) -> Looked | None:
    """Ask about one target; None if it has no rows and was not named."""
    source = target.source if isinstance(target, ViewSpec) else target.name
    if not named and newest_sequence(context, source) is None:
        return None
    if isinstance(target, ViewSpec):
        return look_at_view(context, target, moment="run")
    return look_at_stored(context, target, checks_on(context.definitions, target), current_rows(context, target.name))
