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

__all__ = ["PRUNED", "Trials", "frozen", "reported"]

PRUNED = "sweep.pruned"
"""The tag of a run whose trial was given up, with the value at which it was."""
_SPACE = "sweep.space."
"""The beginning of the tag that holds where a parameter was drawn from."""
_SYSTEM = "sweep.sampler."
"""The beginning of the tags in which a sampler keeps what it needs for the next trial."""


def reported(metric: str) -> str:
    """Return the name of the metric that holds what a trial reports before it ends."""
    return f"{metric}/reported"


def frozen(run: Run | None, metric: str, points: Callable[[str, str], Points]) -> FrozenTrial:
    """Return the trial that a run is, for Optuna: one that failed, was broken off, lost or deleted is a failed one.

    Args:
        run: A run that a sweep made; None for one that was deleted.
        metric: What the sweep looks at.
        points: Returns the points of a metric of a run.
    """
    if run is None or run.deleted_at is not None:
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
    seen = points(run.id, reported(metric))
    given["intermediate_values"] = {
        int(step): float(value) for step, value in zip(seen.steps, seen.values, strict=True)
    }
    if PRUNED in run.tags:
        last = next(reversed(given["intermediate_values"].values()), None)
        return create_trial(state=TrialState.PRUNED, value=last, **given)
    if metric not in run.metrics:
        return create_trial(state=TrialState.FAIL, **given)
    return create_trial(state=TrialState.COMPLETE, value=run.metrics[metric], **given)


class Trials(InMemoryStorage):
    """The trials of a sweep in this process's memory, in the order of their numbers; what one of them draws is logged.

    Args:
        metric: What the sweep looks at.
        goal: Which value is the better one.
        sampler: Of Optuna.
        pruner: Of Optuna; None for the median pruner.
    """

    def __init__(self, metric: str, goal: Goal, sampler: Any, pruner: Any) -> None:
        super().__init__()
        self._metric = metric
        self._open: set[int] = set()
        self._logged = -1
        self._run: ActiveRun | None = None
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self._study = optuna.create_study(
                storage=self, sampler=sampler, pruner=pruner, direction="minimize" if goal == "min" else "maximize"
            )
        finally:
            optuna.logging.set_verbosity(before)

    def ask(
        self, number: int, run: ActiveRun, others: Mapping[int, Run], points: Callable[[str, str], Points]
    ) -> optuna.Trial:
        """Learn what became of the other trials, and begin one.

        Args:
            number: Of the trial.
            run: The trial's run.
            others: The runs of the others by their numbers; one that is not there was deleted.
            points: Returns the points of a metric of a run.
        """
        self._logged = -1
        for place in sorted(self._open):
            self._end(place, frozen(others.get(place), self._metric, points))
        for place in range(len(self._study.get_trials(deepcopy=False)), number):
            trial = frozen(others.get(place), self._metric, points)
            self._study.add_trial(trial)
            if not trial.state.is_finished():
                self._open.add(place)
        self._open.add(number)
        self._logged, self._run = number, run
        return self._study.ask()

    def _end(self, place: int, trial: FrozenTrial) -> None:
        """Take over what a trial that went on has come to."""
        known = self.get_trial(place).params
        for name, space in trial.distributions.items():
            if name not in known:
                self.set_trial_param(place, name, space.to_internal_repr(trial.params[name]), space)
        for step, value in trial.intermediate_values.items():
            self.set_trial_intermediate_value(place, step, value)
        for name, value in trial.system_attrs.items():
            self.set_trial_system_attr(place, name, value)
        if trial.state.is_finished():
            self.set_trial_state_values(place, trial.state, trial.values)
            self._open.discard(place)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Store a parameter, and log it."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        if self._run is not None and trial_id == self._logged:
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
        if self._run is not None and trial_id == self._logged:
            self._run.log_metric(reported(self._metric), intermediate_value, step)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store what a sampler needs, and log it."""
        super().set_trial_system_attr(trial_id, key, value)
        if self._run is not None and trial_id == self._logged:
            self._run.set_tags({_SYSTEM + key: json.dumps(value)})

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store what an objective says of a trial, and log it as a tag."""
        super().set_trial_user_attr(trial_id, key, value)
        if self._run is not None and trial_id == self._logged:
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
