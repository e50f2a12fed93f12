"""Runs that come from other tools and go to other workspaces."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.opened import OpenWorkspace

if TYPE_CHECKING:
    from tinymlops.carry.exporting import ExportReport
    from tinymlops.carry.report import ImportReport

__all__ = ["CarryVerbs"]


class CarryVerbs(OpenWorkspace):
    """Runs that come from other tools and go to other workspaces."""

    def export_runs(
        self,
        path: str | Path,
        runs: Sequence[str] | None = None,
        *,
        where: str | None = None,
        console: bool = False,
        patch: bool = False,
    ) -> ExportReport:
        """Write runs with their points, files, inputs and logged models to one file, which any workspace can import.

        Args:
            path: The file; one that is there is replaced, once the new one is complete.
            runs: Ids, beginnings of ids, or names; by default all, or those that `where` finds.
            where: As for `search_runs`.
            console: Whether with what they wrote to their consoles.
            patch: Whether with the uncommitted changes of their code.

        Raises:
            NotFoundError: If there is no such run.
        """
        from tinymlops.carry.exporting import export_runs

        self._environment.check()
        named = [self.runs.get(one).id for one in runs or ()]
        found = [run.id for run in self.runs.search(where, limit=None)] if not named or where is not None else []
        return export_runs(self._scope, [*named, *found], Path(path), console=console, patch=patch)

    def import_runs(
        self,
        source: str | Path,
        *,
        origin: str = "tinymlops",
        files: Sequence[str | Path] = (),
        experiment: str | None = None,
        skip: bool = False,
    ) -> ImportReport:
        """Import runs: from a file of `export_runs`, or from another tool. Nothing comes twice.

        Args:
            source: The file; MLflow's database, `mlruns` directory or server; the directory of neptune-exporter or TensorBoard.
            origin: `tinymlops` for a file of `export_runs`, else `mlflow`, `neptune` or `tensorboard`.
            files: Directories of files that are not in their usual place.
            experiment: The name of the experiment, for TensorBoard.
            skip: Leave out runs of a file that differ here, in place of refusing all of it.

        Returns:
            A line for each run: what came, what could not come, and why.

        Raises:
            NotFoundError: If there is nothing to import.
            IntegrityError: If a file of `export_runs` is damaged.
            ConflictError: If a run of it is here with other content, or was deleted here.
        """
        self._environment.check()
        if origin == "tinymlops":
            from tinymlops.carry.merging import import_archive

            return import_archive(self._scope, Path(source), skip=skip)
        from tinymlops.carry.importing import import_runs
        from tinymlops.carry.sources import source_of

        opened = source_of(origin, source, files=files, experiment=experiment)
        try:
            return import_runs(self._scope, self.runs, opened)
        finally:
            opened.close()
