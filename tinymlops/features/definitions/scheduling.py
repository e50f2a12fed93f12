"""`project.schedule`, `project.command` and `project.train`: what is done again and again, and when."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_args

from tinymlops.errors import ConflictError, DefinitionError, near
from tinymlops.features.definitions.code import is_interactive
from tinymlops.features.definitions.declared import Declared
from tinymlops.features.definitions.nouns import FeatureView, Source, TrainingSet, check_name
from tinymlops.schedules import Job, Missed, schedule_of
from tinymlops.times import parse_duration

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["DeclaresJobs", "Training", "check_chains", "check_pools", "firsts_of"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Callable[..., Any])

_MOST_RETRIES = 100


class Training(Generic[P, R]):
    """A function that trains on a training set within a run; made by `project.train`.

    Args:
        function: Takes the data and the run.
        data: The training set.
        experiment: Of the run.
    """

    def __init__(self, function: Callable[P, R], data: TrainingSet | str, experiment: str | None) -> None:
        self.function, self.data, self.experiment = function, data, experiment
        self.name = check_name(function.__name__, "training function")
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<training {self.name}>"

    def run(self, workspace: Any) -> Any:
        """Build the training data, and call the function within a run of its name.

        Args:
            workspace: The `tm.Workspace`.

        Returns:
            What the function returned.
        """
        data = workspace.get_training_data(self.data)
        with workspace.start_run(self.name, experiment=self.experiment, data=data) as run:
            return self.function(data, run)  # type: ignore[call-arg]  # as `train` says


class DeclaresJobs(Declared):
    """A project's decorators for jobs."""

    def __init__(self, name: str, *, tz: str = "UTC") -> None:
        super().__init__(name, tz=tz)
        self.jobs: dict[str, Job] = {}
        self.work: dict[str, Callable[[Any], object]] = {}

    def schedule(
        self,
        *,
        every: str | timedelta | None = None,
        cron: str | None = None,
        zone: str | None = None,
        after: str | Sequence[str] | None = None,
        missed: Missed = "coalesce",
        deadline: str | timedelta | None = None,
        retries: int = 0,
        pool: str | None = None,
        wait_for: str | None = None,
        wait_limit: str | timedelta | None = None,
        name: str | None = None,
    ) -> Callable[[T], T]:
        """Have something done again and again by `tinymlops jobs run`; put it above the other decorators.

        Of a source that is its ingest, of a feature view its materialization, of a `project.train` its training, and of any
        function a call with a `tm.JobContext`.

        Args:
            every: A duration such as "1h": due at its multiples since 1970 in UTC.
            cron: Minute, hour, day, month and weekday, such as "30 2 * * 1-5".
            zone: The zone of `cron`, by default the project's.
            after: In place of both, a job: this one follows each of its successful runs. Or several: it runs once when each of
                them has succeeded anew; docs/guide/jobs.md has the rule.
            missed: What is done of due times at which no runner was there: "coalesce" does the last one, for all of them,
                "skip" none, "all" each, in order.
            deadline: How long one attempt may take, such as "10m": then its processes are ended.
            retries: How often it is tried again after a failure: after 30 s, and then twice as long each time.
            pool: A name; of all jobs with it no more run at once than `[jobs.pools]` in `tinymlops.toml` says.
            wait_for: A file, or a pattern such as "data/{date}*.csv", that must be there and must not change any more before an
                attempt begins. It starts at the project's directory; {date} is the day of the due time in the schedule's zone.
            wait_limit: How long it waits from its due time, by default "1d"; then it has failed.
            name: The job's name; by default that of what is scheduled.

        Returns:
            A decorator that returns what it is given.

        Raises:
            DefinitionError: If an option cannot be used, or there is not exactly one of `every`, `cron` and `after`.
            ConflictError: If the project has another job of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("shop", tz="Europe/Vienna")
            >>> @project.schedule(every="1h", retries=3)
            ... @project.source(timestamp="at")
            ... def orders() -> str:
            ...     return "select * from read_parquet('orders.parquet')"
            >>> @project.schedule(after="orders", deadline="10m")
            ... def report(job: tm.JobContext) -> None:
            ...     print(job.workspace.sql("select count(*) from orders"))
            >>> [(job.name, job.when) for job in project.jobs.values()]
            [('orders', 'every 1h'), ('report', 'after orders')]
        """
        when = _when(every, cron, zone, after, missed, tz=self.tz)
        options = {**when, **_options(missed, deadline, retries, pool, wait_for, wait_limit)}

        def declare(what: T) -> T:
            work = _work_of(what)
            said = name if name is not None else str(getattr(what, "__name__", ""))
            about = (what.__doc__ or "").strip().partition("\n")[0]
            module = getattr(getattr(what, "function", what), "__module__", "")
            self._add_job(Job(name=check_name(said, "job"), description=about, **options), work, module)
            return what

        return declare

    def command(
        self,
        name: str,
        *words: str,
        every: str | timedelta | None = None,
        cron: str | None = None,
        zone: str | None = None,
        after: str | Sequence[str] | None = None,
        missed: Missed = "coalesce",
        deadline: str | timedelta | None = None,
        retries: int = 0,
        pool: str | None = None,
        wait_for: str | None = None,
        wait_limit: str | timedelta | None = None,
    ) -> Job:
        """Have a command of `tinymlops` run again and again, such as `gc`, `backup`, `checks run`, `monitor` or `predict`.

        Args:
            name: The job's name.
            words: What is typed after `tinymlops`, a word each; in them, {due} is the due time and {attempt} a number
                that no other attempt has, as in "copies/{due}-{attempt}".
            every: As for `schedule`, and so are all others.
            cron: As there.
            zone: As there.
            after: As there.
            missed: As there.
            deadline: As there.
            retries: As there.
            pool: As there.
            wait_for: As there.
            wait_limit: As there.

        Returns:
            The job.

        Raises:
            DefinitionError: As for `schedule`, or if there is no word.
            ConflictError: If the project has another job of this name.

        Example:
            >>> import tinymlops as tm
            >>> project = tm.Project("shop")
            >>> project.command("clean", "gc", "--grace", "30d", cron="0 3 * * 0").when
            '0 3 * * 0 (UTC)'
        """
        if not words or not all(isinstance(word, str) and word for word in words):
            raise DefinitionError(
                f"job {name!r} has no command", hint='write its words: project.command("clean", "gc", every="1d")'
            )
        when = _when(every, cron, zone, after, missed, tz=self.tz)
        options = {**when, **_options(missed, deadline, retries, pool, wait_for, wait_limit)}
        job = Job(name=check_name(name, "job"), words=words, description=f"tinymlops {' '.join(words)}", **options)
        self._add_job(job, None, "")
        return job

    def train(
        self, *, data: TrainingSet | str, experiment: str | None = None
    ) -> Callable[[Callable[P, R]], Training[P, R]]:
        """Make a function that trains on a training set: it takes the data and the run, and can be scheduled.

        Args:
            data: The training set, or its name: built anew for each run.
            experiment: The experiment of the runs; by default the one called "Default".

        Returns:
            A decorator: the function becomes a `Training`, which `.run(ws)` does once.
        """
        return lambda function: Training(function, data, experiment)

    def _add_job(self, job: Job, work: Callable[[Any], object] | None, module: str) -> None:
        known = self.jobs.get(job.name)
        if known is not None and known != job and not is_interactive(module or "__main__"):
            raise ConflictError(
                f"project {self.name!r} already has a job {job.name!r}, {known.when}",
                hint="give one of the two another name: name=",
            )
        self.jobs[job.name] = job
        if work is not None:
            self.work[job.name] = work


