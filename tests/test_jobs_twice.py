"""What is stored twice if a job is done twice: an attempt may be killed after its commits, before its success is known."""

import json
import sqlite3
from contextlib import closing

import polars as pl
import pytest
from command_line import ask, registered_shop, run, succeed

ONCE = {
    "ingest": ["ingest"],
    "ingest --full": ["ingest", "--full"],
    "materialize": ["materialize"],
    "compact": ["compact"],
    "gc": ["gc", "--grace", "1d"],
    "backup": ["backup", "copies/{attempt}"],
    "checks run": ["checks", "run"],
    "monitor": ["monitor", "buy@champion"],
    "outcomes log": ["outcomes", "log", "outcomes.json"],
    "outcomes collect": ["outcomes", "collect", "buy@champion"],
    "predict --output": [
        "predict",
        "buy@champion",
        "--input",
        "visits.csv",
        "--timestamp",
        "at",
        "--output",
        "out.csv",
    ],
    "push --batch-id": ["push", "clicks", "--input", "clicks.csv", "--batch-id", "may"],
    "push": ["push", "clicks", "--input", "clicks.csv"],
    "verify": ["verify"],
    "doctor": ["doctor"],
    "apply": ["apply"],
    "promote": ["promote", "buy", "1", "champion"],
    "runs export": ["runs", "export", "--output", "runs-{attempt}.zip"],
}
AGAIN = {
    "predict": (["predict", "buy@champion", '{"customer_id": 1}'], "predictions"),
    "datasets save": (
        ["datasets", "save", "kept", "spending", "--input", "visits.csv", "--timestamp", "at"],
        "datasets",
    ),
    "models register": (["models", "register", "buy", "--run", "baseline"], "model_versions"),
}
NOTES = {"ingestions", "audit", "push_batches"}
"""Tables that say that something was asked, not what is known."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = registered_shop(tmp_path_factory.mktemp("twice") / "shop")
    pl.read_csv(folder / "data" / "visits.csv").head(4).write_csv(folder / "visits.csv")
    (folder / "copies").mkdir()
    (folder / "clicks.csv").write_text("click_id,customer_id,at,seconds\nc1,1,2024-01-05T00:00:00Z,2.5\n")
    succeed("predict", "buy@champion", '{"customer_id": 1}', "--project", folder)
    (prediction,) = ask("sql", "select id from predictions", "--project", folder)["rows"]
    (folder / "outcomes.json").write_text(json.dumps([{"prediction_id": prediction["id"], "value": True}]))
    return folder


@pytest.fixture
def shop(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def rows_of(folder):
    with closing(sqlite3.connect(folder / "shop.tm" / "meta.db")) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


def grown_by_a_second_time(folder, words):
    """Return the tables that a command writes rows to although it was done just before."""
    counts = []
    for attempt in "12":
        result = run(*(word.replace("{attempt}", attempt) for word in words))
        assert result.exit_code == 0, result.output
        counts.append(rows_of(folder))
    return {name for name, count in counts[1].items() if count != counts[0].get(name, 0)} - NOTES


@pytest.mark.parametrize("name", ONCE)
def test_done_twice_it_is_stored_once(shop, name):
    assert grown_by_a_second_time(shop, ONCE[name]) == set()


@pytest.mark.parametrize("name", AGAIN)
def test_what_is_stored_again_is_what_the_guide_says(shop, name):
    words, table = AGAIN[name]
    assert table in grown_by_a_second_time(shop, words)


def test_a_copy_to_a_place_that_is_taken_is_refused(shop):
    succeed("backup", "copies/fixed")
    assert run("backup", "copies/fixed").exit_code == 6
