"""`Workspace`: the state of a project in one directory. Every verb is here and only delegates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from tinymlops._forks import require_threads
from tinymlops.errors import DataError, TinyMLOpsError, near
from tinymlops.times import Clock, parse_duration, parse_instant, system_clock, to_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.config import Config
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.applied import Noun
    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.definitions.nouns import FeatureView, Source, TrainingSet
    from tinymlops.features.definitions.project import Project
    from tinymlops.features.definitions.specs import FeatureRequest
    from tinymlops.features.history.dataset_rows import SavedDataset
    from tinymlops.features.history.reproducing import VerifiedBuild
    from tinymlops.features.history.saving import Datasets
    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.features.intake.compaction import Compacted
    from tinymlops.features.intake.pushing import Pushed
    from tinymlops.features.online.materialization import Covered
    from tinymlops.features.online.reading import OnlineFeatures
    from tinymlops.features.planning import Plan
    from tinymlops.frames import Frame
    from tinymlops.monitoring.report import MonitorReport
    from tinymlops.records import Ingestion, ModelAlias, ModelVersion, Run
    from tinymlops.registry.scope import Scope
    from tinymlops.serving.batch import BatchReport
    from tinymlops.serving.model import Model
    from tinymlops.serving.outcomes import OutcomeReport
    from tinymlops.serving.prediction import Predictions
    from tinymlops.serving.verifying import VerifiedOnline
    from tinymlops.stores.backup import Backup
    from tinymlops.stores.collection import Collected
    from tinymlops.stores.online import Snapshot
    from tinymlops.training.tracking import ActiveRun

__all__ = ["Workspace", "connect", "restore"]


def connect(
    path: str | Path, *, create: bool = False, clock: Clock = system_clock, root: str | Path | None = None
) -> Workspace:
    """Open a workspace directory; one on a network file system, or that others may enter, is warned of once per process.

    Args:
        path: The directory, such as "flights.tm".
        create: Make it if it does not exist.
        clock: The time, as an aware UTC datetime; a `ReplayClock` serves the past as it was.
        root: The project's directory, where relative paths in SQL start and `tinymlops.toml` is, if there is one;
            by default the directory that holds the workspace. Its `threads` cap the kernels of the whole process.

    Raises:
        NotFoundError: If it is no workspace, with the near match.
        AccessError: If it may not be written, or made there.
        DefinitionError: If `tinymlops.toml` cannot be used.

    Example:
        >>> import tempfile
        >>> with connect(Path(tempfile.mkdtemp()) / "shop.tm", create=True) as ws:
        ...     ws.catalog
        <catalog: 0 definitions>
    """
    from tinymlops.config import read_config
    from tinymlops.registry.scope import Scope, system_user
    from tinymlops.stores.environment import open_environment
    from tinymlops.stores.file_systems import warn_of_place

    project = Path(root if root is not None else Path(path).resolve().parent).resolve()
    config = read_config(project)
    environment = open_environment(Path(path), create=create, clock=clock)
    workspace = Workspace(Scope(environment, clock, system_user()), project, config)
    try:
        warn_of_place(environment.path)
        _cap(config.threads)
        workspace._recover()  # noqa: SLF001
    except BaseException:
        workspace.close()  # else the next attempt would find the stores in the state that made this one fail
        raise
    return workspace


def _cap(threads: int | None) -> None:
    """Let the kernels' pool, which the whole process shares, have so many threads; None leaves it as it is."""
    if threads is not None:
        from tinymlops.kernels.threads import set_threads

        set_threads(threads)


def restore(backup: str | Path, path: str | Path) -> Backup:
    """Make a workspace of a backup, after checking every file of it.

    Args:
        backup: The directory that `ws.backup` made.
        path: The workspace's directory, which does not exist yet; it appears complete or not at all.

    Raises:
        NotFoundError: If it is no backup.
        IntegrityError: If a file of it is missing or damaged; nothing is restored then.
    """
    from tinymlops.progress import progress
    from tinymlops.stores.backup import read_manifest
    from tinymlops.stores.backup import restore as restored

    source = Path(backup)
    with progress("restoring", read_manifest(source).bytes) as advance:
        return restored(source, Path(path), advance=advance)


