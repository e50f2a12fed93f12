"""`jobs`: what is due, the runner, and what became of it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinymlops.errors import NotFoundError, near
from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
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
    for function in (run, start, rerun, backfill, history, pause, resume, logs):
        command(inner)(function)


def list_jobs(session: Session) -> Answer:
    """List the project's jobs: when each is due next, and how its last run ended."""
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
    from tinymlops.features.definitions.scheduling import check_chains
    from tinymlops.jobs.channels import channels_of
    from tinymlops.jobs.runner import Runner

    jobs = session.project.jobs
    check_chains(jobs)
    told: list[str] = []

    def tell(line: str) -> None:
        if once:
            told.append(line)
        print(line, file=sys.stderr, flush=True)

    runner = Runner(
        session.workspace.jobs,
        list(jobs.values()),
        [sys.executable, "-m", "tinymlops_cli.job_process"],
        root=session.root,
        at_once=at_once,
        grace=grace,
        tell=tell,
        channels=channels_of(session.config.alerts, session.root),
    )
    if with_input:
        threading.Thread(target=_stop_with_input, args=(runner,), daemon=True).start()
    with _stopped_by_signals(runner):
        if once:
            runner.run_until_idle()
        else:
            tell(f"{len(jobs):,} jobs; Ctrl+C ends the runner")
            runner.run()
    return Answer({"jobs": len(jobs), "told": told}, ["stopped" if not once else f"{len(told):,} lines told"])


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


def _answer(run: "JobRun") -> Answer:
    return Answer(run, [f"{run.job} of {run.due:%Y-%m-%d %H:%M:%S} UTC waits for a runner"])


def _listed(session: Session, job: "Job", state: "JobState | None", now: datetime) -> dict[str, Any]:
    from tinymlops.schedules import due_times

    last = next(iter(session.workspace.jobs.history(job.name, limit=1)), None)
    return {
        "job": job.name,
        "when": job.when,
        "next": None if job.schedule is None else next(due_times(job.schedule, now), None),
        "last": None if last is None else last.due,
        "state": "paused" if state is not None and state.paused_at else None if last is None else last.state,
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
