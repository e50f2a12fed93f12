"""The directory: backed up, cleaned, repaired."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.opened import OpenWorkspace
from tinymlops.times import parse_duration

if TYPE_CHECKING:
    from tinymlops.features.online.materialization import Covered
    from tinymlops.stores.backup import Backup
    from tinymlops.stores.collection import Collected

__all__ = ["UpkeepVerbs"]


class UpkeepVerbs(OpenWorkspace):
    """The directory: backed up, cleaned, repaired."""

    def flush(self) -> None:
        """Return once every prediction made and every point logged so far is durable; `close` does so too."""
        self._log.flush()
        self.runs.log.flush()

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

    def gc(self, *, grace: str | timedelta = "7d", job_history: str | timedelta = "365d") -> Collected:
        """Remove what nothing needs: files of crashes and of compaction, superseded rebuilds, unused online views, old job runs.

        Args:
            grace: How long a file stays after it was taken out of use, or written and never named.
            job_history: How long a run of a job stays after it has ended, with its log, and a message after it was sent. The
                last success of each job stays.
        """
        from tinymlops.features.online.derived import remove_unused

        kept = parse_duration(job_history, name="job_history")
        return remove_unused(self._context(), self.models, grace=parse_duration(grace, name="grace"), job_history=kept)

    def repair(self) -> list[Covered]:
        """Make the online store, the join images and the search index anew, and return what the store holds of each view.

        Row indexes are dropped; the next small ingest makes what it needs.
        Sums of metrics that do not follow from their points are made anew too.
        Rows that were stored while the clock was more than a day ahead count from now on, and not only from the time it said.
        """
        from tinymlops.features.intake.clock_repair import let_count_from_now
        from tinymlops.features.online.derived import rebuild_derived
        from tinymlops.registry.runs.verifying import remake_sums

        context = self._context()
        self.runs.log.flush()
        remake_sums(context.scope)
        let_count_from_now(context)
        return rebuild_derived(context)
