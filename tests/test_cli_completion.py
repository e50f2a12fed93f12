"""Shell completion: names come from the workspace, and a shell never sees an error."""

import json
import subprocess
import sys

import pytest
import typer
from command_line import PROGRAM, launch, registered_shop, succeed, write_shop

import tinymlops as tm
from tinymlops.schedules import Job, schedule_of
from tinymlops_cli.app import app


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = registered_shop(tmp_path_factory.mktemp("completion") / "shop")
    with (folder / "tinymlops.toml").open("a") as settings:
        settings.write('[connections.billing]\nurl = "env:BILLING"\n[connections.bank]\nurl = "env:BANK"\n')
    with tm.connect(folder / "shop.tm") as ws:  # as a runner does
        hourly = schedule_of("1h", None, "UTC")
        ws.jobs.decide([Job(name=name, schedule=hourly) for name in ("clean", "clear", "orders")])
        ws.jobs.start("gone")
        ws.start_run("two words", experiment="growth").finish()
    return folder


def complete(words, folder):
    """What bash would offer for the last word."""
    done = launch(
        cwd=folder,
        _TINYMLOPS_COMPLETE="complete_bash",
        COMP_WORDS=f"tinymlops {words}",
        COMP_CWORD=str(len(f"tinymlops {words}".split(" ")) - 1),
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("inge", ["ingest"]),
        ("ingest ", ["clicks", "orders", "visits"]),
        ("ingest o", ["orders"]),
        ("push cl", ["clicks"]),
        ("materialize s", ["spending"]),
        ("features online sp", ["spending"]),
        ("features online spending,br", ["spending,browsing"]),
        ("models register b", ["buy"]),
        ("promote ", ["buy"]),
        ("predict ", ["buy", "buy@champion", "buy@latest", "buy@v1"]),
        ("predict buy@", ["buy@champion", "buy@latest", "buy@v1"]),
        ("features online spending@", ["spending@v1"]),
        ("features online browsing,spending@v", ["browsing,spending@v1"]),
        ("materialize spending@", ["spending@v1"]),
        ("ingest x", []),
        ("jobs start cle", ["clean", "clear"]),
        ("jobs history --state s", ["skipped", "succeeded"]),
        ("jobs logs g", ["gone"]),
        ("connections check b", ["bank", "billing"]),
        ("runs show ", ["baseline"]),
        ("experiments trash g", ["growth"]),
        ("lint b", ["buyers"]),
        ("docs show spen", ["spending"]),
        ("share b", ["baseline", "buy", "buy@champion", "buy@latest", "buy@v1", "buyers"]),
    ],
)
def test_names_are_offered(shop, words, offered):
    assert complete(words, shop) == offered


def test_below_the_projects_directory_they_are_offered_too(shop):
    assert complete("ingest o", shop / "data") == ["orders"]


def test_by_the_options_they_are_offered_from_anywhere(shop, tmp_path):
    assert complete(f"ingest --project {shop} o", tmp_path) == ["orders"]
    assert complete(f"ingest --workspace {shop / 'shop.tm'} o", tmp_path) == ["orders"]


def test_where_there_is_no_project_nothing_is_offered(tmp_path):
    assert complete("ingest ", tmp_path) == []


def test_where_there_is_no_workspace_nothing_is_offered_and_nothing_made(tmp_path):
    (tmp_path / "tinymlops.toml").write_text('workspace = "gone.tm"\n')
    assert complete("ingest ", tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tinymlops.toml"]


def test_a_damaged_workspace_offers_nothing(tmp_path):
    (tmp_path / "tinymlops.toml").write_text('workspace = "bad.tm"\n')
    (tmp_path / "bad.tm").mkdir()
    (tmp_path / "bad.tm" / "meta.db").write_bytes(b"x" * 5000)
    assert complete("ingest ", tmp_path) == []


def test_every_name_that_a_command_takes_is_offered():
    """So that a new command does not forget it."""
    missing = [
        f"{' '.join(path)} {one.name}"
        for path, command in commands(typer.main.get_command(app), ())
        if path[0] != "import"  # names of elsewhere
        for one in command.params
        if one.name in ("job", "run", "experiment", "source", "connection", "model", "reference")
        or (one.name == "name" and path[0] in ("jobs", "connections", "datasets"))
        if getattr(one, "_custom_shell_complete", None) is None
    ]
    assert missing == []


def commands(command, path):
    """Every command of the program with its words."""
    if not hasattr(command, "commands"):
        return [(path, command)]
    return [found for name, inner in command.commands.items() for found in commands(inner, (*path, name))]


def test_it_loads_nothing_heavy_and_no_store(shop):
    code = f"""
import json, os, sys
os.chdir({str(shop)!r})
import typer
from tinymlops_cli import completion
from tinymlops_cli.app import app
context = typer.Context(typer.main.get_command(app))
assert completion.sources(context, "") == ["clicks", "orders", "visits"]
assert completion.jobs(context, "o") == ["orders"]
assert completion.connections(context, "bi") == ["billing"]
assert completion.job_states("w") == ["waiting"]
heavy = {{"numpy", "polars", "duckdb", "lmdb", "tinymlops.stores.database", "sqlite_utils", "rich"}}
print(json.dumps(sorted(heavy & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_a_script_for_the_shell_can_be_shown():
    done = launch("--show-completion", "bash", _TINYMLOPS_COMPLETE="source_bash")
    assert "_TINYMLOPS_COMPLETE=complete_bash" in done.stdout
    assert PROGRAM.name in done.stdout


def test_definitions_that_were_removed_are_not_offered(tmp_path):
    folder = write_shop(tmp_path / "shop")
    succeed("init", folder)
    succeed("apply", "--project", folder)
    text = (folder / "features.py").read_text()
    (folder / "features.py").write_text(text.replace("browsing", "reading"))
    succeed("apply", "--project", folder)
    assert complete("materialize ", folder) == ["reading", "spending"]
