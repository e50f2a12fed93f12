"""`/v1/jobs`: jobs that runners have seen, what became of their due times, and what is asked of the runner.

The jobs are those of the workspace: a server has no code of the project, and runs none.
"""

from datetime import datetime
from typing import Annotated, Literal

from litestar import get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody, QueryParameter

from tinymlops.errors import NotFoundError
from tinymlops.records import JobRun, JobState
from tinymlops.schedules import next_due
from tinymlops.server.errors import documented
from tinymlops.server.job_messages import (
    HistoryAnswer,
    JobsAnswer,
    ListedJob,
    LogsAnswer,
    PauseRequest,
    RerunRequest,
    ResumeRequest,
    StartRequest,
)
from tinymlops.server.route_class import ADMIN, READ, WRITE
from tinymlops.times import parse_instant
from tinymlops.workspace import Workspace

__all__ = ["job_routes"]

Limit = Annotated[int, QueryParameter(ge=1, le=1_000, description="At most so many.")]
Name = Annotated[str | None, QueryParameter(max_length=1_000)]
After = Annotated[str | None, QueryParameter(max_length=1_000, description="`next` of the page before.")]
State = Annotated[
    Literal["waiting", "running", "succeeded", "failed", "skipped"] | None,
    QueryParameter(name="state", description="Without it, all."),
]
Due = Annotated[datetime | None, QueryParameter(description="With its zone; without it the last one that there was.")]
Attempt = Annotated[
    int | None, QueryParameter(ge=1, le=2**63 - 1, description="Whose log is wanted; without it the last.")
]


def job_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_reading(ws), *_running(ws), *_pausing(ws)]


def _reading(ws: Workspace) -> list[HTTPRouteHandler]:
    @get("/v1/jobs", opt=READ, sync_to_thread=True, operation_id="list_jobs", responses=documented(400))
    def list_jobs(limit: Limit = 100, after: After = None) -> JobsAnswer:
        """List jobs by name: when each is due next, and how its last run ended."""
        now = ws.jobs.clock()
        found = ws.jobs.page(after=after or "", limit=limit + 1)
        jobs = [_listed(ws, state, now) for state in found[:limit]]
        return JobsAnswer(jobs=jobs, now=now, next=jobs[-1].job if len(found) > limit else None)

    @get("/v1/jobs/history", opt=READ, sync_to_thread=True, operation_id="list_job_runs", responses=documented(400))
    def history(job: Name = None, in_state: State = None, limit: Limit = 100) -> HistoryAnswer:
        """List what became of due times, the last first."""
        return HistoryAnswer(runs=ws.jobs.history(job, state=in_state, limit=limit))

    @get(
        "/v1/jobs/{name:str}/logs",
        opt=READ,
        sync_to_thread=True,
        operation_id="get_job_log",
        responses=documented(400, 404),
    )
    def logs(name: FromPath[str], due: Due = None, attempt: Attempt = None) -> LogsAnswer:
        """Show one run, its attempts, and what the last of them wrote, or the one that is named."""
        run = ws.jobs.get(name, None if due is None else parse_instant(due, name="due"))
        attempts = ws.jobs.attempts(name, run.due)
        known = [one.id for one in attempts]
        if attempt is not None and attempt not in known:
            raise NotFoundError(
                f"the run of {name!r} that was due at {run.due:%Y-%m-%d %H:%M:%S} UTC has no attempt {attempt}",
                hint=f"it has {', '.join(map(str, known)) or 'none yet'}",
            )
        number = attempt if attempt is not None else run.attempt
        log = None if number is None else ws.jobs.log(number)
        return LogsAnswer(run=run, attempts=attempts, attempt=number, log=log)

    return [list_jobs, history, logs]


def _running(ws: Workspace) -> list[HTTPRouteHandler]:
    @post(
        "/v1/jobs/{name:str}/start",
        opt=WRITE,
        status_code=200,
        sync_to_thread=True,
        operation_id="start_job",
        responses=documented(404, 409, body=True),
    )
    def start(name: FromPath[str], data: JSONBody[StartRequest]) -> JobRun:
        """Run a job once now, beside its schedule, by a runner that goes on."""
        ws.jobs.state(name)
        return ws.jobs.start(name, due=None if data.due is None else parse_instant(data.due, name="due"))

    @post(
        "/v1/jobs/{name:str}/rerun",
        opt=WRITE,
        status_code=200,
        sync_to_thread=True,
        operation_id="rerun_job",
        responses=documented(404, 409, body=True),
    )
    def rerun(name: FromPath[str], data: JSONBody[RerunRequest]) -> JobRun:
        """Run a due time again, by a runner that goes on."""
        return ws.jobs.rerun(name, None if data.due is None else parse_instant(data.due, name="due"))

    return [start, rerun]


def _pausing(ws: Workspace) -> list[HTTPRouteHandler]:
    @post(
        "/v1/jobs/{name:str}/pause",
        opt=ADMIN,
        status_code=200,
        sync_to_thread=True,
        operation_id="pause_job",
        responses=documented(404, 409, body=True),
    )
    def pause(name: FromPath[str], data: JSONBody[PauseRequest]) -> JobState:  # noqa: ARG001 - an empty object
        """Start no attempts of a job any more."""
        return ws.jobs.pause(name)

    @post(
        "/v1/jobs/{name:str}/resume",
        opt=ADMIN,
        status_code=200,
        sync_to_thread=True,
        operation_id="resume_job",
        responses=documented(404, 409, body=True),
    )
    def resume(name: FromPath[str], data: JSONBody[ResumeRequest]) -> JobState:  # noqa: ARG001 - an empty object
        """Start attempts of a paused job again; what was due meanwhile counts as missed."""
        return ws.jobs.pause(name, resume=True)

    return [pause, resume]


def _listed(ws: Workspace, state: JobState, now: datetime) -> ListedJob:
    return ListedJob(
        job=state.job,
        when=state.schedule,
        next=None if state.paused_at is not None else next_due(state.schedule, now),
        paused_at=state.paused_at,
        last=next(iter(ws.jobs.history(state.job, limit=1)), None),
    )
