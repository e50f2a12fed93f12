"""`Workspace`: the state of a project in one directory. Every verb is here and only delegates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tinymlops._time import Clock, parse_instant, system_clock, to_micros
from tinymlops.errors import DataError, DefinitionError, NotFoundError, near

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.historical import Asked
    from tinymlops.features.materialization import Covered
    from tinymlops.features.nouns import FeatureView, Source, TrainingSet
    from tinymlops.features.online import OnlineFeatures
    from tinymlops.features.planning import Plan
    from tinymlops.features.project import Project
    from tinymlops.features.training_sets import TrainingData
    from tinymlops.frames import Frame
    from tinymlops.records import Ingestion

__all__ = ["Workspace", "connect"]


def connect(
    path: str | Path, *, create: bool = False, clock: Clock = system_clock, root: str | Path | None = None
) -> Workspace:
    """Open a workspace directory.

    Args:
        path: The directory, such as "flights.tm".
        create: Make it if it does not exist.
        clock: The time, as an aware UTC datetime; a `ReplayClock` serves the past as it was.
        root: Where relative paths in SQL start; by default the directory that holds the workspace.

    Raises:
        NotFoundError: If it is no workspace, with the near match.

    Example:
        >>> import tempfile
        >>> with connect(Path(tempfile.mkdtemp()) / "shop.tm", create=True) as ws:
        ...     ws.catalog
        <catalog: 0 definitions>
    """
    from tinymlops.stores.environment import open_environment

    environment = open_environment(Path(path), create=create, clock=clock)
    return Workspace(environment, clock, Path(root) if root is not None else environment.path.parent)


class Workspace:
    """A project's state: definitions, history and training sets. Made by `connect`; a context manager."""

    def __init__(self, environment: Any, clock: Clock, root: Path) -> None:
        from tinymlops.registry.catalog import Catalog

        self._environment = environment
        self._clock = clock
        self._root = root
        self._functions: dict[str, Callable[..., Any]] = {}
        self._closed = False
        self.catalog = Catalog(environment.database)

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
            self._environment.release()

    def plan(self, project: Project) -> Plan:
        """Say what `apply` would change, after checking that the definitions fit together."""
        from tinymlops.features.planning import plan

        return plan(project.specs(), self.catalog, project=project.name)

    def apply(self, project: Project) -> Plan:
        """Make a project's definitions the ones in force.

        Returns:
            What was changed.
        """
        from tinymlops.features.planning import apply, plan

        planned = plan(project.specs(), self.catalog, project=project.name)
        apply(
            planned, project.specs(), self._environment.database, self.catalog, project=project.name, at=self._clock()
        )
        for name, definition in project.definitions.items():
            if hasattr(definition, "function"):
                self._functions[name] = definition.function
        return planned

    def ingest(self, *sources: Source[..., Any] | str, complete_until: datetime | str | None = None) -> list[Ingestion]:
        """Take what is new at the sources into history; the same rows twice change nothing.

        Args:
            sources: Which; none for all that are not pushed.
            complete_until: Your word that no row with an earlier event time is missing at these sources.

        Returns:
            One report a source, transformations that were rebuilt included.
        """
        from tinymlops.features.ingestion import ingest, rebuild
        from tinymlops.features.specs import SourceSpec

        context = self._context()
        until = None
        if complete_until is not None:
            until = to_micros(parse_instant(complete_until, name="complete_until"))
        names = [source if isinstance(source, str) else source.spec.name for source in sources]
        known = context.definitions.of(SourceSpec)
        for name in names:
            if name not in known:
                raise NotFoundError(f"there is no source {name!r}", hint=near(name, known))
        chosen = [known[name] for name in names] or [
            spec for spec in known.values() if not spec.inputs and spec.via != "push"
        ]
        reports = [ingest(context, spec, complete_until=until) for spec in chosen if not spec.inputs]
        rebuilt = [rebuild(context, spec) for spec in context.definitions.derived_in_order() if not spec.row_wise]
        return reports + [report for report in rebuilt if report is not None]

    def get_historical_features(
        self,
        spine: Frame,
        features: Asked,
        *,
        timestamp: str = "timestamp",
        tz: str | None = None,
        details: bool = False,
    ) -> Frame:
        """Give each spine row the features as they were known at its time.

        Args:
            spine: Key columns, request fields and a time column: any table.
            features: Views, picked features, roles and on-demand views, or "view" and "view:feature".
            timestamp: The spine's time column.
            tz: Zone of times that carry none.
            details: Add `<feature>_status` and `<feature>_event_time`.

        Returns:
            The spine's rows, in their order, with a column for each feature; the kind of frame the spine is.
        """
        from tinymlops.features.historical import features_for, parse_features
        from tinymlops.frames import give_back, require_no_nulls, times_to_micros, to_polars

        context = self._context()
        rows = to_polars(spine)
        if timestamp not in rows.columns:
            raise DataError(
                f"the spine has no time column {timestamp!r}",
                hint=near(timestamp, rows.columns) + ' Name it with timestamp="..."',
            )
        time = times_to_micros(rows[timestamp], role="spine", tz=tz, name=timestamp)
        require_no_nulls(time, name=timestamp)
        requests = parse_features(context, features)
        table = features_for(context, rows, time.to_numpy(), requests, details=details)
        result = rows.with_columns(*table.columns.values(), *table.details.values())
        assert result.height == rows.height, "a spine row has exactly one row of features"
        return give_back(result, spine)

    def materialize(self, *views: FeatureView[..., Any] | str) -> list[Covered]:
        """Bring views up to date in the online store.

        Args:
            views: Which; none for all.

        Returns:
            What the online store holds of each now.
        """
        from tinymlops.features.materialization import materialize
        from tinymlops.features.specs import ViewSpec

        context = self._context()
        names = [view if isinstance(view, str) else view.spec.name for view in views]
        chosen = [context.definitions.get(ViewSpec, name) for name in names] or list(
            context.definitions.of(ViewSpec).values()
        )
        return [materialize(context, view) for view in chosen]

    def get_online_features(
        self,
        features: Asked,
        keys: Sequence[Mapping[str, object]] | Mapping[str, Sequence[object]],
        *,
        details: bool = False,
    ) -> OnlineFeatures:
        """Read features as of now, by the workspace's clock.

        Args:
            features: Views, picked features, roles and on-demand views, or "view" and "view:feature".
            keys: Rows, or columns, of entity keys and request fields.
            details: Add `<feature>_status` and `<feature>_event_time`.

        Returns:
            A row for each key, with the time and the sequence of the answer.
        """
        from tinymlops.features.online import get_online_features

        return get_online_features(self._context(), features, keys, details=details)

    def get_training_data(
        self, training_set: TrainingSet | str, *, test_from: datetime | str | None = None
    ) -> TrainingData:
        """Build a training set: features as known at each spine row's time, mature outcomes, split by time.

        Args:
            training_set: The training set.
            test_from: Spine times from here on are test rows (a date is midnight in the project's zone);
                training rows whose label window reaches past it are purged.
        """
        from tinymlops.features.training_sets import build

        context = self._context()
        name = training_set if isinstance(training_set, str) else training_set.spec.name
        if not isinstance(training_set, str):
            self._require_applied("training_set", training_set)
        return build(context, name, test_from=test_from)

    def _context(self) -> Context:
        from tinymlops.features.context import Context, load_definitions

        self._environment.check()
        return Context(self._environment, load_definitions(self.catalog), self._functions, self._clock, self._root)

    def _require_applied(self, kind: str, definition: TrainingSet) -> None:
        """Refuse a definition that differs from the one in force."""
        from tinymlops.features.specs import fingerprint

        if self.catalog.get(kind, definition.spec.name).fingerprint != fingerprint(definition.spec):
            raise DefinitionError(
                f"{definition!r} has changed since it was applied", hint="apply the project again: ws.apply(project)"
            )