def check_chains(jobs: Mapping[str, Job]) -> None:
    """Check that every job that follows another one comes, at last, from one with a schedule.

    Raises:
        DefinitionError: If it follows one that does not exist, or itself.
    """
    for job in jobs.values():
        for after in job.after:
            if after not in jobs:
                raise DefinitionError(f"job {job.name!r} follows {after!r}, which is not a job", hint=near(after, jobs))
    sound: set[str] = set()
    for name in jobs:
        circle = _circle(jobs, name, sound)
        if circle is not None:
            raise DefinitionError(
                f"jobs follow each other in a circle: {', '.join(circle)}", hint="give one of them a schedule"
            )


def check_pools(jobs: Mapping[str, Job], pools: Mapping[str, int]) -> None:
    """Check that every pool that a job names has a size.

    Args:
        jobs: By name.
        pools: The sizes, from `tinymlops.toml`.

    Raises:
        DefinitionError: If one has none, with the near match.
    """
    for job in jobs.values():
        if job.pool is not None and job.pool not in pools:
            raise DefinitionError(
                f"job {job.name!r} is in the pool {job.pool!r}, whose size nothing says",
                hint=near(job.pool, pools, otherwise=f"write into tinymlops.toml: [jobs.pools] and {job.pool} = 1"),
            )


