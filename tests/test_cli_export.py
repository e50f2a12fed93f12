"""What other programs are given to start the runner: each text is read by what it is for."""

import shlex
import shutil
import subprocess
import sys

import pytest
import yaml
from command_line import SHOP, ask, refused, succeed, write_shop

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
