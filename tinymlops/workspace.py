"""`Workspace`: the state of a project in one directory. Every verb is here and only delegates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from tinymlops.errors import DataError
from tinymlops.opened import OpenWorkspace
from tinymlops.times import Clock, parse_duration, parse_instant, system_clock, to_micros

if TYPE_CHECKING:
    import polars as pl

    from tinymlops.client import Client
    from tinymlops.config import Config
    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.definitions.nouns import FeatureRole, FeatureView, Service, Source, TrainingSet
    from tinymlops.features.definitions.project import Project
    from tinymlops.features.history.dataset_rows import SavedDataset
    from tinymlops.features.history.reproducing import VerifiedBuild
    from tinymlops.features.history.saving import Datasets
    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.features.intake.compaction import Compacted
    from tinymlops.features.intake.pushing import Pushed
    from tinymlops.features.law.data_diff import DataDiff
    from tinymlops.features.law.documented import Documented
    from tinymlops.features.law.health import HealthReport
    from tinymlops.features.law.lineage_answer import Lineage
    from tinymlops.features.law.page_text import Page
    from tinymlops.features.law.planning import Plan
    from tinymlops.features.law.status import WorkspaceStatus
    from tinymlops.features.online.materialization import Covered
    from tinymlops.features.online.reading import OnlineFeatures
    from tinymlops.findings import LintReport
    from tinymlops.frames import Frame
    from tinymlops.monitoring.report import MonitorReport
    from tinymlops.records import Ingestion, ModelAlias, ModelVersion, Run
    from tinymlops.registry.scope import Scope
    from tinymlops.registry.search import SearchResult
    from tinymlops.serving.batch import BatchReport
    from tinymlops.serving.model import Model
    from tinymlops.serving.outcomes import OutcomeReport
    from tinymlops.serving.prediction import Predictions
    from tinymlops.serving.verifying import VerifiedOnline
    from tinymlops.stores.backup import Backup
    from tinymlops.stores.collection import Collected
    from tinymlops.training.tracking import ActiveRun

__all__ = ["Workspace", "connect", "restore"]


@overload
def connect(
    path: str | Path, *, create: bool = ..., clock: Clock = ..., root: str | Path | None = ...
) -> Workspace: ...
@overload
def connect(path: str, *, token: str | None) -> Client: ...
def connect(
    path: str | Path,
    *,
    create: bool = False,
    clock: Clock = system_clock,
    root: str | Path | None = None,
    token: str | None = None,
) -> Workspace | Client:
    """Open a workspace directory; one on a network file system, or that others may read, is warned of once per process.

    With the address of a server, return its client, which has the same words for what the server has.

    Args:
        path: The directory, such as "flights.tm", or "http://host:8000".
        create: Make it if it does not exist.
        clock: The time, as an aware UTC datetime; a `ReplayClock` serves the past as it was.
        root: Where relative paths in SQL start and `tinymlops.toml` is, if any; by default the workspace's parent directory.
        token: For a server: what `tinymlops token create` printed; by default the environment's TINYMLOPS_TOKEN,
            or what is in the private file that TINYMLOPS_TOKEN_FILE names.

    Raises:
        NotFoundError: If it is not a workspace, with the near match.
        AccessError: If it may not be written, or made there, or if other users may write to it.
        DefinitionError: If `tinymlops.toml` cannot be used.

    Example:
        >>> import tempfile
        >>> with connect(Path(tempfile.mkdtemp()) / "shop.tm", create=True) as ws:
        ...     ws.catalog
        <catalog: 0 definitions>
    """
    if isinstance(path, str) and path.startswith(("http://", "https://")):
        if create or root is not None or clock is not system_clock:
            raise DataError(
                f"{path} is a server, which has a directory and a clock of its own", hint="pass token= alone"
            )
        from tinymlops.client import Client
        from tinymlops.secrets import read_secret

        secret = None if token is not None else read_secret("TINYMLOPS_TOKEN")
        return Client(path, token=token if secret is None else secret.reveal())
    if token is not None:
        raise DataError(f"{str(path)!r} is a directory, which needs no token", hint='a server begins with "http://"')
    return Workspace._open(Path(path), create=create, clock=clock, root=root)  # noqa: SLF001


def restore(backup: str | Path, path: str | Path) -> Backup:
    """Make a workspace of a backup, after checking every file of it; if one is missing or damaged, nothing is restored.

    Args:
        backup: The directory that `ws.backup` made.
        path: The workspace's directory, which does not exist yet; it appears complete or not at all.
    """
    from tinymlops.progress import progress
    from tinymlops.registry.scope import system_user
    from tinymlops.stores.backup import read_manifest
    from tinymlops.stores.backup import restore as restored

    source = Path(backup)
    with progress("restoring", read_manifest(source).bytes) as advance:
        return restored(source, Path(path), actor=system_user(), advance=advance)


class Workspace(OpenWorkspace):
    """A project's state: definitions, history, features, runs, models and predictions. Made by `connect`.

    A context manager. The verbs of the daily path are its methods; the rest lives on what it hands out.

    Attributes:
        catalog: The definitions in force.
        checks: Checks on data: `list`, `results`, `quarantined`, `release`, `drop`, `run`, `infer`.
        runs: Experiment runs: `list`, `get`, `metrics`, `artifacts`, ...
        tokens: Who may ask the server, and for what: `create`, `list`, `revoke`.
        access: Who read which features and asked which models: `list`.
        models: Registered models: `versions`, `aliases`, `rollback`, `manifest`, ...
        audit: Who changed what, when: `list`, `head`, `verify`.
    """

    def __init__(self, scope: Scope, root: Path, config: Config) -> None:
        from tinymlops.features.law.data_checks import Checks
        from tinymlops.registry.audit import Audit
        from tinymlops.registry.models import Models
        from tinymlops.registry.readers import Accesses
        from tinymlops.registry.runs import Runs
        from tinymlops.registry.tokens import Tokens
        from tinymlops.serving.resolve import Resolver

        super().__init__(scope, root, config)
        self._read_online: Callable[..., OnlineFeatures] | None = None
        self.checks = Checks(self._context)
        self.runs = Runs(scope)
        self.models = Models(scope)
        self.tokens = Tokens(scope, self._readers)
        self.access = Accesses(scope, self._readers.flush)
        self.audit = Audit(scope)
        self._resolver = Resolver(self.models)

    def plan(self, project: Project) -> Plan:
        """Say what `apply` would change, after checking that the definitions fit together; no source is read."""
        from tinymlops.features.law.planning import plan

        self._readers.flush()
        return plan(project, self._context(), self.catalog, self.models)

    def status(self, project: Project | None = None) -> WorkspaceStatus:
        """Say where the workspace stands: what is not applied yet, sources, online views, and models in use.

        Args:
            project: The project that the workspace should follow, if it is at hand.
        """
        from tinymlops.features.law.status import status

        planned = None if project is None else self.plan(project)
        return status(self._context(), self.models, planned)

    def apply(self, project: Project, *, message: str = "") -> Plan:
        """Make a project's definitions the ones in force; if one of them does not fit, nothing is written.

        The columns of SQL, of lazy frames and of pushes are known without reading a row and checked now. A note names each
        source whose columns are known only once it was ingested.

        Args:
            project: The definitions.
            message: Why; it is kept with every version that this writes, and `ws.catalog.why` shows it.

        Raises:
            ConflictError: If somebody else applied between the plan and the change, or a name is another project's.
        """
        from tinymlops.features.law.planning import apply

        applied = apply(project, self._context(), self.catalog, self.models, message=message)
        self._functions.update(project.functions())
        return applied

    def ingest(
        self,
        *sources: Source[..., Any] | str,
        full: bool = False,
        complete_until: datetime | str | None = None,
        rebuild: bool = False,
        drop_missing: bool = False,
    ) -> list[Ingestion]:
        """Take what is new at the sources into history; the same rows twice change nothing.

        Args:
            sources: Which; none for all that are not pushed.
            full: Read everything anew, and record as deleted what is no longer there (needs `id=`).
            complete_until: Your word that no row with an earlier event time is missing at these sources.
            rebuild: Read sources whose definition changed anew, and date their rows by it; earlier builds keep the old ones.
            drop_missing: Of a rebuild: leave out events that the source does not have any more.

        Raises:
            IngestError: If some of several failed, after the others were ingested; a single source raises its own error.
        """
        from tinymlops.features.intake.ingestion import ingest_all

        until = None
        if complete_until is not None:
            until = to_micros(parse_instant(complete_until, name="complete_until"))
        context, names = self._named(sources)
        return ingest_all(context, names, full=full, complete_until=until, rebuild=rebuild, drop_missing=drop_missing)

    def push(self, source: Source[..., Any] | str, rows: Frame, *, batch_id: str | None = None) -> Pushed:
        """Add rows to a source that takes pushes: all or none, durable and in the online store when the call returns.

        Args:
            source: Declared with `-> tm.Schema`.
            rows: Any table, or a list of dicts; times may be ISO 8601 text.
            batch_id: Names the batch: sent again within 30 days it changes nothing. Where the source has no `id`, one is made up.
        """
        from tinymlops.features.intake.pushing import push

        context, (name,) = self._named([source])
        return push(context, name, rows, batch_id=batch_id)

    def compact(self, *sources: Source[..., Any] | str) -> list[Compacted]:
        """Put the rows of these sources, or of all, into one file each, as `ingest` does where they have many."""
        from tinymlops.features.intake.compaction import compact

        return compact(*self._named(sources))

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
        consumer: str | None = None,
    ) -> Frame:
        """Give each spine row, in order and in the spine's kind of frame, the features as they were known at its time.

        Without a spine, over a range of time: a Polars frame with a row for each key and event time of the views' own rows
        in `[start, end)`; with `every`, for each key and each of `start, start + every, ...` from its first event time on.
        Event times are those of final versions. Each moment is read as if it were in a spine: a row counts at its own event
        time if it has no delay, and not yet in a window.

        Args:
            spine: Key columns, request fields and a time column: any table; keys may be text as in JSON.
            features: Views, picked features, roles, on-demand views and services, or "view", "view:feature", "view@v1" and
                "service".
            start: Without a spine: the first moment, a datetime, a date (its midnight) or ISO 8601 text.
            end: Without a spine: the first moment that is not in the range.
            every: Without a spine: from one moment to the next, such as "1d" (24 hours); None for those at which a row is.
            timestamp: The time column, of the spine or of the answer.
            tz: Zone of times that carry none.
            details: Add `<feature>_status` and `<feature>_event_time`.
            as_of: `Q`: only by rows with a sequence up to this one, as if nothing had come since.
            consumer: Who reads, such as "billing": `ws.lineage` names it.

        Raises:
            DefinitionError: If there are both a spine and a range, or neither; or the views of a range have different keys.
        """
        from tinymlops.features.history.historical import get_historical_features
        from tinymlops.features.history.ranges import range_asked_for

        reader, context = self._reader(consumer), self._context()
        within = range_asked_for(start, end, every, tz=tz, has_spine=spine is not None)
        found = get_historical_features(
            context, within or spine, features, timestamp=timestamp, tz=tz, details=details, as_of=as_of
        )
        self._note_features(context, reader, "historical", features)
        return found

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

        Neither the spine nor the result needs to fit in memory. The same name again is a newer dataset beside the one before.

        Args:
            name: The dataset's name.
            spine: As for `get_historical_features`, or the path of Parquet files, or a Polars scan of them.
            features: As for `get_historical_features`.
            timestamp: The spine's time column.
            tz: Zone of times that carry none.
            as_of: As for `get_historical_features`.

        Returns:
            The dataset: `batches`, `to_parquet`, `to_torch`.

        Raises:
            DataError: If the spine cannot be read, or lacks a column.
        """
        from tinymlops.features.history.saving import save_dataset

        return save_dataset(self._context(), name, spine, features, timestamp=timestamp, tz=tz, as_of=as_of)

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
            query: `show tables` lists what it may name: a source (its facts by now), `<source>_history` (every version of
                every row), a feature view (every known key as of now), `runs`, `models`, `predictions`, `audit`, and more.
                Where a definition has one of these names it is the definition; `tinymlops.runs` is always the runs.
            max_rows: More rows are an error; by default what `tinymlops.toml` says under `[sql]`, else 10,000,000.
            timeout: More time is an error, such as "30s"; by default what `tinymlops.toml` says, else "5m".

        Raises:
            AccessError: If it reads outside of the project's directories, or by a function that is not allowed.
        """
        from tinymlops.querying import sql

        self._log.flush()
        self._readers.flush()
        context = self._context()
        return sql(context, query, limits=context.sql_limits(max_rows=max_rows, timeout=timeout))

    def lineage(self, reference: str | None = None, *, downstream: bool = False, upstream: bool = False) -> Lineage:
        """Say what is made of something and what it is made of, by column; `ws.sql` has all of it as `lineage`.

        Args:
            reference: A definition, column, feature, model, run, build or consumer: "orders", "orders.amount",
                "spending:last", "delay:3", "delay@champion"; where kinds share a name, "training_set:delay". None for
                everything.
            downstream: Only what is made of it.
            upstream: Only what it is made of.

        Returns:
            Nodes and edges; its text is a tree, in a notebook it is a picture.

        Raises:
            NotFoundError: If there is no such thing, with the near match.
        """
        from tinymlops.features.law.lineage import lineage

        self._readers.flush()
        return lineage(self._context(), reference, downstream=downstream, upstream=upstream)

    def materialize(self, *views: FeatureView[..., Any] | FeatureRole | str) -> list[Covered]:
        """Bring these views, or all, up to date in the online store, and the rebuilt transformations that they stand on.

        Args:
            views: Which, or versions such as "spending@v1"; none for all in force, and the versions that stay beside them.

        Raises:
            ConflictError: If somebody else is materializing in this workspace.
        """
        from tinymlops.features.intake.refreshing import refresh

        context = self._context()
        context.definitions.require_any()
        return refresh(context, views)

    def get_online_features(
        self, features: Asked, keys: Frame, *, details: bool = False, consumer: str | None = None
    ) -> OnlineFeatures:
        """Read features as of now, by the workspace's clock: a row for each key, with the time and sequence of the answer.

        Args:
            features: As for `get_historical_features`.
            keys: Entity keys and request fields: any table, rows or columns; values may be text as in JSON.
            details: Add `<feature>_status` and `<feature>_event_time`.
            consumer: Who reads, such as "billing": `ws.lineage` names it. No read waits for that.
        """
        if self._read_online is None:  # asked once: an import statement takes longer than it takes to find a key
            from tinymlops.features.online.reading import get_online_features

            self._read_online = get_online_features
        reader = self._reader(consumer)
        with self._environment.online.read() as snapshot:
            context = self._context_in(snapshot)
            found = self._read_online(context, snapshot, features, keys, details=details)
        self._note_features(context, reader, "online", features)
        return found

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
            training_set: As it was applied, or its name.
            test_from: Spine times from here on are test rows; without a zone it is of the project's, and a date is midnight
                there. Training rows whose label window reaches past it are purged.
            as_of: As for `get_historical_features`.
            immature: Rows whose outcome cannot be known yet are left out and counted ("drop"), or kept with a null label.
        """
        from tinymlops.features.law.building import build

        context, (name,) = self._named([training_set])
        return build(context, name, test_from=test_from, as_of=as_of, immature=immature)

    def lint(
        self,
        *names: TrainingSet | Service | str,
        project: Project | None = None,
        replay: int = 200,
        seed: int = 0,
        pure: bool = False,
    ) -> LintReport:
        """Look for leaks, and on request for definitions that do not give the same twice; nothing is recorded.

        Args:
            names: Training sets and services; none for all.
            project: Whose definitions, applied or not; None for those in force.
            replay: How many rows of each are computed again from what was visible at their time.
            seed: Which rows these are.
            pure: Also run every definition twice: rows shuffled, one thread and several, another hash seed.

        Returns:
            What was found, each with its fix (`clean` if nothing but notes was), and what `tinymlops.toml` allows.
        """
        from tinymlops.features.law.linting import lint
        from tinymlops.features.law.numbering import definitions_to_apply

        context, chosen = self._named(names)
        if project is not None:
            context = context.with_project(definitions_to_apply(project.specs(), self.catalog), project.functions())
        return lint(context, chosen, rows=replay, seed=seed, pure=pure)

    def reproduce(self, build: str) -> TrainingData:
        """Build a training set again, by the rows and definitions of a build; nothing is recorded.

        Args:
            build: A build's id (`data.build_id`) or its beginning, or the name of a training set for its newest build.

        Raises:
            DefinitionError: If Python code that it stands on has changed since.
        """
        from tinymlops.features.history.reproducing import find_build, reproduce

        context = self._context()
        return reproduce(context, find_build(context, build))

    def verify(self, build: str) -> VerifiedBuild:
        """Build a training set again, as `reproduce` does, and say whether its content is the `same` as what was recorded."""
        from tinymlops.features.history.reproducing import verify_build

        return verify_build(self._context(), build)

    def diff(self, before: str, after: str) -> DataDiff:
        """Say why the numbers of two builds differ: every changed cell is put down to a cause.

        Rows are matched by keys and time. A cell's cause is the first of spine, new rows, correction, deletion and definition
        that alone, made to the build with the lesser sequence, gives it the value of the other. What no change does alone
        is `joint`, with the changes that it takes. A row that only one build has is counted apart.

        Args:
            before: As for `reproduce`.
            after: As for `reproduce`; it may be of another training set.

        Returns:
            Counts and examples; `to_polars()` has every changed cell.

        Raises:
            NotFoundError: If this workspace has no such build.
            DefinitionError: If one cannot be made again, because Python code that it stands on has changed since.
        """
        from tinymlops.features.law.diffing import diff_builds

        return diff_builds(self._context(), before, after)

    def diff_features(
        self,
        spine: Frame,
        features: Asked,
        *,
        before: int,
        after: int,
        timestamp: str = "timestamp",
        tz: str | None = None,
    ) -> DataDiff:
        """Say why the features of a spine differ between two sequences, as `diff` does of builds, by the definitions in force.

        Args:
            spine: As for `get_historical_features`.
            features: As for `get_historical_features`.
            before: `Q`: by the rows with a sequence up to this one.
            after: The other sequence.
            timestamp: The spine's time column.
            tz: Zone of times that carry none.
        """
        from tinymlops.features.law.diffing import diff_features

        return diff_features(self._context(), spine, features, before=before, after=after, timestamp=timestamp, tz=tz)

    def verify_online(self, *, since: datetime | date | str | None = None) -> VerifiedOnline:
        """Recompute the features of predictions, logged since a moment if one is given, and compare them; `same` if none differs.

        Each is computed from history, at the time and the sequence of its prediction.
        """
        from tinymlops.serving.verifying import verify_online

        self._log.flush()
        start = None if since is None else to_micros(parse_instant(since, name="since"))
        return verify_online(self._context(), self.models, since=start)

    def search(self, text: str, *, limit: int = 20) -> SearchResult:
        """Find definitions, terms, models, runs, builds and notes by words, also by misspelled ones.

        Args:
            text: Words in any order, such as "late arrivals".
            limit: At most so many.
        """
        from tinymlops.registry.search import Search

        return Search(self._scope).find(text, limit=limit)

    def docs(self, name: str) -> Page:
        """Return the page of a definition: docstring, owner, types, statistics, readers, versions.

        Args:
            name: The definition's, or a term's.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        from tinymlops.features.law.pages import page

        self._readers.flush()
        return page(self._context(), self.catalog.list(), name)

    def build_docs(self, directory: str | Path) -> list[Path]:
        """Write a Markdown page for every definition into a directory, and an index; return the files."""
        from tinymlops.features.law.pages import pages
        from tinymlops.features.law.publishing import publish_pages

        self._readers.flush()
        return publish_pages(pages(self._context(), self.catalog.list()), Path(directory))

    def check_docs(self) -> Documented:
        """Say which definitions and features lack a docstring, an owner, or a unit of a number."""
        from tinymlops.features.law.documented import documented

        return documented(self._context())

    def health(self) -> HealthReport:
        """Say which definitions stand on sources that are late or failed, and which were unused for 90 days."""
        from tinymlops.features.law.health import health

        self._log.flush()
        self._readers.flush()
        return health(self._context(), self.catalog.list())

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

    def promote(
        self, name: str, version: int, alias: str = "champion", *, expected: int | None = None, force: bool = False
    ) -> ModelAlias:
        """Point an alias at a version.

        Args:
            name: Of the model.
            version: To point at.
            alias: To move, made if need be.
            expected: Move it only from this version (0: only if it does not exist); None moves it from anywhere.
            force: Let a version that is marked experimental be the champion.
        """
        self._environment.check()
        return self.models.promote(name, version, alias, expected=expected, force=force)

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

    def flush(self) -> None:
        """Return once every prediction made so far is durable; `close` does so too."""
        self._log.flush()

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
        self, reference: str, *, since: datetime | date | str | None = None, until: datetime | date | str | None = None
    ) -> MonitorReport:
        """Compare a model version's predictions with what happened, and their features with the training rows; write nothing.

        Args:
            reference: As for `load_model`.
            since: Only predictions from this moment on.
            until: Only predictions before this moment.
        """
        from tinymlops.monitoring.report import monitor
        from tinymlops.serving.model import describe_model

        self._log.flush()
        return monitor(self._context(), describe_model(self.models, reference), since=since, until=until)

    def backup(self, path: str | Path) -> Backup:
        """Copy the workspace as of one commit, while others use it, to a directory that appears complete or not at all.

        What is derived is left out: a workspace that `tm.restore` makes of it materializes anew.

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
        from tinymlops.features.online.derived import remove_unused

        return remove_unused(self._context(), self.models, grace=parse_duration(grace, name="grace"))

    def repair(self) -> list[Covered]:
        """Make the online store, the join images and the search index anew, and return what the store holds of each view.

        Rows that were stored while the clock was more than a day ahead count from now on, and not only from the time it said.
        """
        from tinymlops.features.intake.clock_repair import let_count_from_now
        from tinymlops.features.online.derived import rebuild_derived

        context = self._context()
        let_count_from_now(context)
        return rebuild_derived(context)