def _circle(jobs: Mapping[str, Job], start: str, sound: set[str]) -> list[str] | None:
    """Return the names of a circle of jobs that a job leads to; what leads to none is added to `sound`."""
    chain, ways = [start], [iter(jobs[start].after)]
    while chain:
        after = next(ways[-1], None)
        if after is None:
            sound.add(chain.pop())
            ways.pop()
        elif after in chain:
            return [*chain[chain.index(after) :], after]
        elif after not in sound:
            chain.append(after)
            ways.append(iter(jobs[after].after))
    return None


def firsts_of(jobs: Mapping[str, Job], job: Job) -> list[Job]:
    """Return the jobs with a schedule that a job comes from, at last: itself alone, if it has one.

    Args:
        jobs: All of the project, checked by `check_chains`.
        job: One of them.
    """
    if not job.after:
        return [job]
    found = {first.name: first for after in job.after for first in firsts_of(jobs, jobs[after])}
    return list(found.values())


def _work_of(what: object) -> Callable[[Any], object]:
    if isinstance(what, Source):
        source = what.spec.name
        if what.spec.in_place:
            raise DefinitionError(
                f"source {source!r} is read in place (store=False): there is nothing to ingest, and so nothing to schedule",
                hint="schedule the training that reads it, or leave store=False out",
            )
        return lambda job: job.workspace.ingest(source)
    if isinstance(what, FeatureView):
        view = what.spec.name
        return lambda job: job.workspace.materialize(view)
    if isinstance(what, Training):
        return lambda job: what.run(job.workspace)
    if callable(what) and hasattr(what, "__name__"):
        return what
    raise DefinitionError(
        f"{what!r} cannot be scheduled", hint="schedule a source, a feature view, a training or a function"
    )


def _when(
    every: str | timedelta | None,
    cron: str | None,
    zone: str | None,
    after: str | Sequence[str] | None,
    missed: Missed,
    *,
    tz: str,
) -> dict[str, Any]:
    if missed not in get_args(Missed):
        raise DefinitionError(f"missed={missed!r} is not a rule", hint=near(str(missed), get_args(Missed)))
    if zone is not None and cron is None:
        raise DefinitionError(f"zone={zone!r} goes with cron=", hint="every= counts in UTC; leave zone= out")
    if after is None:
        return {"schedule": schedule_of(every, cron, zone if zone is not None else tz)}
    if every is not None or cron is not None or missed != "coalesce":
        raise DefinitionError(
            f"after={after!r} comes in place of a schedule", hint="leave every=, cron= and missed= out"
        )
    return {"after": _upstreams(after)}


def _options(
    missed: Missed,
    deadline: str | timedelta | None,
    retries: int,
    pool: str | None,
    wait_for: str | None,
    wait_limit: str | timedelta | None,
) -> dict[str, Any]:
    if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= _MOST_RETRIES:
        raise DefinitionError(f"retries={retries!r} is not a number of retries", hint=f"use 0 to {_MOST_RETRIES}")
    return {
        "missed": missed,
        "deadline": None if deadline is None else parse_duration(deadline, name="deadline"),
        "retries": retries,
        "pool": None if pool is None else check_name(pool, "pool"),
        **_waiting(wait_for, wait_limit),
    }


def _waiting(wait_for: str | None, limit: str | timedelta | None) -> dict[str, Any]:
    if wait_for is None:
        if limit is not None:
            raise DefinitionError(f"wait_limit={limit!r} goes with wait_for=", hint="name the file that it waits for")
        return {}
    if not isinstance(wait_for, str) or not wait_for or not wait_for.isprintable():
        raise DefinitionError(f"wait_for={wait_for!r} is not a pattern", hint='write wait_for="data/{date}.csv"')
    if set("{}") & set(wait_for.replace("{date}", "")):
        raise DefinitionError(
            f"wait_for={wait_for!r} has braces around something else than date",
            hint='{date} is the day of the due time: wait_for="data/{date}.csv"',
        )
    return {"wait_for": wait_for, "wait_limit": parse_duration("1d" if limit is None else limit, name="wait_limit")}


def _upstreams(after: str | Sequence[str]) -> tuple[str, ...]:
    if not isinstance(after, (str, list, tuple)) or not after:
        raise DefinitionError(
            f"after={after!r} names no job", hint='write after="orders" or after=["orders", "clicks"]'
        )
    names = tuple(check_name(name, "job") for name in ([after] if isinstance(after, str) else after))
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DefinitionError(f"after={after!r} names {twice[0]!r} twice", hint="name each job once")
    return names
