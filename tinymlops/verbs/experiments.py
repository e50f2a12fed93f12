"""Experiments made of many runs: what each part of the data adds, and a search for good parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.opened import OpenWorkspace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.goals import Goal
    from tinymlops.records import Run
    from tinymlops.training.ablation.drops import Drop
    from tinymlops.training.ablation.report import Ablation
    from tinymlops.training.backtest import Backtest
    from tinymlops.training.sweeps.report import Sweep

__all__ = ["ExperimentVerbs"]


class ExperimentVerbs(OpenWorkspace):
    """Experiments made of many runs: what each part of the data adds, and a search for good parameters."""

    def ablate(
        self,
        data: TrainingData,
        train: Any,
        *,
        drop: Drop | Mapping[str, Sequence[str]] = "view",
        folds: Backtest | None = None,
        metric: str | None = None,
        seed: int = 0,
        name: str | None = None,
        experiment: str | None = None,
        resume: Ablation | Run | str | None = None,
    ) -> Ablation:
        """Train without one thing after the other, on each fold, and say how much worse the model is without it.

        Each training is a run, under a parent run. One that fails is told, and the others go on.

        Args:
            data: Training data. `data.train` is split into folds, and `data.test` stays unseen.
            train: A function of X and y that returns a fitted model, or an estimator, of which a copy is fitted.
            drop: "view" leaves out all features of a view, in every role and version; "feature" one at a time; "variant"
                a version of a view that has another one beside it; a dict has names of your own, each with features.
            folds: Such as `tm.backtest(every="1mo")`; None for the one split that the data were built with.
            metric: What to rank by, of those of an evaluation; None for the first of auc, log_loss, rmse that there is.
            seed: Of Python's and NumPy's chance, the same in each training.
            name: Of the parent run.
            experiment: Of all the runs, created if need be.
            resume: An ablation that was broken off: what is done stays, the rest is done, and what failed is tried again.

        Raises:
            ConflictError: If an ablation to resume was begun with other data or code (it names them), or goes on elsewhere.
            DataError: If no fold can be used, nothing can be left out, or no training with everything succeeds.
        """
        from tinymlops.training.ablation.running import ablate

        self._environment.check()
        return ablate(
            self.runs,
            data,
            train,
            drop=drop,
            folds=folds,
            metric=metric,
            seed=seed,
            name=name,
            experiment=experiment,
            resume=None if resume is None else _reference(resume),
        )

    def ablation(self, run: Ablation | Run | str, *, metric: str | None = None) -> Ablation:
        """Return what an ablation has found so far, from its stored runs.

        Args:
            run: Its parent run: an id, the beginning of one, or its name.
            metric: Rank by another metric that its runs have.
        """
        from tinymlops.training.ablation.running import stored_ablation

        return stored_ablation(self.runs, _reference(run), metric=metric)

    def sweep(
        self,
        objective: Callable[..., float],
        *,
        name: str,
        trials: int,
        metric: str = "score",
        goal: Goal | None = None,
        seed: int = 0,
        sampler: Any = None,
        pruner: Any = None,
        experiment: str | None = None,
    ) -> Sweep:
        """Search for good parameters with Optuna, until the sweep of this name has so many trials.

        The same call in several processes works on the same sweep, and again later it goes on. Each trial is a run with its
        parameters, and what `trial.report` says as points. One that fails is told, and the sweep goes on. In place of a trial
        whose process died comes another.

        Args:
            objective: A function of an Optuna trial, or of a trial and its run, that returns a number.
            name: What the sweep is called.
            trials: How many trials it has in the end: those that finished, were pruned or failed.
            metric: What the number is.
            goal: "min" or "max"; None to tell by the metric's name, such as "min" for "log_loss".
            seed: Of the sampler, and of Python's and NumPy's chance in a trial.
            sampler: Of Optuna; None for TPE.
            pruner: Of Optuna; None for the median pruner.
            experiment: Of all the runs, created if need be.

        Raises:
            MissingDependencyError: If Optuna is not installed.
            ConflictError: If the sweep of this name was begun with another objective, metric or goal.
        """
        from tinymlops.training.sweeps.running import sweep

        self._environment.check()
        return sweep(
            self.runs,
            objective,
            clock=self._clock,
            name=name,
            trials=trials,
            metric=metric,
            goal=goal,
            seed=seed,
            sampler=sampler,
            pruner=pruner,
            experiment=experiment,
        )

    def trials(self, run: Sweep | Run | str) -> Sweep:
        """Return the trials of a sweep so far, the best first, from their stored runs.

        Args:
            run: The sweep's run: an id, the beginning of one, or its name.
        """
        from tinymlops.training.sweeps.report import sweep_of

        return sweep_of(self.runs, _reference(run))


def _reference(run: Any) -> str:
    """Return the id of a run, or of the run that a report is about."""
    if isinstance(run, str):
        return run
    found = getattr(run, "id", None) or getattr(run, "run", None)
    return found if isinstance(found, str) else str(run)
