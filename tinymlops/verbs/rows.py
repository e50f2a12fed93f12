"""Rows: taken in, pushed, asked by SQL, brought online."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from tinymlops.opened import OpenWorkspace
from tinymlops.times import parse_instant, to_micros

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from tinymlops.features.definitions.nouns import FeatureRole, FeatureView, Source
    from tinymlops.features.intake.compaction import Compacted
    from tinymlops.features.intake.pushing import Pushed
    from tinymlops.features.intake.streams import Followed
    from tinymlops.features.online.materialization import Covered
    from tinymlops.frames import Frame
    from tinymlops.records import Ingestion

__all__ = ["RowVerbs"]


class RowVerbs(OpenWorkspace):
    """Rows: taken in, pushed, asked by SQL, brought online."""

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

    def follow(
        self,
        source: Source[..., Any] | str,
        lines: str | Path | BinaryIO,
        *,
        bad_lines: Literal["stop", "skip"] = "stop",
        once: bool = False,
        stop: Callable[[], bool] | None = None,
    ) -> Followed:
        """Push JSON lines as they are appended to a file, each exactly once, over kills, rotations and truncations.

        Lines are stored 250 ms after they were written at the latest. How far the file is read is committed with its rows.

        Args:
            source: Declared with `-> tm.Schema`.
            lines: A file, which need not exist yet; or a pipe, such as `sys.stdin.buffer`, of which nothing can be read twice.
            bad_lines: A line that is no row of the source ends it ("stop"), or is kept in `refused_lines` and left out ("skip").
            once: Take what is there and return; else it goes on until `stop`.
            stop: Asked about twenty times a second.

        Raises:
            DataError: If a line or a batch is refused; what was before it is stored.
            ConflictError: If another process follows the same file into the source.
        """
        from tinymlops.features.intake.streams import follow

        _, (name,) = self._named([source])
        place = Path(lines).absolute() if isinstance(lines, str | Path) else lines.fileno()
        return follow(self._context, name, place, bad_lines=bad_lines, once=once, stop=stop)

    def compact(self, *sources: Source[..., Any] | str) -> list[Compacted]:
        """Put the rows of these sources, or of all, into one file each, as `ingest` does where they have many."""
        from tinymlops.features.intake.compaction import compact

        return compact(*self._named(sources))

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
        self.runs.log.flush()
        self._readers.flush()
        context = self._context()
        return sql(context, query, limits=context.sql_limits(max_rows=max_rows, timeout=timeout))
