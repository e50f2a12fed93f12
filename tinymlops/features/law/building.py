"""The build of a training set with the checks for leaks that cost next to nothing: every build has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.errors import LeakageError
from tinymlops.features.definitions.specs import TrainingSetSpec
from tinymlops.features.history import training_sets
from tinymlops.features.law.leaks import static_findings
from tinymlops.features.law.leaks_in_data import corrected_cells, fitted_later, single_features
from tinymlops.findings import sorted_out

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.findings import Finding

__all__ = ["build"]


def build(context: Context, name: str, **options: Any) -> TrainingData:
    """Build a training set and record it, unless its definitions leak.

    What was found and is not a leak is in `data.findings`, which the data show: a feature that alone tells the outcome is a
    warning there, not one of Python's, for in a table that was made up it is no surprise.

    Args:
        context: The workspace's state.
        name: The training set's name.
        options: As for `tinymlops.features.history.training_sets.build`.

    Raises:
        LeakageError: If a definition lets the future in, and `tinymlops.toml` does not allow it.
        DataError: If no row is left to train on, or the workspace has not come to that sequence.
    """
    allowed = context.config.lint.allow
    found, _ = sorted_out(static_findings(context, [context.definitions.get(TrainingSetSpec, name)]), allowed)
    for one in found:
        if one.level == "leak":
            raise _refused(name, one)
    data = training_sets.build(context, name, **options)
    in_data = single_features(name, {one.name: one for one in data.train.X}, data.train.y)
    late = fitted_later(name, data.embeddings, data.times())
    in_data, _ = sorted_out([*in_data, *corrected_cells(name, data.report.knowledge), *late], allowed)
    data.findings = [*found, *in_data]
    return data


def _refused(name: str, finding: Finding) -> LeakageError:
    said = f'allow = [{{finding = "{finding.name}", reason = "..."}}]'
    return LeakageError(
        f"training set {name!r} leaks: {finding.message}",
        hint=f"{finding.fix}; if it is no leak, say why under [lint] in tinymlops.toml: {said}",
    )
