"""What the project says of jobs: also as a program of its own, which a runner starts when files of the project change."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tinymlops.config import FILE_NAME
from tinymlops.errors import TinyMLOpsError

if TYPE_CHECKING:
    from tinymlops.jobs.rereading import ProjectJobs
    from tinymlops_cli.session import Session

__all__ = ["main", "read_jobs"]


def read_jobs(session: "Session") -> "ProjectJobs":
    """Read and check the jobs of a project.

    Raises:
        DefinitionError: If they cannot be run as they are.
    """
    from tinymlops.features.definitions.scheduling import check_chains, check_pools
    from tinymlops.jobs.rereading import ProjectJobs

    jobs, pools = session.project.jobs, session.config.jobs.pools
    check_chains(jobs)
    check_pools(jobs, pools)
    return ProjectJobs(jobs=tuple(jobs.values()), pools=pools, files=_files(session.root))


def main(root: str, output: str) -> int:
    """Write what a project says of jobs, as JSON.

    Args:
        root: The project's directory.
        output: The descriptor to write it to.

    Returns:
        The exit code.
    """
    from tinymlops_cli.failures import exit_code, ours, report
    from tinymlops_cli.session import Session

    os.set_inheritable(int(output), False)
    try:
        with Session(Path(root)) as session, os.fdopen(int(output), "wb") as file:
            file.write(msgspec.json.encode(read_jobs(session)))
    except Exception as raised:  # noqa: BLE001 - the user's code may raise anything
        error = ours(raised, Path(root))
        report(error, as_json=False)
        return exit_code(error)
    return 0


def _files(root: Path) -> tuple[str, ...]:
    """Return the files that make the project what it is: its settings, and the modules that were imported from its directory."""
    root = root.resolve()
    found = {str(root / FILE_NAME)}
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str) and name.endswith(".py"):
            path = Path(name).resolve()
            if path.is_relative_to(root) and "site-packages" not in path.parts:
                found.add(str(path))
    return tuple(sorted(found))


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except TinyMLOpsError as error:  # before there was anything to report it with
        sys.exit(str(error))