class Workspace:
    """A project's state: definitions, history, features, runs, models and predictions. Made by `connect`.

    A context manager. The verbs of the daily path are its methods; the rest lives on what it hands out.

    Attributes:
        catalog: The definitions in force.
        runs: Experiment runs: `list`, `get`, `metrics`, `artifacts`, ...
        models: Registered models: `versions`, `aliases`, `rollback`, `manifest`, ...
    """

    def __init__(self, scope: Scope, root: Path, config: Config) -> None:
        from tinymlops.features.in_force import in_force
        from tinymlops.registry.catalog import Catalog
        from tinymlops.registry.models import Models
        from tinymlops.registry.runs import Runs
        from tinymlops.serving.log import prediction_log
        from tinymlops.serving.resolve import Resolver

        self._scope = scope
        self._environment = scope.environment
        self._clock = scope.clock
        self._root = root
        self._config = config
        self._functions: dict[str, Callable[..., Any]] = {}
        self._known: Context | None = None
        self._read_online: Callable[..., OnlineFeatures] | None = None
        self._closed = False
        self._log = prediction_log(scope.environment.database)
        self.catalog = Catalog(scope)
        self._in_force = in_force(self.catalog)
        self.runs = Runs(scope)
        self.models = Models(scope)
        self._resolver = Resolver(self.models)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<workspace {self._environment.path.name}: {len(self.catalog.list())} definitions>"

    def close(self) -> None:
        """Give the directory back; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            try:
                self._log.close()
            finally:
                self._environment.release()

    def plan(self, project: Project) -> Plan:
        """Say what `apply` would change, after checking that the definitions fit together; no source is read.

        Raises:
            NotFoundError: If a name resolves to nothing, with the near match.
            DefinitionError: If definitions do not fit together.
            LeakageError: If a label has no time.
            ConflictError: If another project of the workspace has a definition of the same kind and name, or a renamed
                source would share the rows of another.
        """
        from tinymlops.features.context import definitions_of
        from tinymlops.features.definitions.aliases import check_aliases
        from tinymlops.features.definitions.definitions import Definitions
        from tinymlops.features.history.reading_notes import ways_of_reading
        from tinymlops.features.planning import plan
        from tinymlops.features.standing import check_renames, notes_on_stored_rows

        functions, renamed = project.functions(), project.renamed()
        planned = plan(project.specs(), self.catalog, project=project.name, functions=functions)
        context = self._context().with_project(project.specs(), functions)
        check_renames(context, renamed)
        others = definitions_of(row for row in self.catalog.list() if row.project != project.name)
        everything = context.with_definitions(Definitions([*project.specs(), *others.all]))
        check_aliases(everything.definitions)
        planned.notes += [*ways_of_reading(context), *notes_on_stored_rows(everything, self.models, renamed)]
        return planned

    def apply(self, project: Project) -> Plan:
        """Make a project's definitions the ones in force, after checking their columns and types where those are known.

        The columns of SQL, of lazy frames and of pushes are known without reading a row; those of other functions
        only once they were ingested. A definition that does not fit is refused, and nothing is written.

        Returns:
            What was changed, with a note for each source whose columns are not known yet.

        Raises:
            DefinitionError: If a column does not exist or is of a type that does not fit, and all that `plan` raises.
            DataError: If a source's times have no zone.
            ConflictError: If somebody else applied between the plan and the change.
        """
        from tinymlops.features.columns import check_columns
        from tinymlops.features.planning import apply

        planned = self.plan(project)
        functions = project.functions()
        planned.notes += check_columns(self._context().with_project(project.specs(), functions))
        apply(
            planned,
            project.specs(),
            self._context().scope,
            self.catalog,
            project=project.name,
            renamed=project.renamed(),
        )
        self._functions.update(functions)
        return planned

    def ingest(
        self,
        *sources: Source[..., Any] | str,
        full: bool = False,
        complete_until: datetime | str | None = None,
        rebuild: bool = False,
        drop_missing: bool = False,
    ) -> list[Ingestion]:
        """Take what is new at the sources into history; the same rows twice change nothing.

        A source that fails keeps no other from being ingested; then all errors are raised together.

        Args:
            sources: Which; none for all that are not pushed.
            full: Read everything anew, also where a source can be read from a moment on, and record as deleted what
                is no longer there (needs `id=`).
            complete_until: Your word that no row with an earlier event time is missing at these sources.
            rebuild: For sources whose definition changed under their stored rows: read them anew, and date the stored rows
                by the definition. What was built as of an earlier sequence, or is pinned to the earlier definition, goes on
                reading the rows of before.
            drop_missing: Of a rebuild: leave out events that the source does not have any more.

        Returns:
            One report a source, transformations that were rebuilt included.

        Raises:
            DefinitionError: If nothing was applied yet.
            IngestError: If there were several sources and some could not be ingested: an exception group, whose
                `errors` are by source and whose `reports` are of those that were. A single source raises its own error.
        """
        from tinymlops.features.intake.ingestion import ingest_all

        until = None
        if complete_until is not None:
            until = to_micros(parse_instant(complete_until, name="complete_until"))
        context = self._context()
        names = _names(sources, context)
        return ingest_all(context, names, full=full, complete_until=until, rebuild=rebuild, drop_missing=drop_missing)

    def push(self, source: Source[..., Any] | str, rows: Frame, *, batch_id: str | None = None) -> Pushed:
        """Add rows to a source that takes pushes: durable, and in the online store, when the call returns.

        Args:
            source: Declared with `-> tm.Schema`.
            rows: Any table, or a list of dicts; times may be ISO 8601 text.
            batch_id: Any text that names the batch, so that sending it again within 30 days changes nothing. A source's
                `id` does that for each row; where it has none, one is made up, and the result holds it for a retry.

        Returns:
            How many rows were new and known, the sequence after them, and the batch's id.

        Raises:
            DataError: If a row does not fit the schema; then none is stored.
        """
        from tinymlops.features.intake.pushing import push

        context = self._context()
        (name,) = _names([source], context)
        return push(context, name, rows, batch_id=batch_id)

    def compact(self, *sources: Source[..., Any] | str) -> list[Compacted]:
        """Put the rows of sources into one file each; no row is lost or changed. `ingest` does so where there are many.

        Args:
            sources: Which; none for all.

        Returns:
            One report for each source that had more than one file, or pushed rows.
        """
        from tinymlops.features.intake.compaction import compact

        context = self._context()
        return compact(context, _names(sources, context))

    def get_historical_features(
        self,
        spine: Frame | None = None,
        features: Asked = (),
        *,
        start: datetime | date | str | None = None,
        end: datetime | date | str | None = None,
        every: str | timedelta | None = None,
        timestamp: str = "timestamp",
        tz: str | None = None,
        details: bool = False,
        as_of: int | None = None,
    ) -> Frame:
        """Give each spine row the features as they were known at its time; without a spine, over a range of time.

        In a range there is a row for each key and event time of the views' own rows in `[start, end)`; with `every`, for each
        key and each of `start, start + every, ...` before `end`, from the key's first event time on. Event times are those of
        final versions. A feature is what was known at that moment, as if the moment were in a spine: a row counts at its own
        event time if it has no delay, and not yet in a window.

        Args:
            spine: Key columns, request fields and a time column: any table. Keys may be text as in JSON where the rows
                have dates, times, durations or decimals.
            features: Views, picked features, roles, on-demand views and services, or "view", "view:feature" and "service".
            start: Without a spine: the first moment, a datetime, a date (its midnight) or ISO 8601 text.
            end: Without a spine: the first moment that is not in the range.
            every: Without a spine: from one moment to the next, such as "1d" (24 hours); None for those at which a row is.
            timestamp: The time column, of the spine or of the answer.
            tz: Zone of times that carry none.
            details: Add `<feature>_status` and `<feature>_event_time`.
            as_of: `Q`: only by rows with a sequence up to this one, as if nothing had come since.

        Returns:
            The spine's rows, in their order, with a column for each feature; the kind of frame the spine is. Of a range a
            Polars frame of keys, time and features, sorted by time and then by key.

        Raises:
            DefinitionError: If there are both a spine and a range, or neither; or the views of a range have different keys.
        """
        from tinymlops.features.history.historical import features_for, parse_features
        from tinymlops.features.history.ranges import range_asked_for, spine_of_range
        from tinymlops.features.history.stored import require_past
        from tinymlops.frames import give_back, require_no_nulls, times_to_micros, to_polars

        context = self._context()
        requests, past = parse_features(context, features), require_past(context, as_of)
        within = range_asked_for(start, end, every, tz=tz, has_spine=spine is not None)
        if within is not None:
            past = self._environment.database.sequence() if past is None else past
            spine = spine_of_range(context, requests, within, timestamp=timestamp, as_of=past)
        rows = to_polars(spine)
        if timestamp not in rows.columns:
            raise DataError(
                f"the spine has no time column {timestamp!r}",
                hint=near(timestamp, rows.columns) + ' Name it with timestamp="..."',
            )
        time = times_to_micros(rows[timestamp], role="spine", tz=tz, name=timestamp)
        require_no_nulls(time, name=timestamp)
        _require_whole_rows(context, requests, spine)
        table = features_for(context, rows, time.to_numpy(), requests, details=details, as_of=past)
        result = rows.with_columns(*table.columns.values(), *table.details.values())
        assert result.height == rows.height, "a spine row has exactly one row of features"
        return give_back(result, spine)

    @property
    def datasets(self) -> Datasets:
        """What `save_dataset` saved: `list`, `get`, `verify`, `remove`."""
        from tinymlops.features.history.saving import Datasets

        return Datasets(self._context)

    def save_dataset(
        self,
        name: str,
        spine: Frame | str | Path,
        features: Asked,
        *,
        timestamp: str = "timestamp",
        tz: str | None = None,
        as_of: int | None = None,
    ) -> SavedDataset:
        """Compute the features of a spine and keep both: read back in batches, as Parquet or as tensors, and verified later.

        Neither the spine nor the result need fit in memory. The same name again is a newer dataset beside the one before.

        Args:
            name: Of the dataset.
            spine: As for `get_historical_features`, or the path of Parquet files, or a Polars scan of them.
            features: As for `get_historical_features`.
            timestamp: The spine's time column.
            tz: Zone of times that carry none.
            as_of: `Q`: only by rows with a sequence up to this one, as if nothing had come since.

        Returns:
            The dataset: `batches`, `to_parquet`, `to_torch`.

        Raises:
            DataError: If the spine cannot be read, or lacks a column.
        """
        from tinymlops.features.history.historical import parse_features
        from tinymlops.features.history.saving import save_dataset
        from tinymlops.features.history.stored import require_past

        context = self._context()
        requests, past = parse_features(context, features), require_past(context, as_of)
        _require_whole_rows(context, requests, spine)
        past = self._environment.database.sequence() if past is None else past
        return save_dataset(context, name, spine, requests, timestamp=timestamp, tz=tz, as_of=past)

    def key_aliases(self) -> dict[str, str]:
        """Return the names that HTTP clients may send for key columns, each with its column."""
        from tinymlops.features.definitions.aliases import aliases_of

        return aliases_of(self._context().definitions)

    def key_types(self, features: Asked) -> dict[str, str]:
        """Return the key columns that a read of features needs, and the type of each, such as "Int64" or "Date"."""
        from tinymlops.features.history.historical import key_types

        return key_types(self._context(), features)

    def sql(self, query: str, *, max_rows: int | None = None, timeout: str | timedelta | None = None) -> pl.DataFrame:
        """Run one SELECT over everything: sources, their history, feature views, runs, models, predictions, audit.

        Args:
            query: It may name a source (its rows as they are the facts by now), `<source>_history` (every version of every
                row, with `__event`, `__created`, `__sequence` and `__deleted`), a feature view (the features of every known
                key as of now), and `runs`, `metrics`, `models`, `model_aliases`, `training_sets`, `datasets`, `predictions`,
                `outcomes`, `definitions`, `ingestions` and `audit`. Where a definition has one of these names it is the
                definition; `tinymlops.runs` is always the runs. `show tables` lists all of them.
            max_rows: More rows are an error; by default what `tinymlops.toml` says under `[sql]`, else 10,000,000.
            timeout: More time is an error, such as "30s"; by default what `tinymlops.toml` says, else "5m".

        Raises:
            NotFoundError: If it names no such table, with the near match.
            DefinitionError: If it is not one SELECT, or wrong.
            AccessError: If it reads outside of the project's directories, or by a function that is not allowed.
            DataError: If it takes more rows, time or memory than it may.
        """
        from tinymlops.querying import sql

        self._log.flush()
        context = self._context()
        return sql(context, query, limits=context.sql_limits(max_rows=max_rows, timeout=timeout))

    def materialize(self, *views: FeatureView[..., Any] | str) -> list[Covered]:
        """Bring views up to date in the online store, and the rebuilt transformations that they stand on.

        Args:
            views: Which; none for all.

        Returns:
            What the online store holds of each now.

        Raises:
            DefinitionError: If nothing was applied yet.
            ConflictError: If somebody else is materializing in this workspace.
        """
        from tinymlops.features.definitions.specs import ViewSpec
        from tinymlops.features.intake.refreshing import refresh

        context = self._context()
        context.definitions.require_any()
        chosen = [context.definitions.get(ViewSpec, name) for name in _names(views, context)]
        return refresh(context, chosen or list(context.definitions.of(ViewSpec).values()))

    def get_online_features(
        self,
        features: Asked,
        keys: Frame,
        *,
        details: bool = False,
    ) -> OnlineFeatures:
        """Read features as of now, by the workspace's clock.

        Args:
            features: Views, picked features, roles, on-demand views and services, or "view", "view:feature" and "service".
            keys: Entity keys and request fields: any table, rows or columns. Dates, times, durations and decimals may
                be text, as in JSON.
            details: Add `<feature>_status` and `<feature>_event_time`.

        Returns:
            A row for each key, with the time and the sequence of the answer.
        """
        if self._read_online is None:  # asked once: an import statement takes longer than it takes to find a key
            from tinymlops.features.online.reading import get_online_features

            self._read_online = get_online_features
        with self._environment.online.read() as snapshot:
            return self._read_online(self._context_in(snapshot), snapshot, features, keys, details=details)

    def get_training_data(
        self,
        training_set: TrainingSet | str,
        *,
        test_from: datetime | date | str | None = None,
        as_of: int | None = None,
        immature: Literal["drop", "null"] = "drop",
    ) -> TrainingData:
        """Build a training set: features as known at each spine row's time, mature outcomes, split by time.

        Args:
            training_set: The training set.
            test_from: Spine times from here on are test rows: a datetime, also of pandas or NumPy, or ISO 8601 text; one
                without a zone is of the project's, and a date is midnight there. Training rows whose label window
                reaches past it are purged.
            as_of: `Q`: only by rows with a sequence up to this one, as if nothing had come since.
            immature: Rows whose outcome cannot be known yet are left out and counted ("drop"), or kept with a null label.

        Raises:
            DefinitionError: If something it stands on has changed since it was applied.
        """
        from tinymlops.features.history.training_sets import build

        context = self._context()
        (name,) = _names([training_set], context)
        return build(context, name, test_from=test_from, as_of=as_of, immature=immature)

    def reproduce(self, build: str) -> TrainingData:
        """Build a training set again: by the rows and under the definitions it was built with; nothing is recorded.

        Args:
            build: The id of a build (`data.build_id`) or the beginning of it, or the name of a training set for its
                newest build.

        Raises:
            DefinitionError: If Python code that it stands on has changed since.
        """
        from tinymlops.features.history.reproducing import find_build, reproduce

        context = self._context()
        return reproduce(context, find_build(context, build))

    def verify(self, build: str) -> VerifiedBuild:
        """Build a training set again and compare its content with what was recorded: whatever came since, it is the same.

        Args:
            build: As for `reproduce`.

        Returns:
            Whether it is (`same`), and which engines have another version than then.
        """
        from tinymlops.features.history.reproducing import verify_build

        return verify_build(self._context(), build)

    def verify_online(self, *, since: datetime | date | str | None = None) -> VerifiedOnline:
        """Recompute the features of logged predictions from history, at their time and sequence, and compare them.

        Args:
            since: Only predictions from this moment on.

        Returns:
            How many values were compared, and for each feature how many differ (`same` if none does).
        """
        from tinymlops.serving.verifying import verify_online

        self._log.flush()
        start = None if since is None else to_micros(parse_instant(since, name="since"))
        return verify_online(self._context(), self.models, since=start)

    def start_run(
        self,
        name: str,
        *,
        data: TrainingData | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> ActiveRun:
        """Begin an experiment run; a `with` block finishes it, an exception in it fails it.

        Args:
            name: What to call it; several runs may have the same name.
            data: The training data it uses; needed to log a model.
            params: Its first parameters.
            tags: Text to find it by.
        """
        from tinymlops.training.tracking import ActiveRun

        self._environment.check()
        return ActiveRun(self.runs, name, clock=self._clock, data=data, params=params, tags=tags)

    def search_runs(
        self, where: str | None = None, *, order_by: str = "-started_at", limit: int | None = 100
    ) -> pl.DataFrame:
        """Find runs, as a table: a row a run, a column for every metric, parameter and tag.

        Args:
            where: Comparisons joined by `and`, such as "metrics.auc > 0.7 and params.depth = 3".
            order_by: A field, descending with a leading minus: "-metrics.auc".
            limit: At most so many; None for all.
        """
        from tinymlops.training.comparison import runs_table

        return runs_table(self.runs.search(where, order_by=order_by, limit=limit))

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

    def promote(self, name: str, version: int, alias: str = "champion", *, expected: int | None = None) -> ModelAlias:
        """Point an alias at a version.

        Args:
            name: Of the model.
            version: To point at.
            alias: To move, made if need be.
            expected: Move it only from this version (0: only if it does not exist); None moves it from anywhere.
        """
        self._environment.check()
        return self.models.promote(name, version, alias, expected=expected)

    def predict(self, reference: str, rows: Frame, *, details: bool = False, sync: bool = False) -> Predictions:
        """Predict as of now, by the workspace's clock, and log the answers with the features they were made from.

        Args:
            reference: "delay" (its champion, else its newest version), "delay@latest", "delay@challenger" or "delay:3".
            rows: Entity keys and request fields (the features are read online), or full rows of features: any
                table, or a list of dicts.
            details: Add the status of each feature.
            sync: Return only once the predictions are durable; otherwise they are within half a second.

        Returns:
            A prediction for each row, in order, each with its id.

        Raises:
            NotFoundError: If there is no such model.
            DataError: If a key column or request field is missing or mistyped, naming it.
        """
        from tinymlops.serving.one_row import read_row
        from tinymlops.serving.prediction import predict

        self._environment.check()  # an answer is given only where it can be logged
        with self._environment.online.read() as snapshot:
            context = self._context_in(snapshot)
            model = self._resolver.resolve(context, snapshot, reference)
            row = None if details else read_row(context, snapshot, model, rows)
        return predict(context, model, rows, self._log, row=row, details=details, sync=sync)

    def predict_batch(
        self, reference: str, rows: Frame | str | Path, output: str | Path, *, timestamp: str | None = None
    ) -> BatchReport:
        """Predict for a whole table and write a Parquet or CSV file; nothing is logged.

        Args:
            reference: "delay" (its champion, else its newest version), "delay@latest", "delay@challenger" or "delay:3".
            rows: A table, or a Parquet or CSV file: entity keys and request fields, or full rows of features.
            output: The file to write, complete or not at all: CSV if it is named `.csv`, else Parquet.
            timestamp: Column of prediction times: features are those known then. Without it, those of now.

        Returns:
            How many rows were written, and where.
        """
        from tinymlops.serving.batch import predict_batch

        return predict_batch(self._context(), self.load_model(reference), rows, Path(output), timestamp=timestamp)

    def flush(self) -> None:
        """Return once every prediction made so far is durable; `close` does so too."""
        self._log.flush()

    def log_outcomes(self, rows: Frame) -> OutcomeReport:
        """Say what really happened: a table, or a list of dicts, of `prediction_id` and `value`.

        An outcome for an unknown prediction is kept and joined later; a second one for the same prediction
        replaces the first.
        """
        from tinymlops.serving.outcomes import log_outcomes

        self._log.flush()
        return log_outcomes(self._context(), rows)

    def collect_outcomes(self, reference: str) -> int:
        """Store the outcomes of a model version's predictions that the label's source knows by now; return how many.

        `monitor` computes those that are not stored whenever it is asked.

        Args:
            reference: "delay" (its champion, else its newest version), "delay@latest", "delay@challenger" or "delay:3".
        """
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
    ) -> MonitorReport:
        """Compare a model version's predictions with what happened, and their features with the training rows.

        Outcomes that the label's source knows by now count, stored or not; nothing is written.

        Args:
            reference: "delay" (its champion, else its newest version), "delay@latest", "delay@challenger" or "delay:3".
            since: Only predictions from this moment on.
            until: Only predictions before this moment.
        """
        from tinymlops.monitoring.report import monitor
        from tinymlops.serving.model import describe_model

        self._log.flush()
        return monitor(self._context(), describe_model(self.models, reference), since=since, until=until)

    def backup(self, path: str | Path) -> Backup:
        """Copy the workspace as of one commit, while others read and write it; `tm.restore` makes one of it again.

        What is derived is left out: a restored workspace materializes anew.

        Args:
            path: A directory that does not exist yet; it appears complete or not at all.

        Raises:
            IntegrityError: If a file of the workspace is missing or damaged.
        """
        from tinymlops.progress import progress
        from tinymlops.stores.backup import backup
        from tinymlops.stores.doctor import bytes_to_read

        self.flush()
        with progress("copying", bytes_to_read(self._environment)) as advance:
            return backup(self._environment, Path(path), advance=advance)

    def gc(self, *, grace: str | timedelta = "7d") -> Collected:
        """Remove what nothing needs: files of crashes and of compaction, superseded rebuilds, unused online views.

        Args:
            grace: How long a file stays after it was taken out of use, or written and never named.
        """
        from tinymlops.features.online.derived import drop_unused_views
        from tinymlops.stores.collection import collect

        context, left = self._context(), parse_duration(grace, name="grace")
        views = drop_unused_views(context, self.models)
        collected = collect(self._environment, now=context.now(), grace=left, actor=self._scope.actor)
        return msgspec.structs.replace(collected, views=views)

    def repair(self) -> list[Covered]:
        """Make anew what is derived from history: the online store and the join images.

        Rows that were stored while the clock was more than a day ahead count from now on, and not only from the time it
        said. Nothing else is touched.

        Returns:
            What the online store holds of each view that was materialized.
        """
        from tinymlops.features.intake.clock_repair import let_count_from_now
        from tinymlops.features.online.derived import rebuild_derived

        context = self._context()
        let_count_from_now(context)
        return rebuild_derived(context)

    def _context(self) -> Context:
        with self._environment.online.read() as snapshot:
            return self._context_in(snapshot)

    def _context_in(self, snapshot: Snapshot) -> Context:
        """Return the state as of a snapshot of the online store, the one from before if it is the same."""
        definitions, known = self._in_force.read(snapshot), self._known
        if known is None or known.definitions is not definitions or known.clock is not self._clock:
            from tinymlops.features.context import Context

            require_threads()
            scope = replace(self._scope, clock=self._clock)
            known = self._known = Context(scope, definitions, self._functions, self._root, self._config)
        return known

    def _recover(self) -> None:
        """Finish the work of a crashed process: let what is derived from the rows follow, and bring back what it lost."""
        from tinymlops.features.in_force import finish_change
        from tinymlops.features.intake.followers import followers_of, keep_up

        self._environment.online.drop_other_format()
        finish_change(self._environment)
        followers = followers_of(self._environment, self._context)
        for error in keep_up(followers, self._environment.database.sequence, rebuild=True):
            # It stays behind, or its reads come from history: whoever pushes, ingests or materializes is told.
            if not isinstance(error, TinyMLOpsError):
                raise error


def _require_whole_rows(context: Context, requests: Sequence[FeatureRequest], spine: Frame | str | Path) -> None:
    """Refuse a spine of dicts in which a row lacks a column that its features need and others have."""
    from tinymlops.features.online.read_plans import plan_for
    from tinymlops.presence import absent_columns

    absent = {} if isinstance(spine, str | Path) else absent_columns(spine)
    if absent:
        plan_for(context, requests, None).require_present(context, absent)


def _names(nouns: Sequence[Noun | str], context: Context) -> list[str]:
    from tinymlops.features.definitions.applied import applied_names

    return applied_names(nouns, context.definitions)
