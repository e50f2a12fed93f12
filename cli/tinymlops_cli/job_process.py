"""The program that a runner starts for one attempt at a job: it does the work, and records that it succeeded."""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.errors import DefinitionError, TinyMLOpsError, is_fault, near
from tinymlops.jobs.processes import Order, order_of
from tinymlops.times import ReplayClock, from_micros

if TYPE_CHECKING:
    from tinymlops.schedules import Job
    from tinymlops_cli.session import Session

__all__ = ["main"]


def main() -> int:
    """Make one attempt.

    Returns:
        The exit code.
    """
    order = order_of()
    os.set_inheritable(order.lock, False)
    if order.limit is not None:  # a thread in C, which a hung interpreter does not stop
        faulthandler.dump_traceback_later(order.limit, exit=True)
    from tinymlops_cli.failures import exit_code, ours, report
    from tinymlops_cli.session import use_clock

    if order.now is not None:
        use_clock(ReplayClock(from_micros(order.now)))
    root = Path(order.root)
    try:
        return _attempt(root, order)
    except BaseException as raised:
        if not is_fault(raised):
            raise
        traceback.print_exception(raised)
        error = ours(raised, root)
        report(error, as_json=False)
        return exit_code(error)


def _attempt(root: Path, order: Order) -> int:
    from tinymlops_cli.session import Session

    with Session(root, Path(order.workspace)) as session:
        code = _work(session, order)
    if code == 0:  # all that it wrote in the background is stored: from now on it may write nothing
        with Session(root, Path(order.workspace)) as session:
            session.workspace.jobs.finish(order.attempt, "succeeded", exit_code=0)
    return code


def _work(session: Session, order: Order) -> int:
    job = session.project.jobs.get(order.job)
    if job is None:
        hint = near(order.job, session.project.jobs)
        raise DefinitionError(f"the project has no job {order.job!r} any more", hint=hint)
    return _command(job, order) if job.words else _call(session, order)


def _call(session: Session, order: Order) -> int:
    from tinymlops.jobs.context import JobContext

    due = from_micros(order.due)
    workspace = session.workspace
    since = workspace.jobs.last_success(order.job, due)
    session.project.work[order.job](JobContext(workspace, order.job, due, since, order.attempt))
    return 0


def _command(job: Job, order: Order) -> int:
    from tinymlops_cli.app import app

    due = f"{from_micros(order.due):%Y-%m-%dT%H-%M-%SZ}"
    words = [word.replace("{due}", due).replace("{attempt}", str(order.attempt)) for word in job.words]
    code = app([*words, "--project", order.root, "--workspace", order.workspace], standalone_mode=False)
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyMLOpsError as error:  # before there was anything to report it with
        sys.exit(str(error))
