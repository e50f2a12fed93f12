"""Run a sweep: claim a trial, ask Optuna for its parameters, run it as a run of its own, until there are enough."""

from __future__ import annotations

import hashlib
import inspect
import math
import time
import warnings
from typing import TYPE_CHECKING, Any

from tinymlops.errors import ConflictError, DataError, DefinitionError, MissingDependencyError, NotFoundError, is_fault
from tinymlops.goals import goal_of
from tinymlops.progress import progress
from tinymlops.registry.runs.values import checked_name
from tinymlops.training.ablation.code import code_of
from tinymlops.training.ablation.scoring import seeded
from tinymlops.training.sweeps.report import KIND, NUMBER, Sweep, sweep_of, trials_under
from tinymlops.training.tracking import ActiveRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.goals import Goal
    from tinymlops.records import Run
    from tinymlops.registry.runs import Runs
    from tinymlops.times import Clock
    from tinymlops.training.sweeps.study import Trials

__all__ = ["sweep"]

_ATTEMPTS, _WAIT = 400, 0.01
_MOST_SWEEPS = 1_000
"""The most sweeps of one name that were thrown away."""


def sweep(
    runs: Runs,
    objective: Callable[..., float],
    *,
    clock: Clock,
    name: str,
    trials: int,
    metric: str = "score",
    goal: Goal | None = None,
    seed: int = 0,
    sampler: Any = None,
    pruner: Any = None,
    experiment: str | None = None,
) -> Sweep:
    """Run trials until a sweep has so many, beside other processes that do the same.

    Args:
        runs: The workspace's runs.
        objective: A function of an Optuna trial, or of a trial and its run, that returns a number.
        clock: The workspace's time.
        name: What the sweep is called: the same name again, here or in another process, goes on with it.
        trials: How many trials it has in the end: those that finished, were pruned or failed.
        metric: What the number is.
        goal: "min" or "max"; None to tell by the metric's name.
        seed: Of the sampler, and of Python's and NumPy's chance in a trial, each with the trial's number.
        sampler: Of Optuna; None for TPE.
        pruner: Of Optuna; None for the median pruner.
        experiment: Of all the runs.

    Raises:
        MissingDependencyError: If Optuna is not installed.
        ConflictError: If the sweep was begun with another objective, metric or goal.
    """
    _require_optuna()
    _check(objective, trials, goal, seed)
    _check_parts(sampler, pruner)
    checked_name(metric, "a metric's name")
    goal = goal or goal_of(metric)
    parent = _parent(runs, objective, name=name, metric=metric, goal=goal, seed=seed, experiment=experiment)
    known: Trials | None = None
    with progress(f"sweep {name}", trials) as advance:
        while (run := _claim(runs, parent, trials)) is not None:
            number = int(run.tags[NUMBER])
            if known is None:
                known = _trials(metric, goal, sampler or _sampler(seed + number), pruner)
            _try(runs, ActiveRun(runs, run, clock=clock), number, objective, parent, known)
            advance(1)
    found = sweep_of(runs, parent.id)
    if found.values:
        runs.log_metrics(parent.id, {metric: found.best.value}, step=len(found.trials))
    runs.finish(parent.id)
    return sweep_of(runs, parent.id)


def _require_optuna() -> None:
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError("a sweep needs Optuna", hint="pip install 'tinymlops[sweeps]'") from error


def _check(objective: Any, trials: int, goal: str | None, seed: int) -> None:
    if not callable(objective):
        raise DefinitionError(
            f"objective={objective!r:.100} is not a function", hint="def objective(trial): return ..."
        )
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise DefinitionError(f"trials={trials!r} is not possible", hint="use a whole number from 1 on")
    if goal not in (None, "min", "max"):
        raise DefinitionError(f"goal={goal!r} is not possible", hint="use 'min' or 'max'")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise DefinitionError(f"seed={seed!r} is not possible", hint="use a whole number from 0 on")


def _check_parts(sampler: Any, pruner: Any) -> None:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

    for name, value, kind in (("sampler", sampler, BaseSampler), ("pruner", pruner, BasePruner)):
        if not (value is None or isinstance(value, kind)):
            raise DefinitionError(
                f"{name}={value!r:.100} is not a {name} of Optuna", hint=f"see optuna.{name}s, or leave it out"
            )


