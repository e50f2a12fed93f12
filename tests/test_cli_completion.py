"""Shell completion: names come from the workspace, and a shell never sees an error."""

import json
import subprocess
import sys

import pytest
from command_line import PROGRAM, launch, registered_shop, succeed, write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return registered_shop(tmp_path_factory.mktemp("completion") / "shop")


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


def test_it_loads_nothing_heavy_and_no_store(shop):
    code = f"""
import json, os, sys
os.chdir({str(shop)!r})
import typer
from tinymlops_cli import completion
from tinymlops_cli.app import app
context = typer.Context(typer.main.get_command(app))
assert completion.sources(context, "") == ["clicks", "orders", "visits"]
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
