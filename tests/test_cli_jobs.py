"""Jobs of a project on the command line, with the processes that really do them."""

import json
import os
import signal
import subprocess
import time

import psutil
import pytest
from command_line import PROGRAM, SHOP, ask, refused, run, succeed, write_shop
from mail_server import MailServer

import tinymlops as tm

JOBS = '''

orders_job = project.schedule(cron="30 2 * * *", zone="Europe/Vienna", retries=2)(orders)
project.schedule(after="orders")(spending)
project.command("copy", "backup", "copies/{due}-{attempt}", every="1d", deadline="5m")


@project.schedule(every="1h", retries=0)
def report(job: tm.JobContext) -> None:
    """Count the orders."""
    print("key", job.key, "since", job.since)
    rows = job.workspace.sql("select count(*) as n from orders")["n"][0]
    job.workspace.start_run("report", params={"rows": int(rows)}).finish()


@project.schedule(every="1h")
def broken(job: tm.JobContext) -> None:
    raise ValueError("no such luck")


@project.schedule(every="1h")
@project.train(data=buyers)
def model(data, run):
    run.log_metric("rows", len(data.train.y))
'''


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = write_shop(tmp_path_factory.mktemp("jobs") / "shop")
    (folder / "features.py").write_text(SHOP + JOBS)
    for words in (("init", folder), ("apply", "--project", folder), ("ingest", "--project", folder)):
        succeed(*words)
    succeed("jobs", "run", "--once", "--project", folder)
    (folder / "copies").mkdir()
    for name in ("orders", "report", "model", "copy", "broken"):  # two at a time: most of it is starting Python
        succeed("jobs", "start", name, "--project", folder)
    succeed("jobs", "run", "--once", "--at-once", 2, "--project", folder)
    return folder


