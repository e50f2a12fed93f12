"""When a job is due: pure functions from a schedule to moments in UTC, without a clock of their own.

Of a cron line, a night on which clocks change is read as Debian's cron does: a fixed time that comes twice is due once, at
the first; one that does not exist is moved to the end of the gap; a line whose hours or minutes begin with `*` follows real
time instead. cronsim computes local times; what it says twice, or of the past, is left out here.
"""

from __future__ import annotations

import re
from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Literal

import msgspec

from tinymlops.errors import DefinitionError
from tinymlops.times import format_duration, from_micros, parse_duration, parse_zone, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Decided",
    "Job",
    "Missed",
    "Schedule",
    "decide",
    "due_times",
    "job_that_was",
    "last_due",
    "next_due",
    "schedule_of",
]

Missed = Literal["coalesce", "skip", "all"]

_EVERY, _CRON = re.compile(r"every (\S+)"), re.compile(r"(.+) \((\S+)\)")
"""How `Schedule` writes itself."""
_SHORTEST = 1_000_000
_FIELDS = 5
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_MOST = 1_000_000
"""Due times that are looked through at once: a minute each for two years."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """When something is due: at fixed distances since 1970 in UTC, or by a cron line in a zone."""

    every: int | None = None
    """Microseconds."""
    cron: str | None = None
    zone: str = "UTC"

    def __str__(self) -> str:
        """Write it for people."""
        return f"every {format_duration(self.every)}" if self.every is not None else f"{self.cron} ({self.zone})"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of work that is done again and again, as data."""

    name: str
    schedule: Schedule | None = None
    after: tuple[str, ...] = ()
    """The jobs whose successful runs it follows, in place of a schedule."""
    missed: Missed = "coalesce"
    deadline: int | None = None
    """Microseconds that one attempt may take."""
    retries: int = 0
    """Attempts after the first one that fails."""
    pool: str | None = None
    """What it takes a place of while it runs; `[jobs.pools]` says how many there are."""
    wait_for: str | None = None
    """A pattern of files that must be there before it begins; {date} is the due time's day in the schedule's zone."""
    wait_limit: int | None = None
    """Microseconds that it waits for them."""
    words: tuple[str, ...] = ()
    """What is typed after `tinymlops`; empty for a function of the project."""
    description: str = ""

    @property
    def when(self) -> str:
        """When it is due, for people."""
        return f"after {', '.join(self.after)}" if self.after else str(self.schedule)

    @property
    def zone(self) -> str:
        """The zone of its schedule; UTC where it has none."""
        return "UTC" if self.schedule is None else self.schedule.zone


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """One run that follows from due times that have passed."""

    due: datetime
    runs: bool = True
    """Whether it is to be run; else it is told as skipped."""
    first: datetime
    """The first of the due times that it stands for."""
    count: int = 1
    """How many due times it stands for."""


def schedule_of(every: str | timedelta | None, cron: str | None, zone: str) -> Schedule:
    """Read a schedule.

    Args:
        every: A duration such as "1h"; due times are its multiples since 1970 in UTC.
        cron: Five fields, such as "30 2 * * 1-5".
        zone: The zone of the cron line, an IANA name.

    Raises:
        DefinitionError: If there is not exactly one of the two, or one cannot be read, or is never due.
    """
    if (every is None) == (cron is None):
        raise DefinitionError("a schedule has either every= or cron=", hint='write every="1h" or cron="30 2 * * *"')
    if every is not None:
        micros = parse_duration(every, name="every")
        if micros < _SHORTEST:
            raise DefinitionError(f"every={every!r} is too often", hint="use a second or more")
        return Schedule(every=micros)
    if not isinstance(cron, str) or len(cron.split()) != _FIELDS:
        raise DefinitionError(
            f"cron={cron!r} does not have five fields",
            hint='write minute, hour, day, month and weekday, such as "30 2 * * *"',
        )
    schedule = Schedule(cron=" ".join(cron.split()), zone=parse_zone(zone).key)
    if next(due_times(schedule, datetime(2001, 1, 1, tzinfo=UTC)), None) is None:
        raise DefinitionError(
            f"cron={cron!r} is never due", hint="there is no such day; see the third and fourth field"
        )
    return schedule


def job_that_was(name: str, when: str, *, missed: Missed) -> Job | None:
    """Return a job with an earlier schedule, from the text of it; None if it says none, or one that is none any more.

    Args:
        name: The job's name.
        when: As `Job.when` wrote it.
        missed: What is done of missed due times.

    Example:
        >>> job_that_was("orders", "30 2 * * * (Europe/Vienna)", missed="all").schedule
        Schedule(every=None, cron='30 2 * * *', zone='Europe/Vienna')
    """
    if when.startswith("after "):
        return Job(name=name, after=tuple(when.removeprefix("after ").split(", ")), missed=missed)
    cron, _, zone = when.removesuffix(")").rpartition(" (")
    try:
        schedule = (
            schedule_of(when.removeprefix("every "), None, "UTC")
            if when.startswith("every ")
            else schedule_of(None, cron, zone)
        )
    except DefinitionError:
        return None
    return Job(name=name, schedule=schedule, missed=missed)


