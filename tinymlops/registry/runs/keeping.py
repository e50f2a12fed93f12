"""What runs keep beside params and points: trees of files, output on the console, and uncommitted changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.errors import NotFoundError, near
from tinymlops.progress import progress
from tinymlops.records import Artifact, RunRow
from tinymlops.registry.runs.changing import row_of
from tinymlops.registry.runs.console import console_of
from tinymlops.registry.runs.experiments import Experiments
from tinymlops.registry.runs.tables import read_table
from tinymlops.registry.runs.values import checked_file_name

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence
    from pathlib import Path

    import polars as pl

    from tinymlops.registry.runs.log import RunLog
    from tinymlops.stores.publish import Published

__all__ = ["KeptByRuns"]

_ROWS = 5_000
"""Artifacts that are committed at once: other writers wait meanwhile."""


class KeptByRuns(Experiments):
    """What runs keep beside params and points: one of the parts of `ws.runs`."""

    log: RunLog

    @property
    def directory(self) -> Path:
        """The directory of the workspace."""
        return self._scope.environment.path

    def artifacts(self, run: str) -> builtins.list[Artifact]:
        """Return the files that a run keeps, by name."""
        return self._database.list(Artifact, where={"run": run}, order="name")

    def read_artifact(self, run: str, name: str) -> bytes:
        """Return a file's content, checked against its hash.

        Raises:
            NotFoundError: If the run has none of that name.
        """
        artifact = self._database.get(Artifact, run=run, name=name)
        if artifact is None:
            known = [other.name for other in self.artifacts(run)]
            raise NotFoundError(f"the run keeps no file {name!r}", hint=near(name, known))
        return self._scope.environment.blobs.read(artifact.sha256)

    def table(self, run: str, name: str) -> pl.DataFrame:
        """Return a table that a run keeps.

        Args:
            run: Its id.
            name: The file's name; `.parquet` or `.json` may be left out.

        Raises:
            NotFoundError: If the run has none of that name.
            DataError: If the file does not hold a table.
        """
        wanted = [name, f"{name}.parquet", f"{name}.json"]
        named = {one.name for one in self._database.list(Artifact, where={"run": run, "name": wanted})}
        found = next((one for one in wanted if one in named), name)
        return read_table(found, self.read_artifact(run, found))

    def log_files(self, run: str, files: Sequence[tuple[str, Path]]) -> builtins.list[Artifact]:
        """Store many files, each under its name; a bar tells how far it is.

        None of them is an artifact of the run before all are stored.

        Args:
            run: Its id.
            files: Name and path of each. A symbolic link is refused, and so is what is not a regular file.

        Raises:
            ConflictError: If a file changes while it is read.
        """
        for name, _ in files:
            checked_file_name(name)
        self._require_run(run)
        with self._scope.publishing():
            with progress("storing files", len(files)) as advance:
                stored = self._scope.environment.blobs.put_files([path for _, path in files], advance)
            names = [name for name, _ in files]
            artifacts = []
            for start in range(0, len(files), _ROWS):
                some = slice(start, start + _ROWS)
                artifacts += self._add(run, names[some], stored[some])
        return artifacts

    def console(self, run: str) -> str:
        """Return what a run wrote to its console; where some of it is left out, a line says how much."""
        self._require_run(run)
        self.log.flush()
        return console_of(self._database, run)

    def patch(self, run: str) -> str | None:
        """Return the changes of the code that were not committed when a run started, as `git apply` reads them.

        Returns:
            None if there were none, they were not asked for, or are not read yet.
        """
        row = self._require_run(run)
        return None if row.patch_sha256 is None else self._scope.environment.blobs.read(row.patch_sha256).decode()

    def _require_run(self, run: str) -> RunRow:
        row = self._database.get(RunRow, id=run)
        if row is None:
            with self._scope.write(audit=None) as tx:
                row = row_of(tx, run)
        return row

    def _add(self, run: str, names: Sequence[str], stored: Sequence[Published]) -> builtins.list[Artifact]:
        at = self._scope.clock()
        artifacts = [
            Artifact(run=run, name=name, sha256=one.sha256, bytes=one.bytes, at=at)
            for name, one in zip(names, stored, strict=True)
        ]
        with self._scope.write("run.log_files", run, files=len(artifacts)) as tx:
            row_of(tx, run)
            tx.put_many(artifacts)
        return artifacts
