"""`tinymlops vectors`: search, as of a time and under conditions, what makes vectors, and completion."""

import json
from datetime import datetime

import polars as pl
import pytest
import typer
from command_line import run, succeed
from conftest import at

import tinymlops as tm
from tinymlops_cli import completion


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "tinymlops.toml").write_text('workspace = "shop.tm"\n')
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def notes() -> tm.Schema:
        return {"n": int, "at": datetime, "text": str, "country": str, "zip": str, "v": pl.List(pl.Float64)}

    project.embedding("texts", source=notes, text="text", model="tfidf", dimension=4)
    project.embedding("own", source=notes, vector="v", dimension=2)
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(project)
        ws.push(
            "notes",
            [
                {"n": 1, "at": at(1), "text": "red wine", "country": "AT", "zip": "1010", "v": [1.0, 0.0]},
                {"n": 2, "at": at(2), "text": "old wine", "country": "DE", "zip": "2020", "v": [0.0, 1.0]},
                {"n": 3, "at": at(3), "text": "", "country": None, "zip": None, "v": [1.0]},
            ],
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*arguments):
    return [row["n"] for row in json.loads(succeed("vectors", "search", *arguments, "--json"))["rows"]]


def test_rows_are_searched_as_of_a_time_and_under_conditions(folder):
    assert "1 texts embedded" not in succeed("vectors", "embed", "own")
    assert "texts: 2 texts embedded" in succeed("vectors", "embed")
    assert found("texts", "wine", "--mode", "text") == [1, 2]
    assert found("texts", "old wine", "--mode", "hybrid", "--k", "1") == [2]
    assert found("texts", "wine", "--mode", "text", "--at", at(1).isoformat()) == []  # not stored then
    assert found("texts", "wine", "--mode", "text", "--as-of", "0") == []
    assert "fitted_at=" in run("vectors", "search", "texts", "wine", "--as-of", "0").output
    assert found("texts", "wine", "--mode", "text", "--where", "country=DE") == [2]
    assert found("texts", "wine", "--mode", "text", "--where", "country=DE", "--where", 'zip="2020"') == [2]
    assert found("texts", "wine", "--mode", "text", "--where", "country=null") == []
    assert found("own", "[1, 0]", "--k", "1") == [1]
    assert found("own", "[1, 0]", "--k", "1", "--exact") == [1]
    exact = json.loads(succeed("vectors", "search", "texts", "wine", "--exact", "--json"))
    assert (exact["generation"], exact["indexed"]) == (None, None)
    assert exact["fitted_at"] is not None
    assert "no row is found" in succeed("vectors", "search", "texts", "unheard", "--mode", "text")
    assert "3" in succeed("vectors", "failures", "own")
    assert "texts" in succeed("vectors", "list")
    assert "texts: 0 texts embedded" in succeed("vectors", "rebuild", "texts", "--purge")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["texts", "wine", "--where", "country"], "is not COLUMN=VALUE"),
        (["texts", "wine", "--where", "country=AT", "--where", "country=DE"], "names country twice"),
        (["texts", "wine", "--where", "colour=red"], "has no column 'colour'"),
        (["texts", "wine", "--where", "zip=1010"], "cannot be computed"),
        (["texts", "wine", "--where", "zip=[1]"], "is not a column and its value"),
        (["texts", "wine", "--at", "2024-01-01T00:00"], "zone"),
        (["texts", "wine", "--as-of", "999"], "999"),
        (["own", "wine"], "no model"),
        (["own", "[1, 2, 3]"], "has 3 numbers"),
        (["own", "red", "--mode", "text"], "no text"),
        (["text", "wine"], "did you mean 'texts'"),
    ],
)
def test_what_cannot_be_searched_is_said(folder, arguments, said):
    succeed("vectors", "embed")
    result = run("vectors", "search", *arguments)
    assert result.exit_code not in (0, 1), result.output
    assert said in result.stderr
    assert run("vectors", "search", "texts", "wine", "--k", "0").exit_code == 2


def test_names_are_completed(folder):
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)), resilient_parsing=True)
    context.params = {}
    assert completion.embeddings(context, "te") == ["texts"]
