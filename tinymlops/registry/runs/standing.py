"""What runs stand on, written into their rows: at once if this process knows it, else in the background."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymlops.errors import TinyMLOpsError
from tinymlops.registry.runs.changing import RunChange, changed
from tinymlops.registry.surroundings import Surroundings, read_surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tinymlops.registry.runs.log import RunLog
    from tinymlops.registry.scope import Scope

__all__ = ["RunSurroundings"]

_PATIENCE = 15.0
"""Seconds to wait for git and others when the workspace is closed."""


class RunSurroundings:
    """Writes commit, changes, packages and machine into the rows of the runs of a workspace.

    Args:
        scope: The workspace and the actor.
        log: Writes changes.
    """

    def __init__(self, scope: Scope, log: RunLog) -> None:
        self._scope = scope
        self._log = log
        self._changed = threading.Condition()
        self._expected = 0

    @contextmanager
    def of(self, run: str, *, patch: bool) -> Iterator[Mapping[str, Any]]:
        """Yield the columns of a run that is inserted in the block; they are written later if they are not known yet.

        Args:
            run: Its id.
            patch: Whether to keep the uncommitted changes.
        """
        reading = read_surroundings(_here())
        if reading.done is None:
            yield {}
            with self._changed:
                self._expected += 1
            reading.then(lambda found: self._later(run, found, patch=patch))
        elif patch and reading.done.patch is not None:
            with self._scope.publishing():
                yield self._columns(reading.done, patch=True)
        else:
            yield self._columns(reading.done, patch=False)

    def wait(self) -> None:
        """Wait until the runs that were started have what they stand on."""
        with self._changed:
            self._changed.wait_for(lambda: not self._expected, timeout=_PATIENCE)

    def _later(self, run: str, found: Surroundings, *, patch: bool) -> None:
        try:
            # The workspace may be closed, and the run be deleted.
            with suppress(TinyMLOpsError):
                if patch and found.patch is not None:
                    with self._scope.publishing():
                        change = RunChange(run, fields=self._columns(found, patch=True))
                        with self._scope.write(audit=None) as tx:
                            changed(tx, run, [change])
                else:
                    self._log.append_unasked(run, [RunChange(run, fields=self._columns(found, patch=False))])
        finally:
            with self._changed:
                self._expected -= 1
                self._changed.notify_all()

    def _columns(self, found: Surroundings, *, patch: bool) -> dict[str, Any]:
        columns: dict[str, Any] = {
            "git_commit": found.git_commit,
            "git_dirty": found.git_dirty,
            "packages": found.packages,
            "machine": found.machine,
        }
        if patch and found.patch is not None and found.patch_sha256 is not None:
            if not self._scope.environment.blobs.exists(found.patch_sha256):
                self._scope.environment.blobs.put(found.patch)
            columns["patch_sha256"] = found.patch_sha256
        return columns


def _here() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return None
