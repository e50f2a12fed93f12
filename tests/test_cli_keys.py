"""Keys and tables on the command line: every type of key can be written, and files have the format of their suffix."""

import itertools
import json

import polars as pl
import pytest
from command_line import ask, refused

import tinymlops as tm

_modules = itertools.count()
"""A process imports a module once."""

FEATURES = """
import tinymlops as tm

project = tm.Project("keys")
thing = project.entity("thing", key="k")


@project.source(timestamp="at", tz="UTC")
def events() -> tm.Schema:
    return {{"k": {dtype!r}, "at": "Datetime[us, UTC]", "v": int, "tags": "List[String]"}}


@project.feature_view(entity=thing)
def view(events: tm.Rows) -> tm.Features:
    return {{"v": events["v"].last(), "tags": events["tags"].last()}}
"""
AT = "2024-05-01T00:00:00Z"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Make a project keyed by a type, with one row pushed for a key."""

    def make(dtype, key):
        module = f"keyed_{next(_modules)}"
        (tmp_path / f"{module}.py").write_text(FEATURES.format(dtype=dtype))
        (tmp_path / "tinymlops.toml").write_text(f'modules = ["{module}"]\nworkspace = "keys.tm"\n')
        monkeypatch.chdir(tmp_path)
        tm.connect(tmp_path / "keys.tm", create=True).close()
        ask("apply")
        ask("materialize")
        ask("push", "events", json.dumps({"k": key, "at": AT, "v": 7, "tags": ["a"]}), "--batch-id", "1")
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("dtype", "key"),
    [
        ("Date", "2024-05-01"),
        ("Datetime[us, UTC]", "2024-05-01T12:00:00Z"),
        ("Time", "01:02:00"),
        ("Decimal[10, 2]", "1.50"),
        ("String", "007"),
        ("String", "00000000-0000-0000-0000-000000000005"),
        ("Int64", 7),
    ],
)
def test_a_key_of_any_type_is_asked_for_in_every_way_of_writing_rows(project, dtype, key):
    folder = project(dtype, key)
    (folder / "keys.csv").write_text(f"k,timestamp\n{key},2099-01-01T00:00:00Z\n")
    (folder / "keys.json").write_text(json.dumps([{"k": key, "timestamp": "2099-01-01T00:00:00Z"}]))
    pair = f"k={json.dumps(key)}" if dtype.startswith("Decimal") else f"k={key}"
    for rows in ([pair], [json.dumps({"k": key})], ["--input", "keys.csv"], ["--input", "keys.json"]):
        assert [row["v"] for row in ask("features", "online", "view:v", *rows)["rows"]] == [7]
    for rows in (["--input", "keys.csv"], ["--input", "keys.json"]):
        assert [row["v"] for row in ask("features", "historical", "view:v", *rows)["rows"]] == [7]


def test_a_decimal_that_is_written_as_a_number_is_refused_with_how_to_write_it(project):
    project("Decimal[10, 2]", "1.50")
    assert "write decimals as text" in refused(6, "features", "online", "view", "k=1.50")


def test_an_output_is_what_its_name_says(project):
    folder = project("String", "007")
    (folder / "keys.csv").write_text("k,timestamp\n007,2099-01-01T00:00:00Z\n7,2099-01-01T00:00:00Z\n")
    arguments = ("features", "historical", "view:v", "--input", "keys.csv", "--output")
    for name in ("out.parquet", "out"):
        ask(*arguments, name)
        assert pl.read_parquet(folder / name)["v"].to_list() == [7, None]
    ask(*arguments, "out.csv")
    wanted = "k,timestamp,v\n007,2099-01-01T00:00:00.000000+00:00,7\n7,2099-01-01T00:00:00.000000+00:00,\n"
    assert (folder / "out.csv").read_text().replace("00:00:00+", "00:00:00.000000+") == wanted
    ask("sql", "select k, v from events", "--output", "rows.csv")
    assert (folder / "rows.csv").read_text() == "k,v\n007,7\n"
    before = sorted(path.name for path in folder.iterdir())
    assert "neither as Parquet nor as CSV" in refused(6, *arguments, "out.xlsx")
    assert "'tags', which is List" in refused(6, "sql", "select * from events", "--output", "lists.csv")
    assert sorted(path.name for path in folder.iterdir()) == before
