"""A real Airflow reads what `export airflow` writes, and runs it: `make conformance`."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from command_line import SHOP, ask, succeed, write_shop  # noqa: E402 - a module of the tests beside this directory

import tinymlops as tm  # noqa: E402
from tinymlops.schedules import due_times, last_due, schedule_of  # noqa: E402

BIN = ROOT / os.environ.get("AIRFLOW", ".venv-airflow") / "bin"
ONCE, FAILS, KILLED = "2024-05-01T12:00:00+00:00", "2024-05-01T13:00:00+00:00", "2024-05-01T14:00:00+00:00"
EVERY = ["1h", "90m", "7h", "45m", "36h"]
FIXED = ["30 2 * * *", "0 2 * * *", "30 1 * * *", "0 3 * * *", "15 2,4 * * *", "30 * * * *", "*/20 * * * *"]
VIENNA = [(datetime(2024, 10, 26, 12, tzinfo=UTC), 30), (datetime(2024, 3, 30, 12, tzinfo=UTC), 30)]
SPANS = [(start, start + timedelta(hours=hours)) for start, hours in VIENNA]
JOBS = """
import os
import signal
from pathlib import Path

project.schedule(every="1h", retries=1, deadline="10m")(orders)
project.schedule(after="orders")(spending)


@project.schedule(after="spending")
@project.train(data=buyers)
def churn(data, run):
    run.log_metric("rows", len(data.train.y))


@project.schedule(cron="0 * * * *")
def broken(job: tm.JobContext) -> None:
    raise ValueError("no such luck")


@project.schedule(after="broken")
def behind(job: tm.JobContext) -> None:
    Path("behind").touch()


