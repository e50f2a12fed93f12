"""Features: of the past, of now, as training sets and saved datasets, compared and proved."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tinymlops.opened import OpenWorkspace
from tinymlops.times import parse_instant, to_micros

if TYPE_CHECKING:
    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.definitions.nouns import TrainingSet
    from tinymlops.features.history.dataset_rows import SavedDataset
    from tinymlops.features.history.reproducing import VerifiedBuild
    from tinymlops.features.history.saving import Datasets
    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.features.law.data_diff import DataDiff
    from tinymlops.features.online.reading import OnlineFeatures
    from tinymlops.frames import Frame
    from tinymlops.serving.verifying import VerifiedOnline

__all__ = ["FeatureVerbs"]


class FeatureVerbs(OpenWorkspace):
    """Features: of the past, of now, as training sets and saved datasets, compared and proved."""

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

    def verify_online(self, *, since: datetime | date | str | None = None) -> VerifiedOnline:
        """Recompute the features of predictions, logged since a moment if one is given, and compare them; `same` if none differs.

        Each is computed from history, at the time and the sequence of its prediction.
        """
        from tinymlops.serving.verifying import verify_online

        self._log.flush()
        start = None if since is None else to_micros(parse_instant(since, name="since"))
        return verify_online(self._context(), self.models, since=start)

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
