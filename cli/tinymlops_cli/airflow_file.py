"""The jobs of a project as a file for Airflow 3: a DAG for each job with a schedule, with what follows it.

A task makes one attempt, by `tinymlops jobs attempt`, which does nothing at a due time that has succeeded. So the file has
when, in what order and how often, and the project keeps what is done.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tinymlops.errors import DefinitionError
from tinymlops.features.definitions.scheduling import firsts_of
from tinymlops.schedules import Job, Schedule, last_due
from tinymlops.times import format_duration

__all__ = ["dag_file"]

_HEAD = '''\
from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronTriggerTimetable, DeltaDataIntervalTimetable

ATTEMPT = {attempt}
# Of a run that was asked for by hand, the due time is its own; else it is the job's last one.
WHEN = """\\
{{% if dag_run.run_type in ("scheduled", "backfill") %}}--at "{{{{ dag_run.run_after }}}}"\\
{{% else %}}--due "{{{{ dag_run.logical_date or dag_run.run_after }}}}"{{% endif %}}"""


def attempt(job, *, retries, deadline):
    """Make the task of a job; it has a minute more than the job, which ends itself at its deadline."""
    return BashOperator(
        task_id=job,
        bash_command=f"{{ATTEMPT}} {{job}} {{WHEN}}",
        retries=retries,
        retry_delay=timedelta(seconds=30),
        retry_exponential_backoff=2,
        max_retry_delay=timedelta(hours=1),
        execution_timeout=deadline and deadline + timedelta(minutes=1),
        skip_on_exit_code=None,
        do_xcom_push=False,
    )
'''
_SECOND = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dag_file(project: str, jobs: Mapping[str, Job], command: Sequence[str], now: datetime) -> str:
    """Write the file.

    Args:
        project: The project's name.
        jobs: Its jobs, checked by `check_chains`.
        command: The words of `tinymlops jobs attempt`, to which the job and its due time are added.
        now: The clock: from here on, due times of a job with `missed="all"` count.

    Returns:
        Python; a module with a DAG `<project>.<job>` for each job that has a schedule.

    Raises:
        DefinitionError: If Airflow cannot keep a schedule, a job follows jobs of several, or waits for a file.
    """
    _refuse_what_it_cannot(jobs)
    title = f'"""Jobs of {project}, by `tinymlops export airflow`: write it again when the jobs or their schedules change."""'
    head = _HEAD.format(attempt=repr(" ".join(_quoted(word) for word in command)))
    dags = [_dag(project, job, jobs, now) for job in jobs.values() if job.schedule is not None]
    return "\n".join([title, "", head, *dags])


def _dag(project: str, first: Job, jobs: Mapping[str, Job], now: datetime) -> str:
    assert first.schedule is not None
    catchup = first.missed == "all"
    start = _start(first.schedule, now) if catchup else _EPOCH
    chain = _chain(first, jobs)
    lines = [
        "",
        "with DAG(",
        f"    {f'{project}.{first.name}'!r},",
        f"    description={first.description or first.when!r},",
        f"    schedule={_timetable(first)},",
        f"    start_date={_moment(start)},",
        f"    catchup={catchup},",
        "    max_active_runs=1,",
        f"    tags={['tinymlops', project]!r},",
        ") as dag:",
        *(f"    attempt({job.name!r}, retries={job.retries}, deadline={_delta(job.deadline)})" for job in chain),
        *(f"    dag.get_task({after!r}) >> dag.get_task({job.name!r})" for job in chain[1:] for after in job.after),
    ]
    return "\n".join(lines) + "\n"


def _start(schedule: Schedule, now: datetime) -> datetime:
    """Return from when on due times count; Airflow counts multiples of a duration from here."""
    aligned = last_due(schedule, now) if schedule.every is not None else None
    return aligned if aligned is not None else now


def _chain(first: Job, jobs: Mapping[str, Job]) -> list[Job]:
    """Return a job and those that follow it at last, each after those that it follows."""
    found = {first.name: first}
    while True:
        ready = [one for one in jobs.values() if one.after and one.name not in found and set(one.after) <= set(found)]
        if not ready:
            return list(found.values())
        found |= {one.name: one for one in ready}


def _refuse_what_it_cannot(jobs: Mapping[str, Job]) -> None:
    for job in jobs.values():
        if job.wait_for is not None:
            raise DefinitionError(
                f"job {job.name!r} waits for the file {job.wait_for}, which an attempt of Airflow does not",
                hint="put a FileSensor of Airflow in front of it and leave wait_for= out, or use tinymlops jobs run",
            )
        firsts = [first.name for first in firsts_of(jobs, job)]
        if len(firsts) > 1:
            raise DefinitionError(
                f"job {job.name!r} follows jobs of {len(firsts)} schedules ({', '.join(firsts)}), which no DAG can hold",
                hint="have it follow jobs of one schedule, give it one of its own, or use tinymlops jobs run",
            )


def _timetable(job: Job) -> str:
    schedule: Schedule | None = job.schedule
    assert schedule is not None
    if schedule.every is None:
        return f"CronTriggerTimetable({schedule.cron!r}, timezone={schedule.zone!r})"
    if schedule.every % _SECOND:
        raise DefinitionError(
            f"job {job.name!r} is due every {format_duration(schedule.every)}, and Airflow counts whole seconds",
            hint="use whole seconds, or tinymlops jobs run",
        )
    # The one timetable of Airflow that is due at the multiples since 1970, whenever it began.
    return f"DeltaDataIntervalTimetable({_delta(schedule.every)})"


def _delta(micros: int | None) -> str:
    if micros is None:
        return "None"
    seconds, rest = divmod(micros, _SECOND)
    return f"timedelta(seconds={seconds}, microseconds={rest})" if rest else f"timedelta(seconds={seconds})"


def _moment(moment: datetime) -> str:
    fields = [moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second]
    return f"datetime({', '.join(map(str, fields))}, tzinfo=timezone.utc)"


def _quoted(word: str) -> str:
    """Quote a word for the shell, and break up what Jinja, which reads it before, would take for its own."""
    return re.sub(r"\{(?=[{%#])", "{''", shlex.quote(word))