@project.schedule(every="1h")
def killed(job: tm.JobContext) -> None:
    job.workspace.ingest("orders")
    if not Path("killed").exists():
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
"""

if not BIN.exists():
    pytest.skip(f"make conformance makes {BIN}", allow_module_level=True)


class Airflow:
    """An Airflow with a home of its own."""

    def __init__(self, folder):
        self.dags = folder / "dags"
        self.dags.mkdir(parents=True)
        settings = {"DAGS_FOLDER": str(self.dags), "LOAD_EXAMPLES": "False"}
        self.environment = {**os.environ, "AIRFLOW_HOME": str(folder / "home"), "NO_COLOR": "1"}
        self.environment |= {f"AIRFLOW__CORE__{name}": value for name, value in settings.items()}

    def run(self, program, *words, check=True):
        ran = subprocess.run(
            [BIN / program, *words], env=self.environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert not check or ran.returncode == 0, ran.stdout + ran.stderr
        return ran

    def read(self):
        """Return what it makes of its DAGs, with their due times in both nights."""
        moments = [moment.isoformat() for span in SPANS for moment in span]
        return json.loads(self.run("python", HERE / "airflow_reads.py", self.dags, *moments).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = write_shop(tmp_path_factory.mktemp("airflow") / "it's {{ 100% }} Ω.sh")
    lines = [f"project.command('every-{one}', 'gc', every='{one}')" for one in EVERY]
    for zone in ("Europe/Vienna", "UTC"):
        name = zone[-3:].lower()
        lines += [f"project.command('{name}-{n}', 'gc', cron='{line}', zone='{zone}')" for n, line in enumerate(FIXED)]
    (folder / "features.py").write_text(SHOP + JOBS + "\n".join(lines) + "\n")
    succeed("init", folder)
    succeed("apply", "--project", folder)
    succeed("ingest", "visits", "--project", folder)
    return folder


@pytest.fixture(scope="module")
def airflow(shop, tmp_path_factory):
    made = Airflow(tmp_path_factory.mktemp("home"))
    succeed("export", "airflow", "--project", shop, "--output", made.dags / "shop.py")
    made.run("airflow", "db", "migrate")
    print(f"\nAirflow {made.run('airflow', 'version').stdout.split()[-1]}")
    return made


@pytest.fixture(scope="module")
def read(airflow):
    return airflow.read()


def attempts(shop, name, due):
    found = ask("jobs", "history", name, "--project", shop, "--limit", 100)
    return [one["attempts"] for one in found if datetime.fromisoformat(one["due"]) == datetime.fromisoformat(due)]


def test_it_reads_the_file_without_an_error(read):
    assert read["errors"] == {}
    assert read["dags"]["shop.orders"]["tasks"] == {"orders": ["spending"], "spending": ["churn"], "churn": []}
    assert read["dags"]["shop.broken"]["tasks"] == {"broken": ["behind"], "behind": []}
    assert len(read["dags"]) == 4 + len(EVERY) + 2 * len(FIXED)


@pytest.mark.parametrize("every", EVERY)
def test_a_duration_has_the_same_due_times(read, every):
    for span, found in zip(SPANS, read["dags"][f"shop.every-{every}"]["due"], strict=True):
        assert [datetime.fromisoformat(one) for one in found] == list(due_times(schedule_of(every, None, "UTC"), *span))


@pytest.mark.parametrize("number", range(len(FIXED)), ids=FIXED)
def test_a_cron_line_has_the_same_due_times_and_is_late_in_two_nights_at_most(read, number):
    for span, found in zip(SPANS, read["dags"][f"shop.utc-{number}"]["due"], strict=True):
        ours = list(due_times(schedule_of(None, FIXED[number], "UTC"), *span))
        assert [datetime.fromisoformat(one) for one in found] == ours
    schedule = schedule_of(None, FIXED[number], "Europe/Vienna")
    for span, found in zip(SPANS, read["dags"][f"shop.nna-{number}"]["due"], strict=True):
        theirs = [datetime.fromisoformat(one) for one in found]
        worked_for = [last_due(schedule, one) for one in theirs]  # as `jobs attempt --at` does
        assert worked_for == list(due_times(schedule, *span))
        late = [one - due for one, due in zip(theirs, worked_for, strict=True)]
        assert max(late) <= timedelta(hours=1)
        print(f"  {FIXED[number]:14} {span[0]:%B %Y}: {len(late)} due times, at most {max(late)} late")


def test_a_chain_is_done_in_order_and_once_however_often_it_is_run(airflow, shop):
    for _ in range(2):
        airflow.run("airflow", "dags", "test", "shop.orders", ONCE)
    assert [attempts(shop, name, ONCE) for name in ("orders", "spending", "churn")] == [
        [["1 succeeded"]],
        [["2 succeeded"]],
        [["3 succeeded"]],
    ]
    with tm.connect(shop / "shop.tm") as ws:
        assert [run.name for run in ws.runs.search()] == ["churn"]
        assert ws.sql("select count(*) as n from orders")["n"][0] == 41


def test_a_failed_job_fails_its_task_and_holds_up_what_follows(airflow, shop):
    ran = airflow.run("airflow", "dags", "test", "shop.broken", FAILS, check=False)
    told = ran.stdout + ran.stderr
    assert "no such luck" in told
    assert "state=failed" in told
    assert [[one.split()[1] for one in run] for run in attempts(shop, "broken", FAILS)] == [["failed"]]
    assert attempts(shop, "behind", FAILS) == []
    assert not (shop / "behind").exists()


def test_a_job_that_was_killed_after_its_commit_is_done_again_and_stored_once(airflow, shop):
    told = airflow.run("airflow", "dags", "test", "shop.killed", KILLED, check=False).stdout
    assert "state=failed" in told
    airflow.run("airflow", "dags", "test", "shop.killed", KILLED)
    ((first, second),) = attempts(shop, "killed", KILLED)
    assert (first.split()[1], second.split()[1]) == ("failed", "succeeded")
    with tm.connect(shop / "shop.tm") as ws:
        assert ws.sql("select count(*) as n from orders")["n"][0] == 41
