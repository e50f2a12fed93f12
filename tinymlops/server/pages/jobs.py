"""`/jobs`: what is due, what became of due times, and what a run wrote; started, run again, paused and resumed."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

from litestar import Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import Redirect

from tinymlops.display.listed_jobs import listed_job, listed_jobs
from tinymlops.errors import DataError, NotFoundError
from tinymlops.records import JobAttempt, JobRun
from tinymlops.registry.job_changes import REMOVED
from tinymlops.registry.job_rows import STATES
from tinymlops.server.pages.addresses import job_path, job_run_path
from tinymlops.server.pages.rendering import page, url
from tinymlops.server.pages.routing import AnyRequest, Form, shows, takes
from tinymlops.server.route_class import ADMIN, READ, WRITE
from tinymlops.times import parse_instant
from tinymlops.workspace import Workspace

__all__ = ["job_routes"]

State = Annotated[str, QueryParameter(name="state")]

_SHOWN = 50
_DRAWN = 60
"""Runs in the picture of a job."""
_NAMED = timedelta(minutes=9)
"""How long a page names the start that its button asks for, so that sending it twice starts once."""
_LONGEST = 200_000
"""Characters of a log that a page shows."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class _Tried(NamedTuple):
    """A run with its attempts."""

    run: JobRun
    attempts: list[JobAttempt]

    @property
    def late(self) -> float | None:
        """Seconds from when it could have begun until it first did."""
        return self.attempts[0].late_us / 1e6 if self.attempts else None

    @property
    def seconds(self) -> float | None:
        """What its last attempt took; None while it goes on."""
        ended = self.attempts[-1].ended_at if self.attempts else None
        return None if ended is None else (ended - self.attempts[-1].started_at).total_seconds()


def job_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handlers."""
    return [*_looking(ws), *_asking(ws)]


def _looking(ws: Workspace) -> list[HTTPRouteHandler]:
    @shows("/jobs", opt=READ)
    def jobs(request: AnyRequest) -> Response[Any]:
        """List jobs, the failed ones first."""
        return page(request, "jobs.html", title="Jobs", jobs=listed_jobs(ws.jobs))

    @shows("/jobs/{name:str}", opt=READ)
    def job(
        request: AnyRequest, name: FromPath[str], in_state: State = "", before: FromQuery[str] = ""
    ) -> Response[Any]:
        """Show a job and what became of its due times."""
        said = ws.jobs.state(name)
        until = parse_instant(before, name="before") if before else None
        runs = ws.jobs.history(name, state=in_state or None, before=until, limit=_SHOWN + 1)
        newest = ws.jobs.history(name, limit=_DRAWN)
        return page(
            request,
            "job.html",
            title=name,
            one=listed_job(ws.jobs, said),
            moment=ws.jobs.clock(),
            states=STATES,
            chosen=in_state,
            before=before,
            tried=_tried(ws, runs[:_SHOWN]),
            following=runs[_SHOWN - 1].due if len(runs) > _SHOWN else None,
            drawn=list(reversed(_tried(ws, newest))),
            is_removed=said.schedule == REMOVED,
        )

    @shows("/jobs/{name:str}/{due:str}", opt=READ)
    def run(
        request: AnyRequest, name: FromPath[str], due: FromPath[str], attempt: FromQuery[int | None] = None
    ) -> Response[Any]:
        """Show a run, its attempts and what one of them wrote."""
        found = ws.jobs.get(name, parse_instant(due, name="due"))
        attempts = ws.jobs.attempts(name, found.due)
        known = [one.id for one in attempts]
        if attempt is not None and attempt not in known:
            raise NotFoundError(
                f"the run has no attempt {attempt}", hint=f"it has {', '.join(map(str, known)) or 'none'}"
            )
        chosen = attempt if attempt is not None else found.attempt
        log = _COLOURS.sub("", (ws.jobs.log(chosen) or "") if chosen is not None else "")
        return page(
            request,
            "job_run.html",
            title=f"{name} due {found.due:%Y-%m-%d %H:%M:%S} UTC",
            job=name,
            one=_Tried(found, attempts),
            chosen=chosen,
            log=log[-_LONGEST:],
            left_out=max(0, len(log) - _LONGEST),
            may_rerun=found.state not in ("waiting", "running"),
        )

    return [jobs, job, run]


def _asking(ws: Workspace) -> list[HTTPRouteHandler]:
    @takes("/jobs/{name:str}/start", opt=WRITE)
    def start(request: AnyRequest, name: FromPath[str], data: Form) -> Response[Any]:
        """Run a job once now, beside its schedule; a form that is sent twice starts it once."""
        ws.jobs.state(name)
        made = ws.jobs.start(name, due=_named_start(data.get("moment", ""), ws.jobs.clock()))
        return Redirect(url(request, job_run_path(name, made.due)), status_code=303)

    @takes("/jobs/{name:str}/{due:str}/rerun", opt=WRITE)
    def rerun(request: AnyRequest, name: FromPath[str], due: FromPath[str], data: Form) -> Response[Any]:  # noqa: ARG001
        """Run a due time again."""
        made = ws.jobs.rerun(name, parse_instant(due, name="due"))
        return Redirect(url(request, job_run_path(name, made.due)), status_code=303)

    @takes("/jobs/{name:str}/pause", opt=ADMIN)
    def pause(request: AnyRequest, name: FromPath[str], data: Form) -> Response[Any]:  # noqa: ARG001
        """Start no attempts any more."""
        ws.jobs.pause(name)
        return Redirect(url(request, job_path(name)), status_code=303)

    @takes("/jobs/{name:str}/resume", opt=ADMIN)
    def resume(request: AnyRequest, name: FromPath[str], data: Form) -> Response[Any]:  # noqa: ARG001
        """Start attempts again."""
        ws.jobs.pause(name, resume=True)
        return Redirect(url(request, job_path(name)), status_code=303)

    return [start, rerun, pause, resume]


def _tried(ws: Workspace, runs: list[JobRun]) -> list[_Tried]:
    attempts: dict[datetime, list[JobAttempt]] = {}
    for one in ws.jobs.attempts_at(runs):
        attempts.setdefault(one.due, []).append(one)
    return [_Tried(one, attempts.get(one.due, [])) for one in runs]


def _named_start(text: str, now: datetime) -> datetime | None:
    """Return the moment that names a start; None where the page was loaded too long ago for that."""
    try:
        moment = parse_instant(text, name="moment")
    except DataError:
        return None
    return moment if timedelta(0) <= now - moment <= _NAMED else None