def due_times(schedule: Schedule, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
    """Yield the due times after a moment, in order, in UTC.

    Args:
        schedule: As `schedule_of` returns it.
        after: Aware; a due time at this moment is not among them.
        until: The last moment that may be among them; None for no end.

    Example:
        >>> from datetime import UTC, datetime
        >>> night = schedule_of(None, "30 2 * * *", "Europe/Vienna")
        >>> [f"{due:%d %H:%M}" for due in islice(due_times(night, datetime(2024, 10, 26, tzinfo=UTC)), 3)]
        ['26 00:30', '27 00:30', '28 01:30']
    """
    found = _multiples(schedule.every, after) if schedule.every is not None else _of_cron(schedule, after)
    for due in found:
        if until is not None and due > until:
            return
        yield due


def next_due(when: str, now: datetime) -> datetime | None:
    """Return when a job is due next, from what is stored of its schedule; None where that is no schedule of its own.

    Args:
        when: As `Job.when` writes it.
        now: Aware.

    Example:
        >>> next_due("every 1h", datetime(2024, 5, 1, 12, 30, tzinfo=UTC)).isoformat()
        '2024-05-01T13:00:00+00:00'
    """
    every, cron = _EVERY.fullmatch(when), _CRON.fullmatch(when)
    if every is None and cron is None:
        return None
    try:
        schedule = schedule_of(every[1], None, "UTC") if every else schedule_of(None, *cron.groups()) if cron else None
    except DefinitionError:  # another version wrote it
        return None
    return None if schedule is None else next(due_times(schedule, now), None)


def last_due(schedule: Schedule, at: datetime) -> datetime | None:
    """Return the last due time that is not after a moment; None if there was none since 1970.

    Args:
        schedule: As `schedule_of` returns it.
        at: Aware.

    Example:
        >>> night = schedule_of(None, "30 2 * * *", "Europe/Vienna")
        >>> last_due(night, datetime(2024, 10, 27, 1, 30, tzinfo=UTC)).isoformat()
        '2024-10-27T00:30:00+00:00'
    """
    if schedule.every is not None:
        return from_micros(to_micros(at) // schedule.every * schedule.every)
    span = timedelta(hours=1)
    while at > _EARLIEST:
        start = max(_EARLIEST, at - span)
        if found := deque(due_times(schedule, start, at), maxlen=1):
            return found[0]
        if start == _EARLIEST:
            break
        span *= 8
    return None


def decide(schedule: Schedule, after: datetime, now: datetime, *, missed: Missed, prompt: timedelta) -> list[Decided]:
    """Say what is to be run of the due times that have passed since they were last looked at.

    Args:
        schedule: As `schedule_of` returns it.
        after: Up to where due times were decided before.
        now: The clock.
        missed: "all" runs each; "coalesce" runs the last, for all; "skip" runs the last if it is in time, and no other.
        prompt: How late is still in time, for "skip".

    Returns:
        In due order.
    """
    passed = list(islice(due_times(schedule, after, now), _MOST))
    if missed == "all" or not passed:
        return [Decided(due=due, first=due) for due in passed]
    if missed == "coalesce":
        return [Decided(due=passed[-1], first=passed[0], count=len(passed))]
    last = [Decided(due=passed.pop(), first=now)] if now - passed[-1] <= prompt else []
    late = [Decided(due=passed[-1], runs=False, first=passed[0], count=len(passed))] if passed else []
    return late + [msgspec.structs.replace(one, first=one.due) for one in last]


def _multiples(every: int, after: datetime) -> Iterator[datetime]:
    number = to_micros(after) // every
    while True:
        number += 1
        try:
            yield from_micros(number * every)
        except OverflowError:  # the year 9999 ends
            return


def _of_cron(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    from cronsim import CronSim, CronSimError

    try:
        # A line with a fixed hour is read without the zone's fold: what is not after the last is left out below.
        local = CronSim(schedule.cron or "", after.astimezone(parse_zone(schedule.zone)))
    except CronSimError as error:
        raise DefinitionError(
            f"cron={schedule.cron!r} cannot be read: {error}",
            hint='write minute, hour, day, month and weekday, such as "30 2 * * *"',
        ) from error
    last = after
    try:
        for moment in local:
            due = moment.astimezone(UTC)
            if due > last:
                yield due
                last = due
    except OverflowError:
        return
