"""What goes over the wire of jobs: a Struct for each body, from which the OpenAPI document is made."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from tinymlops.records import JobAttempt, JobRun

__all__ = [
    "HistoryAnswer",
    "JobsAnswer",
    "ListedJob",
    "LogsAnswer",
    "PauseRequest",
    "RerunRequest",
    "ResumeRequest",
    "StartRequest",
]

Moment = Annotated[datetime, Meta(tz=True)]


class StartRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a job is started: now, or at a moment that names the start, so that sending it again starts nothing more."""

    due: Moment | None = None
    """Of the last ten minutes of the server's clock, with its zone; `now` of `GET /v1/jobs` is one."""


class RerunRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is run again."""

    due: Moment | None = None
    """A due time that there was, with its zone; without it the last one."""


class PauseRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An empty object."""


class ResumeRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An empty object."""


class ListedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a runner has seen."""

    job: str
    when: str
    """Its schedule, or what it follows, as people read it."""
    next: datetime | None
    """When it is due next; null where it is paused, or follows another job."""
    paused_at: datetime | None
    last: JobRun | None
    """The run that was due last."""


class JobsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, by name."""

    jobs: list[ListedJob]
    now: datetime
    """The server's clock."""
    next: str | None
    """`after` of the next page; null on the last."""


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of due times, the last first."""

    runs: list[JobRun]


class LogsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One run, its attempts in order, and what one of them wrote."""

    run: JobRun
    attempts: list[JobAttempt]
    attempt: int | None
    """The one whose log this is; null before the first."""
    log: str | None
    """So far, if it goes on; null where nothing is kept."""