@pytest.fixture
def shop(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def run_now(*names):
    for name in names:
        succeed("jobs", "start", name)
    return succeed("jobs", "run", "--once", "--at-once", 2)


def last(name):
    return ask("jobs", "history", name)[0]


def test_what_is_scheduled_is_listed(shop):
    listed = {one["job"]: one for one in ask("jobs", "list")}
    assert listed["orders"]["when"] == "30 2 * * * (Europe/Vienna)"
    assert listed["spending"]["when"] == "after orders"
    assert listed["spending"]["next"] is None
    assert listed["copy"]["does"] == "tinymlops backup copies/{due}-{attempt}"
    assert listed["report"]["does"] == "Count the orders."


def test_a_source_is_ingested_and_what_follows_it_is_done(shop):
    assert (last("orders")["state"], last("orders")["cause"]) == ("succeeded", "by hand")
    assert (last("spending")["state"], last("spending")["due"]) == ("succeeded", last("orders")["due"])
    assert ask("features", "online", "spending", '{"customer_id": 1}')


def test_functions_trainings_and_commands_are_done(shop):
    assert [last(name)["state"] for name in ("report", "model", "copy")] == ["succeeded"] * 3
    log = ask("jobs", "logs", "report")["log"]
    assert log.startswith(f"key report@{last('report')['due'][:19]}")
    assert log.endswith("since None\n")
    (copy,) = (shop / "copies").iterdir()
    assert (copy / "meta.db").exists()
    with tm.connect("shop.tm") as ws:
        assert {run.name for run in ws.runs.search()} >= {"report", "model"}
        assert ws.runs.search("name = 'report'")[0].params == {"rows": 41}
    run_now("report")
    assert "since 20" in ask("jobs", "logs", "report")["log"]


def test_a_failure_is_told_with_its_traceback(shop):
    found = last("broken")
    assert found["state"] == "failed"
    assert "no such luck" in found["told"]
    log = succeed("jobs", "logs", "broken")
    assert 'raise ValueError("no such luck")' in log
    attempt = int(found["attempts"][0].split()[0])
    assert succeed("jobs", "logs", "broken", "--attempt", attempt) == log
    assert "no such attempt" in refused(4, "jobs", "logs", "broken", "--attempt", 10_000)
    assert "waits for a runner" in succeed("jobs", "rerun", "broken")
    assert "is waiting already" in refused(5, "jobs", "rerun", "broken")


def test_a_failure_comes_by_mail_and_its_password_is_told_nowhere(shop, monkeypatch):
    settings = (shop / "tinymlops.toml").read_text()
    said = '[alerts]\nsmtp = "env:SMTP_URL"\nfrom = "jobs@shop.example"\nto = ["ana@shop.example"]\n'
    (shop / "tinymlops.toml").write_text(settings + said)
    try:
        assert "takes its URL from SMTP_URL, which is not set" in refused(4, "jobs", "run", "--once")
        monkeypatch.setenv("SMTP_URL", "smtp://jobs:correct@horse@mail")
        assert "correct" not in refused(6, "jobs", "run", "--once")
        with MailServer(auth=("jobs", "correct-horse")) as server:
            monkeypatch.setenv("SMTP_URL", f"smtp://jobs:correct-horse@localhost:{server.port}")
            server.replies = {"MAIL": ["451 correct-horse? later"]}
            succeed("jobs", "start", "broken")
            ran = run("jobs", "run", "--once")
        assert ran.exit_code == 0
        assert "answers 451 <secret>? later" in ran.stderr
        assert "correct-horse" not in ran.output
        (waiting,) = ask("sql", "select told, attempts from outbox where state = 'waiting'")["rows"]
        assert waiting == {
            "told": f"the mail server localhost:{server.port} answers 451 <secret>? later",
            "attempts": 1,
        }
        with MailServer(auth=("jobs", "correct-horse")) as server:
            monkeypatch.setenv("SMTP_URL", f"smtp://jobs:correct-horse@localhost:{server.port}")
            succeed("jobs", "start", "broken")
            succeed("jobs", "run", "--once")
        ((receivers, mail),) = server.mails
        assert (receivers, mail["Subject"]) == (("ana@shop.example",), "job broken failed")
        assert "no such luck" in mail.get_content()
    finally:
        (shop / "tinymlops.toml").write_text(settings)


def test_paused_jobs_wait(shop):
    succeed("jobs", "pause", "copy")
    assert {one["job"]: (one["state"], one["next"]) for one in ask("jobs", "list")}["copy"] == ("paused", None)
    succeed("jobs", "resume", "copy")
    assert "did you mean 'copy'" in refused(4, "jobs", "pause", "copi")


def test_a_span_is_run_again(shop):
    made = ask("jobs", "backfill", "broken", "--since", "2024-01-01T00:00:00Z", "--until", "2024-01-01T02:00:00Z")
    assert made == {
        "job": "broken",
        "runs": 3,
        "first": "2024-01-01T00:00:00Z",
        "last": "2024-01-01T02:00:00Z",
    }
    told = succeed("jobs", "backfill", "broken", "--since", "2024-01-01T00:00:00Z", "--until", "2024-01-01T04:00:00Z")
    assert told == "2 runs of broken wait, from 2024-01-01 03:00 to 2024-01-01 04:00 UTC\n"
    assert "follows 'orders'" in refused(3, "jobs", "backfill", "spending", "--since", "2024-01-01T00:00:00Z")
    assert "did you mean 'broken'" in refused(4, "jobs", "start", "brokn")
    succeed("jobs", "pause", "broken")  # runners of later tests need not do these


def test_a_runner_ends_at_a_signal(shop):
    process = subprocess.Popen(
        [str(PROGRAM), "jobs", "run", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert "Ctrl+C" in process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert json.loads(stdout)["jobs"] == 6 + 1


def test_a_runner_follows_the_projects_code(shop):
    code = (shop / "features.py").read_text()
    process = subprocess.Popen(
        [str(PROGRAM), "jobs", "run"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        told = iter(process.stderr.readline, "")
        assert any("Ctrl+C" in line for line in told)
        (shop / "features.py").write_text(code + '\nproject.command("soon", "jobs", "list", every="1s")\n')
        assert any(line.startswith("soon of ") and line.endswith(": succeeded\n") for line in told)
        (shop / "features.py").write_text(code + "\nproject.comand()\n")
        assert any("its jobs stay as they were: " in line and "no attribute 'comand'" in line for line in told)
        (shop / "features.py").write_text(code)
        assert any("soon: removed from the project" in line for line in told)
    finally:
        (shop / "features.py").write_text(code)
        process.terminate()
        process.communicate(timeout=30)
    assert ask("jobs", "history", "soon", "--state", "waiting") == []


def test_a_pool_without_a_size_is_refused_and_one_with_a_size_is_not(tmp_path):
    folder = write_shop(tmp_path / "shop")
    (folder / "features.py").write_text(SHOP + '\nproject.command("a", "gc", every="1h", pool="database")\n')
    succeed("init", folder)
    settings = (folder / "tinymlops.toml").read_text()
    assert "whose size nothing says" in refused(3, "jobs", "run", "--once", "--project", folder)
    (folder / "tinymlops.toml").write_text(settings + "\n[jobs.pools]\ndatabase = 0\n")
    assert "database = 0 in [jobs.pools]" in refused(3, "jobs", "list", "--project", folder)
    (folder / "tinymlops.toml").write_text(settings + "\n[jobs.pool]\ndatabase = 1\n")
    assert "did you mean 'pools'" in refused(3, "jobs", "list", "--project", folder)
    (folder / "tinymlops.toml").write_text(settings + "\n[jobs.pools]\ndatabase = 1\n")
    succeed("jobs", "run", "--once", "--project", folder)


def test_a_circle_of_jobs_is_refused(tmp_path):
    folder = write_shop(tmp_path / "shop")
    (folder / "features.py").write_text(SHOP + '\nproject.command("a", "gc", after="a")\n')
    succeed("init", folder)
    assert "in a circle: a, a" in refused(3, "jobs", "run", "--once", "--project", folder)
    assert "in a circle: a, a" in refused(3, "jobs", "list", "--project", folder)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_server_runs_jobs_beside_it_and_starts_the_runner_again(shop):
    process = subprocess.Popen(
        [str(PROGRAM), "serve", "--port", "0", "--jobs"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        told = iter(process.stderr.readline, "")
        assert any("jobs; Ctrl+C" in line for line in told)
        server = psutil.Process(process.pid)

        def runners():
            return [one for one in server.children() if "jobs" in one.cmdline()]

        (first,) = runners()
        first.kill()
        assert any("the runner of jobs ended with -9" in line for line in told)
        assert any("jobs; Ctrl+C" in line for line in told)
        succeed("jobs", "start", "report")
        wait_for(lambda: last("report")["state"] == "succeeded")
        (second,) = runners()
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: not second.is_running())
