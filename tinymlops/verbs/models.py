"""Runs and models: tracked, registered, promoted, asked, and compared with what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, overload

from tinymlops.errors import DataError
from tinymlops.opened import OpenWorkspace

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.frames import Frame
    from tinymlops.monitoring.report import MonitorReport
    from tinymlops.records import ModelAlias, ModelVersion, Run
    from tinymlops.serving.batch import BatchReport
    from tinymlops.serving.model import Model
    from tinymlops.serving.outcomes import OutcomeReport
    from tinymlops.serving.prediction import Predictions
    from tinymlops.training.group_comparison import GroupComparison
    from tinymlops.training.run_comparison import RunComparison
    from tinymlops.training.tracking import ActiveRun

__all__ = ["ModelVerbs"]


class ModelVerbs(OpenWorkspace):
    """Runs and models: tracked, registered, promoted, asked, and compared with what happened."""

    def start_run(
        self,
        name: str | None = None,
        *,
        data: TrainingData | None = None,
        experiment: str | None = None,
        group: str | None = None,
        parent: ActiveRun | Run | str | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, object] | None = None,
        notes: str | None = None,
        resume: ActiveRun | Run | str | None = None,
        system: bool = True,
        console: bool = True,
        patch: bool = True,
    ) -> ActiveRun:
        """Begin an experiment run; a `with` block finishes it, an exception in it fails it.

        Several runs may go on at once, in any threads: each is logged to by its own object.

        Args:
            name: What to call it; several runs may have the same name. May be left out with `resume`.
            data: The training data it uses; needed to log a model.
            experiment: The name of the experiment that it belongs to, created if need be.
            group: What it is one of, such as the seeds or folds of one configuration.
            parent: The run that starts it, or its id.
            params: Its first parameters.
            tags: Text to find it by.
            notes: What people should know of it.
            resume: A run that has ended or was lost: it goes on, and steps logged again supersede those before.
            system: Whether to log the load of the machine every ten seconds, as metrics below `system/`.
            console: Whether to keep what this process prints.
            patch: Whether to keep the uncommitted changes of tracked files.

        Raises:
            ConflictError: If the run to resume goes on, or the experiment is in the trash.
            NotFoundError: If there is no run to resume, or no such parent.
        """
        from tinymlops.training.tracking import ActiveRun

        self._environment.check()
        parent_id = self.runs.get(_id_of(parent)).id if parent is not None else None
        if resume is not None:
            before = self.runs.get(_id_of(resume))
            if name is not None and name != before.name:
                raise DataError(
                    f"the run to resume is named {before.name!r}, not {name!r}",
                    hint="leave the name out, or use its own",
                )
            run = self.runs.resume(before.id)
            active = ActiveRun(self.runs, run, clock=self._clock, data=data, system=system, console=console)
            _add_to_resumed(active, params=params, tags=tags, notes=notes)
            return active
        if name is None:
            raise DataError("a run needs a name", hint="ws.start_run('baseline')")
        run = self.runs.start(
            name,
            experiment=experiment,
            group=group,
            parent=parent_id,
            params=params,
            tags=tags,
            notes=notes,
            training_set=data.build_id if data is not None else None,
            patch=patch,
        )
        return ActiveRun(self.runs, run, clock=self._clock, data=data, system=system, console=console)

    def search_runs(
        self,
        where: str | None = None,
        *,
        order_by: str | Sequence[str] = "-started_at",
        limit: int | None = 100,
        offset: int = 0,
    ) -> pl.DataFrame:
        """Find runs, as a table: a row a run, a column for every metric, parameter and tag.

        `metrics.auc` is the last value; `metrics.auc.best` stands beside it where a run logged more than one, and other parts,
        such as `metrics.auc.min`, where the search names them.

        Args:
            where: Such as "metrics.auc > 0.7 and (params.depth = 3 or not tags.team in ('ops', 'web'))".
            order_by: A field, descending with a leading minus, or several: ["-metrics.auc.best", "name"].
            limit: At most so many; None for all.
            offset: How many to leave out before them.
        """
        from tinymlops.training.run_table import runs_table

        return runs_table(self.runs, where, order_by, limit, offset)

    @overload
    def compare(self, runs: str | Sequence[ActiveRun | Run | str], *, by: None = None) -> RunComparison: ...

    @overload
    def compare(
        self, runs: str | Sequence[ActiveRun | Run | str], *, by: str | Sequence[str], metric: str | None = None
    ) -> GroupComparison: ...

    def compare(
        self,
        runs: str | Sequence[ActiveRun | Run | str],
        *,
        by: str | Sequence[str] | None = None,
        metric: str | None = None,
    ) -> RunComparison | GroupComparison:
        """Compare runs: of all that is known of them only what differs; or groups of runs, by the means of their metrics.

        That is parameters, metrics, packages, machine, commit and uncommitted changes, the training set with its definitions
        and row counts, and more; the curves of a metric are those of the result.

        Args:
            runs: Runs, their ids, the beginnings of these, or names; or one text: a group, or a search.
            by: What the runs of a group have in common, such as "group" or ["params.depth", "params.rate"]: the seeds or folds
                of one configuration are one group.
            metric: With `by`: the only metric to compare, such as "auc" or "auc.best".

        Raises:
            DataError: If there are fewer than two runs, or they cannot be grouped by that.
            NotFoundError: If there is no such run or metric.
        """
        from tinymlops.training.chosen_runs import chosen_runs

        if by is not None:
            from tinymlops.training.group_comparison import compare_groups

            return compare_groups(self.runs, chosen_runs(self.runs, runs), by, metric)
        if metric is not None:
            raise DataError("metric is for groups", hint='ws.compare(runs, by="group", metric="auc")')
        from tinymlops.training.run_comparison import compare_runs

        return compare_runs(self._context(), self.runs, chosen_runs(self.runs, runs))

    def register_model(
        self, name: str, *, run: ActiveRun | Run | str, logged_name: str = "model", alias: str | None = None
    ) -> ModelVersion:
        """Make a logged model the next version of a name.

        Args:
            name: Of the model, such as "delay".
            run: A run, its id, the beginning of it, or its name.
            logged_name: What the run logged it as.
            alias: Point this alias, such as "champion", at it in the same transaction.

        Raises:
            DefinitionError: If the model needs Python code that lives only in a notebook.
            UntrustedModelError: If it was logged with trust in a type that `tinymlops.toml` does not list.
        """
        from tinymlops.serving.model import require_servable

        self._environment.check()
        require_servable(self.models, run, logged_name, self._config.trusted_types)
        return self.models.register(name, run, logged_name=logged_name, alias=alias)

    def load_model(self, reference: str) -> Model:
        """Return a registered model, checked against its hash.

        Args:
            reference: "delay" (its champion, else its newest version), "delay@latest", "delay@challenger" or "delay:3".
        """
        with self._environment.online.read() as snapshot:
            return self._resolver.resolve(self._context_in(snapshot), snapshot, reference)

    def promote(
        self,
        name: str,
        version: int,
        alias: str = "champion",
        *,
        expected: int | None = None,
        force: bool = False,
        message: str = "",
    ) -> ModelAlias:
        """Point an alias at a version.

        Args:
            name: Of the model.
            version: To point at.
            alias: To move, made if need be.
            expected: Move it only from this version (0: only if it does not exist); None moves it from anywhere.
            force: Let a version that is marked experimental be the champion.
            message: Why; kept with the version in the same commit, and `ws.catalog.why` shows it.
        """
        self._environment.check()
        return self.models.promote(name, version, alias, expected=expected, force=force, message=message)

    def predict(
        self,
        reference: str,
        rows: Frame,
        *,
        details: bool = False,
        sync: bool = False,
        consumer: str | None = None,
        request_id: str | None = None,
    ) -> Predictions:
        """Predict as of now, by the workspace's clock, and log the answers with the features they were made from.

        Args:
            reference: As for `load_model`.
            rows: Entity keys and request fields (the features are read online), or full rows of features: any table or dicts.
            details: Add the status of each feature.
            sync: Return only once the predictions are durable; otherwise they are within half a second.
            consumer: Who asks, such as "billing": `ws.lineage` names it. No answer waits for that.
            request_id: 27 hexadecimal digits, of which the first 12 are milliseconds since 1970: the ids of the answers are
                made of it, so that a request that is sent twice is logged once.
        """
        from tinymlops.serving.one_row import read_row
        from tinymlops.serving.prediction import predict

        reader = self._reader(consumer)
        self._environment.check()  # an answer is given only where it can be logged
        with self._environment.online.read() as snapshot:
            context = self._context_in(snapshot)
            model = self._resolver.resolve(context, snapshot, reference)
            row = None if details else read_row(context, snapshot, model, rows)
        answer = predict(context, model, rows, self._log, row=row, details=details, sync=sync, request_id=request_id)
        name = f"{answer.model}:{answer.version}"
        self._readers.note(reader, "model", (name,), lambda: (name,), self._clock)
        return answer

    def predict_batch(
        self, reference: str, rows: Frame | str | Path, output: str | Path, *, timestamp: str | None = None
    ) -> BatchReport:
        """Predict for a whole table and write a Parquet or CSV file; nothing is logged.

        Args:
            reference: As for `load_model`.
            rows: A table, or a Parquet or CSV file: entity keys and request fields, or full rows of features.
            output: The file to write, complete or not at all: CSV if it is named `.csv`, else Parquet.
            timestamp: Column of prediction times: features are those known then. Without it, those of now.
        """
        from tinymlops.serving.batch import predict_batch

        return predict_batch(self._context(), self.load_model(reference), rows, Path(output), timestamp=timestamp)

    def log_outcomes(self, rows: Frame) -> OutcomeReport:
        """Say what really happened: a table, or a list of dicts, of `prediction_id` and `value`.

        An unknown prediction's outcome is kept and joined later; a second one for the same prediction replaces the first.
        """
        from tinymlops.serving.outcomes import log_outcomes

        self._log.flush()
        return log_outcomes(self._context(), rows)

    def collect_outcomes(self, reference: str) -> int:
        """Store the outcomes of a model version's predictions that the label's source knows by now; return how many."""
        from tinymlops.serving.model import describe_model
        from tinymlops.serving.outcomes import collect_outcomes

        self._log.flush()
        return collect_outcomes(self._context(), describe_model(self.models, reference))

    def monitor(
        self,
        reference: str,
        *,
        since: datetime | date | str | None = None,
        until: datetime | date | str | None = None,
        keep: bool = False,
    ) -> MonitorReport:
        """Compare a model version's predictions with what happened, and their features with the training rows.

        Args:
            reference: As for `load_model`.
            since: Only predictions from this moment on.
            until: Only predictions before this moment.
            keep: Keep the report for the pages, in place of the one before of this day; else nothing is written.

        Raises:
            DataError: If only a part of the predictions is to be kept: what is kept of each day is of all.
        """
        from tinymlops.monitoring.keeping import keep_report
        from tinymlops.monitoring.report import monitor
        from tinymlops.serving.model import describe_model

        if keep and (since is not None or until is not None):
            raise DataError("a report on a part of the predictions is not kept", hint="leave out since and until")
        self._log.flush()
        context = self._context()
        report = monitor(context, describe_model(self.models, reference), since=since, until=until)
        if keep:
            keep_report(context.scope, report)
        return report


def _id_of(run: ActiveRun | Run | str) -> str:
    return run if isinstance(run, str) else run.id


def _add_to_resumed(
    active: ActiveRun,
    *,
    params: Mapping[str, object] | None,
    tags: Mapping[str, object] | None,
    notes: str | None,
) -> None:
    try:
        active.log_params(params)
        if tags:
            active.set_tags(tags)
        if notes is not None:
            active.set_notes(notes)
    except BaseException as error:
        active.finish(status="failed", error=str(error))
        raise
