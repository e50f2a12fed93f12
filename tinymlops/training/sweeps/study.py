"""An Optuna study made of runs, and runs made of its trials."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from tinymlops.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from optuna.distributions import BaseDistribution

    from tinymlops.goals import Goal
    from tinymlops.records import Run
    from tinymlops.registry.runs.points import Points
    from tinymlops.training.tracking import ActiveRun

__all__ = ["PRUNED", "RunningTrial", "frozen", "reported", "study_of"]

PRUNED = "sweep.pruned"
"""The tag of a run whose trial was given up, with the value at which it was."""
_SPACE = "sweep.space."
"""The beginning of the tag that holds where a parameter was drawn from."""
_SYSTEM = "sweep.sampler."
"""The beginning of the tags in which a sampler keeps what it needs for the next trial."""


def reported(metric: str) -> str:
    """Return the name of the metric that holds what a trial reports before it ends."""
    return f"{metric}/reported"


def frozen(run: Run | None, metric: str, points: Callable[[str], Points]) -> FrozenTrial:
    """Return the trial that a run is, for Optuna: one that failed, was broken off, lost or deleted is a failed one.

    Args:
        run: A run that a sweep made; None for one that was deleted.
        metric: What the sweep looks at.
        points: Returns the points of a metric of the run.
    """
    if run is None:
        return create_trial(state=TrialState.FAIL)
    spaces = {name: json_to_distribution(text) for name, text in _parts(run.tags, _SPACE).items()}
    given: dict[str, Any] = {
        "params": {name: _of_space(run.params[name], space) for name, space in spaces.items() if name in run.params},
        "system_attrs": {name: json.loads(text) for name, text in _parts(run.tags, _SYSTEM).items()},
    }
    given["distributions"] = {name: spaces[name] for name in given["params"]}
    if run.status == "running":
        return create_trial(state=TrialState.RUNNING, **given)
    if run.status != "finished":
        return create_trial(state=TrialState.FAIL, **given)
    seen = points(reported(metric))
    given["intermediate_values"] = {
        int(step): float(value) for step, value in zip(seen.steps, seen.values, strict=True)
    }
    if PRUNED in run.tags:
        last = next(reversed(given["intermediate_values"].values()), None)
        return create_trial(state=TrialState.PRUNED, value=last, **given)
    if metric not in run.metrics:
        return create_trial(state=TrialState.FAIL, **given)
    return create_trial(state=TrialState.COMPLETE, value=run.metrics[metric], **given)


def study_of(
    trials: list[FrozenTrial], storage: InMemoryStorage, *, goal: Goal, sampler: Any, pruner: Any
) -> optuna.Study:
    """Return a study in memory that knows these trials."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(
            storage=storage, sampler=sampler, pruner=pruner, direction="minimize" if goal == "min" else "maximize"
        )
    finally:
        optuna.logging.set_verbosity(before)
    study.add_trials(trials)
    return study


class RunningTrial(InMemoryStorage):
    """Optuna's storage in memory, which logs the one trial that is asked for to its run.

    Args:
        run: The trial's run.
        metric: What the sweep looks at.
    """

    def __init__(self, run: ActiveRun, metric: str) -> None:
        super().__init__()
        self._run, self._metric = run, metric
        self.logged: int | None = None
        """The number of the trial that is logged; trials before it are known already."""

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Store a parameter, and log it."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        if trial_id == self.logged:
            value = distribution.to_external_repr(param_value_internal)
            if not (value is None or isinstance(value, bool | int | float | str)):
                raise DataError(
                    f"parameter {param_name!r} is {value!r:.100}, which a run cannot log",
                    hint="choose among texts, numbers, booleans and None, and look up the object by it",
                )
            self._run.set_tags({_SPACE + param_name: distribution_to_json(distribution)})
            self._run.log_params({param_name: value})

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """Store what a trial reports, and log it."""
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        if trial_id == self.logged:
            self._run.log_metric(reported(self._metric), intermediate_value, step)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store what a sampler needs, and log it."""
        super().set_trial_system_attr(trial_id, key, value)
        if trial_id == self.logged:
            self._run.set_tags({_SYSTEM + key: json.dumps(value)})

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store what an objective says of a trial, and log it as a tag."""
        super().set_trial_user_attr(trial_id, key, value)
        if trial_id == self.logged:
            self._run.set_tags({key: value})


def _parts(tags: Mapping[str, str], beginning: str) -> dict[str, str]:
    return {name.removeprefix(beginning): text for name, text in tags.items() if name.startswith(beginning)}


def _of_space(value: Any, space: BaseDistribution) -> Any:
    """Return a logged parameter as its distribution knows it: JSON has one zero, and no 1.0 beside 1 for categories."""
    if isinstance(space, optuna.distributions.CategoricalDistribution):
        return next((one for one in space.choices if type(one) is type(value) and one == value), value)
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"a parameter of a trial is {value}", hint="trash the run")
    return value
