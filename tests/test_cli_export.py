"""What other programs are given to start jobs or the runner: each text is read by what it is for.

`make conformance` has an Airflow; here stand-ins keep what its file says to it.
"""

import ast
import os
import shlex
import shutil
import subprocess
import sys
import types
from datetime import UTC, datetime, timedelta

import jinja2
import pytest
import yaml
from command_line import SHOP, ask, refused, succeed, write_shop

import tinymlops as tm

FOLDERS = ["shop", 'it\'s 100% "mine" $HOME\\x ü']


@pytest.fixture(scope="module", params=FOLDERS, ids=["plain", "odd"])
def shop(request, tmp_path_factory):
    folder = write_shop(tmp_path_factory.mktemp("export") / request.param)
    succeed("init", folder)
    return folder


def words_of(shop, *options):
    return [
        *(sys.executable, "-m", "tinymlops_cli.main", "jobs", "run", *options),
        *("--project", str(shop), "--workspace", str(shop / "shop.tm")),
    ]


def test_a_crontab_runs_what_is_due_each_minute(shop):
    line = ask("export", "cron", "--project", shop)["text"]
    assert line.startswith("* * * * * ")
    command = line.removeprefix("* * * * * ").rstrip("\n")
    assert "%" not in command.replace(r"\%", "")
    command = command.replace(r"\%", "%")  # as cron does
    assert shlex.split(command) == words_of(shop, "--once")
    assert subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout == "0 lines told\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_takes_the_unit(shop, tmp_path):
    unit = tmp_path / "jobs.service"
    assert succeed("export", "systemd", "--project", shop, "--output", unit) == f"written to {unit}\n"
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], check=False, capture_output=True, text=True
    )
    assert (checked.returncode, [line for line in checked.stderr.splitlines() if "jobs.service" in line]) == (0, [])


def test_github_takes_the_workflow(shop):
    workflow = yaml.safe_load(ask("export", "github", "--project", shop)["text"])
    (step,) = workflow["jobs"]["run"]["steps"]
    assert shlex.split(step["run"]) == words_of(shop, "--once")
    assert workflow[True]["schedule"] == [{"cron": "*/5 * * * *"}]  # YAML 1.1 reads the key `on` so


def test_jobs_that_cannot_be_run_are_not_exported(tmp_path):
    folder = write_shop(tmp_path / "shop")
    (folder / "features.py").write_text(SHOP + '\nproject.command("a", "gc", after="b")\n')
    succeed("init", folder)
    assert "'a' follows 'b'" in refused(3, "export", "cron", "--project", folder)


def test_what_cannot_be_written_is_an_error(shop, tmp_path):
    assert "cannot be written" in refused(6, "export", "cron", "--project", shop, "--output", tmp_path / "no" / "x")


CHAINS = """
project.schedule(every="90m", retries=3, deadline="10m")(orders)
project.schedule(after="orders")(spending)
project.schedule(cron="30 2 * * 1-5", zone="Europe/Vienna", missed="all")(visits)


@project.schedule(after="spending", retries=1, name="a-second")
def second(job: tm.JobContext) -> None:
    pass


@project.schedule(after="orders", deadline="1s500ms")
def beside(job: tm.JobContext) -> None:
    pass


@project.schedule(every="1h")
def odd(job: tm.JobContext) -> None:
    \"\"\"It's "{{ odd }}": \\\\ \N{GREEK SMALL LETTER OMEGA} \N{RIGHT-TO-LEFT OVERRIDE}.\"\"\"
"""
CRUEL = [
    *FOLDERS,
    "two\nlines",
    "{{ 1 / 0 }}{% raw %}{# no #}{{{",
    "a.sh",
    "\N{GREEK SMALL LETTER OMEGA}\N{CJK UNIFIED IDEOGRAPH-6F22}\N{RIGHT-TO-LEFT OVERRIDE}",
    "-x 'y'; exit 9 #`id`$(id)!",
]


class Kept:
    """Stands in for a class of Airflow, and keeps what it is made with."""

    last = None

    def __init__(self, *words, **options):
        self.words, self.options, self.tasks, self.below = words, options, {}, []
        if "task_id" in options:
            Kept.last.tasks[options["task_id"]] = self

    def __enter__(self):
        Kept.last = self
        return self

    def __exit__(self, *_):
        Kept.all.append(self)

    def get_task(self, name):
        return self.tasks[name]

    def __rshift__(self, other):
        self.below.append(other.options["task_id"])


