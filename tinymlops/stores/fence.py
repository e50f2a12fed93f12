"""The fence of a job: a process that works for an attempt commits only while that attempt is the one in force.

The runner names workspace and attempt in the environment of the process that it starts, so that all its threads and the
programs it starts are held as well. Each of their transactions looks at the attempt before it commits; what was given up
for lost, or ended, cannot commit any more.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError

if TYPE_CHECKING:
    import sqlite3

__all__ = ["FENCE", "Fence", "fence_of", "fenced"]

FENCE = "TINYMLOPS_JOB_FENCE"
"""The variable of the environment: the number of an attempt, a colon, and the path of the workspace."""

_IN_FORCE = """SELECT 1 FROM job_attempts JOIN job_runs USING (job, due)
    WHERE job_attempts.id = ? AND job_runs.attempt = job_attempts.id AND job_runs.state = 'running'"""


class Fence:
    """The attempt that this process works for.

    Args:
        attempt: Its number.
    """

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt

    def check(self, connection: sqlite3.Connection) -> None:
        """Refuse to go on unless the attempt is in force.

        Args:
            connection: Inside a write transaction.

        Raises:
            ConflictError: If another attempt took its place, or it has ended.
        """
        found = connection.execute(_IN_FORCE, (self.attempt,)).fetchone()
        if found is None:
            raise ConflictError(
                f"attempt {self.attempt} of a job has ended or was given up, so that it may not write any more",
                hint="see what took its place: tinymlops jobs history",
            )


def fenced(attempt: int, workspace: Path) -> dict[str, str]:
    """Return what the environment of a process must have in it that works for an attempt."""
    return {FENCE: f"{attempt}:{os.path.realpath(workspace)}"}


def fence_of(workspace: Path, environment: Mapping[str, str] = os.environ) -> Fence | None:
    """Return the fence that this process has for a workspace; None if it works for no job of it."""
    attempt, _, path = environment.get(FENCE, "").partition(":")
    if not attempt.isdecimal() or os.path.realpath(workspace) != path:
        return None
    return Fence(int(attempt))