def _parent(
    runs: Runs, objective: Any, *, name: str, metric: str, goal: Goal, seed: int, experiment: str | None
) -> Run:
    """Return the run that all trials of a sweep are under; the first process makes it.

    It ends at once: no process may be the one that keeps it going, for any of them may die.
    """
    code = code_of(objective)
    said = {"metric": metric, "goal": goal, "objective": code.name, "code": code.digest}
    for place in range(_MOST_SWEEPS):
        own = hashlib.sha256(repr((experiment, name, place)).encode()).hexdigest()[:32]
        found = _there(runs, own)
        if found is None:
            try:
                found = runs.start(
                    name, id=own, experiment=experiment, tags={KIND: "sweep"}, params={**said, "seed": seed}
                )
                found = runs.finish(found.id)
            except ConflictError as error:  # another process was first
                found = _awaited(runs, own, error)
        if found.deleted_at is None:
            _require_same(found, said)
            return found
    raise ConflictError(f"{_MOST_SWEEPS} sweeps {name!r} are in the trash", hint="give it another name")


def _there(runs: Runs, run: str) -> Run | None:
    try:
        return runs.get(run)
    except NotFoundError:
        return None


def _awaited(runs: Runs, run: str, error: ConflictError) -> Run:
    """Return a run that another process is about to begin."""
    for _ in range(_ATTEMPTS):
        found = _there(runs, run)
        if found is not None:
            return found
        time.sleep(_WAIT)
    raise error


def _require_same(parent: Run, said: dict[str, str]) -> None:
    changed = [
        "the code of the objective" if key == "code" else f"{key} {parent.params.get(key)!r} is now {value!r}"
        for key, value in said.items()
        if parent.params.get(key) != value
    ]
    if changed:
        raise ConflictError(
            f"sweep {parent.name!r} was begun otherwise: {', '.join(changed)}", hint="give the sweep another name="
        )


def _claim(runs: Runs, parent: Run, trials: int) -> Run | None:
    """Start the run of the next trial; None if there are enough. Two processes never have the same number."""
    least = 0
    for _ in range(_ATTEMPTS):
        found = trials_under(runs, parent.id)
        if sum(trial.counts for trial in found) >= trials:
            return None
        number = max([least, *(trial.number + 1 for trial in found)])
        own = hashlib.sha256(f"{parent.id}:{number}".encode()).hexdigest()[:32]
        try:
            return runs.start(
                f"{parent.name} {number}",
                experiment=parent.experiment,
                parent=parent.id,
                group=parent.name,
                id=own,
                tags={NUMBER: number},
            )
        except ConflictError as error:  # another process was first
            _awaited(runs, own, error)
            least = number + 1
    raise ConflictError(f"no trial of sweep {parent.name!r} can be begun", hint="is its experiment in the trash?")


def _try(runs: Runs, run: ActiveRun, number: int, objective: Callable[..., float], parent: Run, known: Trials) -> None:
    """Run one trial; one that fails is told, and the sweep goes on."""
    import optuna

    from tinymlops.training.sweeps.study import PRUNED

    try:
        others = {int(other.tags[NUMBER]): other for other in runs.children(parent.id) if NUMBER in other.tags}
        trial = known.ask(number, run, others, runs.points)
        with seeded((int(parent.params["seed"] or 0) + number) % 2**32):
            value = _number(objective(trial, run) if _takes_run(objective) else objective(trial))
    except optuna.TrialPruned:
        run.set_tags({PRUNED: "true"})
        run.finish()
    except BaseException as error:
        fault = is_fault(error)
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        run.finish(status="failed" if fault else "killed", error=said)
        if not fault:
            raise
    else:
        run.log_metric(str(parent.params["metric"]), value)
        run.finish()


def _trials(metric: str, goal: Goal, sampler: Any, pruner: Any) -> Trials:
    from tinymlops.training.sweeps.study import Trials

    return Trials(metric, goal, sampler, pruner)


def _sampler(seed: int) -> Any:
    """Return the sampler of a process: seeded with its first trial, so that no two processes draw the same."""
    import optuna

    with warnings.catch_warnings():  # Optuna 4 calls this option experimental
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed % 2**32, constant_liar=True)


def _takes_run(objective: Callable[..., float]) -> bool:
    try:
        parameters = inspect.signature(objective).parameters.values()
    except (TypeError, ValueError):
        return False
    required = [
        one
        for one in parameters
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty
    ]
    return len(required) > 1


def _number(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"the objective returned {value!r:.100}, not a number", hint="return one number") from error
    if math.isnan(number):
        raise DataError("the objective returned nan", hint="return a number, or raise optuna.TrialPruned()")
    return number