def read_dags(text, monkeypatch):
    """Run the file as Airflow does, and return its DAGs by name."""
    for name in ("airflow", "airflow.providers", "airflow.providers.standard", "airflow.providers.standard.operators"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    bash, sdk = types.ModuleType("bash"), types.ModuleType("sdk")
    bash.BashOperator = type("BashOperator", (Kept,), {})
    for name in ("DAG", "CronTriggerTimetable", "DeltaDataIntervalTimetable"):
        setattr(sdk, name, type(name, (Kept,), {}))
    monkeypatch.setitem(sys.modules, "airflow.providers.standard.operators.bash", bash)
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    Kept.all = []
    exec(compile(ast.parse(text), "dags.py", "exec"), {})
    return {dag.words[0]: dag for dag in Kept.all}


def words_of_task(task, **run):
    """Return the words that the shell makes of a task's command, as Jinja renders it."""
    command = task.options["bash_command"]
    assert not command.endswith((".sh", ".bash"))  # which would name a file
    rendered = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(command).render(dag_run=run)
    program = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    python, rest = rendered.split(" ", 1)
    assert python == shlex.quote(sys.executable)
    shown = subprocess.run(
        ["bash", "-c", f"{python} -c {shlex.quote(program)} {rest}"], check=True, capture_output=True
    )
    return [os.fsdecode(word) for word in shown.stdout.split(b"\0")]


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    folder = write_shop(tmp_path_factory.mktemp("airflow") / "shop")
    (folder / "features.py").write_text(SHOP + CHAINS)
    succeed("init", folder)
    return folder


def test_each_schedule_is_a_dag_of_airflow_with_all_that_follows_it(chains, monkeypatch):
    dags = read_dags(ask("export", "airflow", "--project", chains)["text"], monkeypatch)
    assert list(dags) == ["shop.clean", "shop.orders", "shop.visits", "shop.odd"]
    orders = dags["shop.orders"]
    assert {name: task.below for name, task in orders.tasks.items()} == {
        "orders": ["spending", "beside"],
        "spending": ["a-second"],
        "a-second": [],
        "beside": [],
    }
    assert {name: task.options["retries"] for name, task in orders.tasks.items()} == {
        "orders": 3,
        "spending": 0,
        "a-second": 1,
        "beside": 0,
    }
    assert [task.options["execution_timeout"] for task in orders.tasks.values()] == [
        timedelta(minutes=11),
        None,
        timedelta(seconds=61.5),
        None,
    ]
    (every,) = orders.options["schedule"].words
    assert (type(orders.options["schedule"]).__name__, every) == ("DeltaDataIntervalTimetable", timedelta(minutes=90))
    assert (orders.options["catchup"], orders.options["max_active_runs"]) == (False, 1)
    assert orders.options["start_date"] == datetime(1970, 1, 1, tzinfo=UTC)
    cron = dags["shop.visits"].options["schedule"]
    assert (type(cron).__name__, cron.words) == ("CronTriggerTimetable", ("30 2 * * 1-5",))
    assert cron.options == {"timezone": "Europe/Vienna"}
    assert dags["shop.visits"].options["catchup"] is True  # missed="all"
    assert abs(datetime.now(UTC) - dags["shop.visits"].options["start_date"]) < timedelta(minutes=5)
    assert dags["shop.odd"].options["description"].startswith('It\'s "{{ odd }}": \\ \N{GREEK SMALL LETTER OMEGA}')


@pytest.mark.parametrize("name", CRUEL)
def test_the_words_of_a_task_reach_the_program_as_they_are(tmp_path, monkeypatch, name):
    folder = write_shop(tmp_path / name)
    succeed("init", folder)
    file = tmp_path / "dags.py"
    succeed("export", "airflow", "--project", folder, "--output", file)
    task = read_dags(file.read_text(encoding="utf-8"), monkeypatch)["shop.clean"].tasks["clean"]
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    place = ["--project", str(folder), "--workspace", str(folder / "shop.tm")]
    words = ["-m", "tinymlops_cli.main", "jobs", "attempt", *place, "clean"]
    scheduled = words_of_task(task, run_type="scheduled", run_after=noon, logical_date=noon - timedelta(hours=1))
    assert scheduled == [*words, "--at", "2024-05-01 12:00:00+00:00"]
    for asked, due in ((None, noon), (noon + timedelta(1), noon + timedelta(1))):
        by_hand = words_of_task(task, run_type="manual", run_after=noon, logical_date=asked)
        assert by_hand == [*words, "--due", str(due)]


def test_a_command_of_a_task_does_the_job(chains, monkeypatch):
    task = read_dags(ask("export", "airflow", "--project", chains)["text"], monkeypatch)["shop.odd"].tasks["odd"]
    words = words_of_task(task, run_type="scheduled", run_after=datetime(2024, 5, 1, 12, tzinfo=UTC))
    for _ in range(2):
        subprocess.run([sys.executable, *words], check=True, capture_output=True)
    assert [(one["due"], one["attempts"]) for one in ask("jobs", "history", "odd", "--project", chains)] == [
        ("2024-05-01T12:00:00Z", ["1 succeeded"])
    ]


def test_what_airflow_cannot_keep_is_not_exported(tmp_path):
    folder = write_shop(tmp_path / "shop")
    (folder / "features.py").write_text(SHOP + '\nproject.command("a", "gc", every="1s500ms")\n')
    succeed("init", folder)
    assert "whole seconds" in refused(3, "export", "airflow", "--project", folder)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such names")
def test_a_place_that_is_not_text_is_not_exported(tmp_path):
    folder = write_shop(tmp_path / os.fsdecode(b"sh\xffop"))
    with tm.connect(tmp_path / "shop.tm", create=True):
        pass
    words = ("export", "airflow", "--project", folder, "--workspace", tmp_path / "shop.tm")
    assert "cannot be written as text" in refused(6, *words)
