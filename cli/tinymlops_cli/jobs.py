"""`jobs`: what is due, the runner, and what became of it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinymlops.errors import DataError, NotFoundError, near
from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.failures import UsageError
from tinymlops_cli.interrupts import INTERRUPTED
from tinymlops_cli.job_definitions import read_jobs
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.jobs.rereading import ProjectJobs, Rereader
    from tinymlops.jobs.runner import Runner
    from tinymlops.records import JobRun, JobState
    from tinymlops.schedules import Job

__all__ = ["add_to"]

Name = Annotated[str, typer.Argument(metavar="JOB", help="The job's name.", autocompletion=completion.jobs)]
Due = Annotated[
    str | None, typer.Option(metavar="TIME", help="Its due time (ISO 8601); by default the last one that there was.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "jobs", "What @project.schedule declares: run, looked at, run again.")
    command(inner, "list")(list_jobs)
    for function in (run, attempt, start, rerun, backfill, history, pause, resume, logs):
        command(inner)(function)


def list_jobs(session: Session) -> Answer:
    """List the project's jobs: when each is due next, and how its last run ended."""
    read_jobs(session)
    now = datetime.now(UTC)
    states = session.workspace.jobs.states()
    rows = [_listed(session, job, states.get(job.name), now) for job in session.project.jobs.values()]
    return Answer(rows, [Table.of(rows) if rows else 'there are no jobs: see @project.schedule(every="1h")'])


def run(
    session: Session,
    *,
    at_once: Annotated[int, typer.Option(metavar="N", min=1, help="The most jobs at once, of all runners.")] = 2,
    once: Annotated[
        bool, typer.Option("--once", help="Run what is due now, and what follows from it, and end.")
    ] = False,
    grace: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long a job that is told to end may take.")
    ] = 10.0,
    with_input: Annotated[
        bool, typer.Option("--with-input", help="End when standard input ends: with the program that started it.")
    ] = False,
) -> Answer:
    """Run jobs when they are due, until Ctrl+C; what happens is told on standard error."""
    from tinymlops.jobs.rereading import Rereader

    began = time.time()
    found = read_jobs(session)
    again = [sys.executable, "-m", "tinymlops_cli.job_definitions", str(session.root.resolve())]
    told: list[str] = []

    def tell(line: str) -> None:
        if once:
            told.append(line)
        print(line, file=sys.stderr, flush=True)

    follows = None if once else Rereader(again, found.files, since=began)
    runner = _runner(session, found, tell, at_once=at_once, grace=grace, follows=follows)
    if with_input:
        threading.Thread(target=_stop_with_input, args=(runner,), daemon=True).start()
    with _stopped_by_signals(runner):
        if once:
            runner.run_until_idle()
        else:
            tell(f"{len(found.jobs):,} jobs; Ctrl+C ends the runner")
            runner.run()
    return Answer({"jobs": len(found.jobs), "told": told}, ["stopped" if not once else f"{len(told):,} lines told"])


def attempt(
    session: Session,
    name: Name,
    *,
    due: Annotated[str | None, typer.Option(metavar="TIME", help="For this due time (ISO 8601).")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="For the last due time that is not after this moment (ISO 8601).")
    ] = None,
) -> Answer:
    """Make one attempt at one due time, here and now, unless it has succeeded: for a program that keeps time itself."""
    job = _require(session, name)
    runner = _runner(session, read_jobs(session), lambda line: print(line, file=sys.stderr, flush=True))
    moment, cause = _due_of(session, job, due, at)
    has_succeeded = session.workspace.jobs.has_succeeded(name, moment)
    with _stopped_by_signals(runner):
        run = runner.attempt(job, moment, cause=cause)
    title = f"{name} of {moment:%Y-%m-%d %H:%M:%S} UTC"
    if run is None:
        data = {"job": name, "due": moment, "state": "stopped", "attempt": None, "told": None, "log": ""}
        return Answer(data, [f"{title} did not begin: it was stopped"], code=INTERRUPTED)
    return _attempted(session, run, f"{title} before, nothing is done:" if has_succeeded else f"{title}:")


