"""What a project says of jobs, and what is refused."""

import re
from pathlib import Path

import pytest

import tinymlops as tm
from tinymlops.features.definitions.scheduling import Training, check_chains
from tinymlops.schedules import Job, Schedule


@pytest.fixture
def project():
    return tm.Project("shop", tz="Europe/Vienna")


def test_sources_views_trainings_and_functions_are_scheduled_and_stay_what_they_are(project):
    customer = project.entity("customer", key="customer_id")

    @project.schedule(cron="30  2 * * *", missed="all", deadline="10m", retries=3)
    @project.source(timestamp="at")
    def orders() -> str:
        return "select 1"

    @project.schedule(after="orders")
    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last()}

    @project.schedule(every="1w", name="weekly")
    @project.train(data="buyers", experiment="churn")
    def churn(data, run):
        """Train the model of churn.

        And more.
        """
        return data, run

    @project.schedule(after=["orders", "weekly"])
    def both(job: tm.JobContext) -> None:
        """Follow two."""

    @project.schedule(every="90m")
    def report(job: tm.JobContext) -> None:
        """Send the report."""

    assert orders is project.definitions["orders"]
    assert spending is project.definitions["spending"]
    assert isinstance(churn, Training)
    assert churn(1, run=2) == (1, 2)
    assert report.__doc__ == "Send the report."
    found = project.jobs
    night = Schedule(cron="30 2 * * *", zone="Europe/Vienna")
    assert found["orders"] == Job(name="orders", schedule=night, missed="all", deadline=600_000_000, retries=3)
    assert (found["spending"].after, found["spending"].schedule) == (("orders",), None)
    assert (found["both"].after, found["both"].when) == (("orders", "weekly"), "after orders, weekly")
    assert found["weekly"].description == "Train the model of churn."
    assert found["report"].when == "every 1h30m"
    check_chains(found)


def test_commands_are_scheduled_too(project):
    job = project.command("clean", "gc", "--grace", "7d", cron="0 3 * * *", zone="UTC")
    assert (job.words, job.when) == (("gc", "--grace", "7d"), "0 3 * * * (UTC)")
    assert project.command("clean", "gc", "--grace", "7d", cron="0 3 * * *", zone="UTC") == job
    with pytest.raises(tm.ConflictError, match="already has a job 'clean'"):
        project.command("clean", "gc", every="1h")
    for words in ((), ("",), ("gc", 7)):
        with pytest.raises(tm.DefinitionError, match="has no command"):
            project.command("other", *words, every="1h")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "either every= or cron="),
        ({"every": "1h", "cron": "* * * * *"}, "either every= or cron="),
        ({"every": "1h", "zone": "UTC"}, "goes with cron="),
        ({"every": "1h", "missed": "al"}, "missed='al' is not a rule"),
        ({"every": "1h", "retries": -1}, "retries=-1"),
        ({"every": "1h", "retries": True}, "retries=True"),
        ({"every": "1h", "retries": 10**9}, "retries=1000000000"),
        ({"every": "1h", "deadline": "soon"}, "deadline='soon' is not a duration"),
        ({"after": "orders", "every": "1h"}, "in place of a schedule"),
        ({"after": "orders", "missed": "all"}, "in place of a schedule"),
        ({"after": "Orders!"}, "cannot be the name of a job"),
        ({"after": ["orders", "Clicks!"]}, "cannot be the name of a job"),
        ({"after": ["orders", "clicks", "orders"]}, "names 'orders' twice"),
        ({"after": []}, "names no job"),
        ({"after": ""}, "names no job"),
        ({"after": {"orders": 1}}, "names no job"),
        ({"after": ["orders", None]}, "cannot be the name of a job"),
        ({"after": ["orders", "clicks"], "every": "1h"}, "in place of a schedule"),
        ({"cron": "* * * * *", "zone": "Mars/Olympus"}, "no time zone"),
        ({"every": "1h", "name": "Ä"}, "cannot be the name of a job"),
    ],
)
def test_options_that_cannot_be_are_refused(project, options, said):
    with pytest.raises(tm.DefinitionError, match=said.replace("(", r"\(")) as told:
        project.schedule(**options)(lambda_named("work"))
    assert told.value.hint
    assert project.jobs == {}


def lambda_named(name):
    def work(job):
        """Work."""

    work.__name__ = name
    return work


def test_what_is_no_work_is_refused(project):
    customer = project.entity("customer", key="customer_id")
    with pytest.raises(tm.DefinitionError, match="cannot be scheduled"):
        project.schedule(every="1h")(customer)


def test_chains_begin_with_a_schedule():
    def chain(**after):
        schedule = Schedule(every=1_000_000)
        return {
            name: Job(name=name, after=tuple(ones), schedule=None if ones else schedule) for name, ones in after.items()
        }

    check_chains(chain(a="", b="a", c="b", d="a", e="cd"))
    with pytest.raises(tm.DefinitionError, match="'b' follows 'aa', which is not a job"):
        check_chains(chain(a="", b=["aa"]))
    with pytest.raises(tm.DefinitionError, match="in a circle: a, b, a"):
        check_chains(chain(a="b", b="a"))
    with pytest.raises(tm.DefinitionError, match="in a circle: a, a"):
        check_chains(chain(a="a"))
    with pytest.raises(tm.DefinitionError, match="in a circle: b, d, c, b\\n"):
        check_chains(chain(a="", b="ad", c="ab", d="ac"))
    with pytest.raises(tm.DefinitionError, match="'c' follows 'x'"):
        check_chains(chain(a="", b="a", c="abx"))


def test_a_ladder_of_diamonds_is_checked_once_a_job():
    jobs = {"j0": Job(name="j0", schedule=Schedule(every=1_000_000)), "k0": Job(name="k0", after=("j0",))}
    for n in range(1, 200):  # 2 ** 200 ways lead down
        jobs[f"j{n}"] = Job(name=f"j{n}", after=(f"j{n - 1}", f"k{n - 1}"))
        jobs[f"k{n}"] = Job(name=f"k{n}", after=(f"j{n - 1}", f"k{n - 1}"))
    check_chains(jobs)


def test_the_guide_declares_what_it_says(tmp_path):
    guide = (Path(__file__).parent.parent / "docs" / "guide" / "jobs.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    said = {}
    exec(compile(code, "jobs.md", "exec"), said)
    found = {job.name: job.when for job in said["project"].jobs.values()}
    assert found == {
        "orders": "every 1h",
        "spending": "after orders",
        "weekly-training": "0 3 * * 1 (Europe/Vienna)",
        "report": "30 2 * * * (Europe/Vienna)",
        "clean": "0 4 * * 0 (Europe/Vienna)",
        "copy": "0 5 * * * (Europe/Vienna)",
        "watch": "every 1d",
    }
    check_chains(said["project"].jobs)
