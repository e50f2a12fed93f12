"""`lint`: every check for leaks, and on request for impurity, of the definitions of a project and of what they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError, TinyMLOpsError
from tinymlops.features.definitions.specs import TrainingSetSpec
from tinymlops.features.law.assembled import assemble
from tinymlops.features.law.leaks import static_findings
from tinymlops.features.law.leaks_in_data import corrected_later, single_features
from tinymlops.features.law.purity import impurities
from tinymlops.features.law.replay import chosen_rows, replay
from tinymlops.findings import Finding, LintReport, sorted_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context

__all__ = ["lint"]


def lint(context: Context, names: Sequence[str], *, rows: int, seed: int, pure: bool) -> LintReport:
    """Look for leaks, and for definitions that do not give the same twice.

    Args:
        context: The workspace's state, with the definitions to look at.
        names: Of training sets; none for all.
        rows: How many rows of each are replayed.
        seed: Which rows these are.
        pure: Also run every definition twice.

    Raises:
        NotFoundError: If there is no such training set, with the near match.
        DefinitionError: If there are no definitions, or `rows` is no number of rows.
    """
    context.definitions.require_any()
    if rows < 0:
        raise DefinitionError(f"replay={rows} is not a number of rows", hint="use 0 or more, such as 200")
    every = context.definitions.of(TrainingSetSpec)
    chosen = [context.definitions.get(TrainingSetSpec, name) for name in names] or list(every.values())
    found, replayed, run_twice = static_findings(context, chosen), 0, 0
    for spec in chosen:
        in_data, count = _in_data(context, spec, rows, seed)
        found += in_data
        replayed += count
    if pure:
        impure, run_twice = impurities(context, seed)
        found += impure
    kept, allowed = sorted_out(found, context.config.lint.allow)
    return LintReport(
        findings=kept,
        allowed=allowed,
        training_sets=[spec.name for spec in chosen],
        replayed=replayed,
        run_twice=run_twice,
    )


def _in_data(context: Context, spec: TrainingSetSpec, rows: int, seed: int) -> tuple[list[Finding], int]:
    """Return what the rows of a training set show, and how many were replayed."""
    try:
        built = assemble(context, spec)
        chosen = chosen_rows(built.spine.height, rows, seed)
        found = single_features(spec.name, built.table.columns, built.outcome)
        found += corrected_later(context, built, chosen)
        return found + replay(context, built, chosen), len(chosen)
    except TinyMLOpsError as error:
        return [_unchecked(spec, error)], 0


def _unchecked(spec: TrainingSetSpec, error: TinyMLOpsError) -> Finding:
    return Finding(
        rule="unchecked",
        level="warning",
        where=spec.name,
        message=f"training set {spec.name!r} cannot be built, so only its definitions were looked at: {error.message}",
        fix=error.hint or "correct it, and lint again",
    )