def start(session: Session, name: Name) -> Answer:
    """Run a job once now, beside its schedule, by a runner that goes on."""
    _require(session, name)
    return _answer(session.workspace.jobs.start(name))


def rerun(session: Session, name: Name, *, due: Due = None) -> Answer:
    """Run a due time again, by a runner that goes on."""
    return _answer(session.workspace.jobs.rerun(name, _moment(due, "due")))


def backfill(
    session: Session,
    name: Name,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="The first moment (ISO 8601).")],
    until: Annotated[str | None, typer.Option(metavar="TIME", help="The last moment; by default now.")] = None,
) -> Answer:
    """Run the due times of a span that have not succeeded, in their order, behind what is due now."""
    job = _require(session, name)
    jobs = session.workspace.jobs
    begin, end = _moment(since, "since"), _moment(until, "until")
    assert begin is not None
    made = jobs.backfill(job, begin, end if end is not None else jobs.clock())
    data = {
        "job": name,
        "runs": len(made),
        "first": made[0].due if made else None,
        "last": made[-1].due if made else None,
    }
    span = f", from {made[0].due:%Y-%m-%d %H:%M} to {made[-1].due:%Y-%m-%d %H:%M} UTC" if made else ""
    return Answer(data, [f"{len(made):,} runs of {name} wait{span}"])


def history(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Only of this job.", autocompletion=completion.jobs)
    ] = None,
    *,
    state: Annotated[
        str | None,
        typer.Option(
            help="Only those waiting, running, succeeded, failed or skipped.", autocompletion=completion.job_states
        ),
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 50,
) -> Answer:
    """Show what became of due times, the last first, with each attempt."""
    jobs = session.workspace.jobs
    rows = []
    for one in jobs.history(name, state=state, limit=limit):
        attempts = jobs.attempts(one.job, one.due)
        late = timedelta(microseconds=attempts[0].late_us).total_seconds() if attempts else None
        tries = [f"{try_.id} {try_.state}" for try_ in attempts]
        rows.append(
            {
                "job": one.job,
                "due": one.due,
                "state": one.state,
                "cause": one.cause,
                "stands_for": one.count,
                "late_s": late,
                "attempts": tries,
                "ended_at": one.ended_at,
                "told": one.told,
            }
        )
    return Answer(rows, [Table.of(rows) if rows else "nothing was due yet"])


def pause(session: Session, name: Name) -> Answer:
    """Start no attempts of a job any more."""
    state = session.workspace.jobs.pause(name)
    return Answer(state, [f"{name} is paused; tinymlops jobs resume {name}"])


def resume(session: Session, name: Name) -> Answer:
    """Start attempts of a paused job again; what was due meanwhile counts as missed."""
    state = session.workspace.jobs.pause(name, resume=True)
    return Answer(state, [f"{name} goes on"])


def logs(
    session: Session,
    name: Name,
    *,
    due: Due = None,
    attempt: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Of this attempt, as history numbers them.")
    ] = None,
) -> Answer:
    """Show what a run wrote: of its last attempt, or of one that is named."""
    jobs = session.workspace.jobs
    found = jobs.get(name, _moment(due, "due"))
    known = [one.id for one in jobs.attempts(name, found.due)]
    number = attempt if attempt is not None else found.attempt
    if number is None or number not in known:
        raise NotFoundError(
            f"the run of {name} that was due at {found.due:%Y-%m-%d %H:%M:%S} UTC has no such attempt",
            hint=f"it has {', '.join(map(str, known)) or 'none yet'}",
        )
    text = jobs.log(number)
    data = {"job": name, "due": found.due, "attempt": number, "log": text}
    return Answer(data, [text or f"attempt {number} wrote nothing"])


