"""`lint`: every check for leaks, and on request for impurity, of the definitions of a project and of what they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError, NotFoundError, TinyMLOpsError, near
from tinymlops.features.definitions.specs import ServiceSpec, TrainingSetSpec
from tinymlops.features.history.in_place import reading_once
from tinymlops.features.law.assembled import assemble
from tinymlops.features.law.leaks import static_findings
from tinymlops.features.law.leaks_in_data import corrected_later, single_features
from tinymlops.features.law.purity import impurities
from tinymlops.features.law.replay import chosen_rows, replay
from tinymlops.findings import Finding, LintReport, sorted_out
from tinymlops.stores.engine import reusing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.definitions import Definitions

__all__ = ["lint"]


def lint(context: Context, names: Sequence[str], *, rows: int, seed: int, pure: bool) -> LintReport:
    """Look for leaks, and for definitions that do not give the same twice.

    Args:
        context: The workspace's state, with the definitions to look at.
        names: Of training sets and services; none for all.
        rows: How many rows of each are replayed.
        seed: Which rows these are.
        pure: Also run every definition twice.

    Raises:
        NotFoundError: If there is no such training set or service, with the near match.
        DefinitionError: If there are no definitions, or `rows` is no number of rows.
    """
    context.definitions.require_any()
    if rows < 0:
        raise DefinitionError(f"replay={rows} is not a number of rows", hint="use 0 or more, such as 200")
    chosen, services = _chosen(context.definitions, names)
    found, replayed, run_twice = static_findings(context, chosen, services), 0, 0
    with reusing():  # a replay runs the SQL of a transformation once for each row
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
        services=[spec.name for spec in services],
        replayed=replayed,
        run_twice=run_twice,
    )


def _chosen(definitions: Definitions, names: Sequence[str]) -> tuple[list[TrainingSetSpec], list[ServiceSpec]]:
    """Return the training sets and the services of these names, or all."""
    every, services = definitions.of(TrainingSetSpec), definitions.of(ServiceSpec)
    if not names:
        return list(every.values()), list(services.values())
    unknown = [name for name in names if name not in every and name not in services]
    if unknown:
        raise NotFoundError(
            f"there is no training set or service {unknown[0]!r}", hint=near(unknown[0], {**every, **services})
        )
    return [every[name] for name in names if name in every], [services[name] for name in names if name in services]


def _in_data(context: Context, spec: TrainingSetSpec, rows: int, seed: int) -> tuple[list[Finding], int]:
    """Return what the rows of a training set show, and how many were replayed."""
    try:
        with reading_once() as operation:
            built = assemble(context, spec, operation)
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