def _runner(
    session: Session,
    found: "ProjectJobs",
    tell: Callable[[str], object],
    *,
    at_once: int = 1,
    grace: float = 10.0,
    follows: "Rereader | None" = None,
) -> "Runner":
    from tinymlops.jobs.channels import channels_of
    from tinymlops.jobs.runner import Runner

    return Runner(
        session.workspace.jobs,
        found.jobs,
        [sys.executable, "-m", "tinymlops_cli.job_process"],
        root=session.root,
        at_once=at_once,
        grace=grace,
        tell=tell,
        channels=channels_of(session.config.alerts, session.root),
        pools=found.pools,
        project=follows,
    )


def _due_of(session: Session, job: "Job", due: str | None, at: str | None) -> tuple[datetime, str]:
    """Return the due time to work for, and why."""
    from tinymlops.features.definitions.scheduling import firsts_of
    from tinymlops.registry.job_rows import BY_HAND, SCHEDULE
    from tinymlops.schedules import last_due

    if (due is None) == (at is None):
        raise UsageError("an attempt has either --due or --at", hint="write --at with the time of your scheduler")
    moment, cause = _moment(due, "due"), BY_HAND
    if at is not None:
        begin = _moment(at, "at")
        assert begin is not None
        schedules = [first.schedule for first in firsts_of(session.project.jobs, job) if first.schedule is not None]
        times = [found for schedule in schedules if (found := last_due(schedule, begin)) is not None]
        moment, cause = max(times, default=None), SCHEDULE
        if moment is None:
            raise NotFoundError(f"{job.name} was not due before {at}", hint="tinymlops jobs list shows when it is")
    assert moment is not None
    if moment > session.workspace.jobs.clock():
        raise DataError(f"{moment:%Y-%m-%d %H:%M:%S} UTC lies in the future", hint="attempt it when it is due")
    return moment, f"after {', '.join(job.after)}" if job.after else cause


def _attempted(session: Session, run: "JobRun", title: str) -> Answer:
    """Say how the last attempt at a run ended, with what it wrote and with its exit code."""
    jobs = session.workspace.jobs
    last = jobs.attempts(run.job, run.due)[-1]
    assert last.id is not None
    log = jobs.log(last.id) or ""
    data = {"job": run.job, "due": run.due, "state": last.state, "attempt": last.id, "told": last.told, "log": log}
    code = 0 if run.state == "succeeded" else INTERRUPTED if last.state == "stopped" else max(1, last.exit_code or 1)
    return Answer(data, [*([log.rstrip("\n")] if log else []), f"{title} {last.state}"], code=code)


def _answer(run: "JobRun") -> Answer:
    return Answer(run, [f"{run.job} of {run.due:%Y-%m-%d %H:%M:%S} UTC waits for a runner"])


def _listed(session: Session, job: "Job", state: "JobState | None", now: datetime) -> dict[str, Any]:
    from tinymlops.schedules import due_times

    last = next(iter(session.workspace.jobs.history(job.name, limit=1)), None)
    is_paused = state is not None and state.paused_at is not None
    return {
        "job": job.name,
        "when": job.when,
        "next": None if job.schedule is None or is_paused else next(due_times(job.schedule, now), None),
        "last": None if last is None else last.due,
        "state": "paused" if is_paused else None if last is None else last.state,
        "does": job.description,
    }


def _require(session: Session, name: str) -> "Job":
    jobs = session.project.jobs
    if name not in jobs:
        raise NotFoundError(f"the project has no job {name!r}", hint=near(name, jobs, otherwise="tinymlops jobs list"))
    return jobs[name]


def _moment(text: str | None, name: str) -> datetime | None:
    from tinymlops.times import parse_instant

    return None if text is None else parse_instant(text, name=name)


def _stop_with_input(runner: "Runner") -> None:
    while os.read(0, 4096):
        pass
    runner.stop()


@contextmanager
def _stopped_by_signals(runner: "Runner") -> Iterator[None]:
    """Let SIGINT and SIGTERM stop a runner; a second one is what it always is."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _: object) -> None:
        signal.signal(number, before[signal.Signals(number)])
        runner.stop()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
