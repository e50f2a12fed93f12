"""`tinymlops init`: its project works as it is, and nothing is ever overwritten."""

import json

import pytest
from command_line import ask, launch, refused, succeed

import tinymlops as tm


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("init") / "shop"
    succeed("init", folder)
    return folder


def test_it_writes_a_small_project_and_makes_its_workspace(project):
    assert sorted(path.name for path in project.iterdir()) == [
        *(".gitignore", "data", "features.py", "shop.tm", "tinymlops.toml")
    ]
    with tm.connect(project / "shop.tm") as ws:
        assert ws.catalog.list() == []


def test_the_path_that_it_names_can_be_walked_as_it_is(project):
    begun = ask("init", project.parent / "walked")
    folder = project.parent / "walked"
    commands = [line.split()[1:] for line in begun["next"] if line.startswith("tinymlops ")]
    assert [words[0] for words in commands] == ["apply", "ingest", "materialize", "features"]
    for words in commands:
        result = launch(*words, "--json", cwd=folder)
        assert result.returncode == 0, result.stderr
    (row,) = json.loads(result.stdout)["rows"]
    assert row == {"customer_id": 1, "last_amount": 12.75, "spent_30d": 198.25, "large_30d": 1, "orders_30d": 3}


def test_its_answer_names_the_files_and_the_workspace(tmp_path):
    found = ask("init", tmp_path / "new")
    assert found["workspace"] == str(tmp_path / "new" / "shop.tm")
    assert all((tmp_path / "new" / name).is_file() for name in found["files"])


def test_the_flights_template_can_be_planned_as_it_is(tmp_path):
    found = ask("init", tmp_path / "fl", "--template", "flights")
    assert {"flights.py", "prepare.py", "tinymlops.toml", ".gitignore"} <= set(found["files"])
    assert "python prepare.py" in found["next"]
    changes = ask("plan", "--project", tmp_path / "fl")["changes"]
    assert {"action": "add", "kind": "training_set", "name": "delays", "detail": ""} in changes


def test_a_directory_that_holds_other_things_keeps_them(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    succeed("init", tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "features.py").is_file()


def test_a_file_of_the_same_name_is_never_overwritten(tmp_path):
    (tmp_path / "features.py").write_text("mine")
    said = refused(5, "init", tmp_path)
    assert "already holds features.py" in said
    assert [path.name for path in tmp_path.iterdir()] == ["features.py"]
    assert (tmp_path / "features.py").read_text() == "mine"


def test_in_a_project_without_a_workspace_only_that_is_made(project, tmp_path):
    for name in ("features.py", "tinymlops.toml"):
        (tmp_path / name).write_bytes((project / name).read_bytes())
    assert ask("init", tmp_path)["files"] == []
    assert (tmp_path / "shop.tm" / "meta.db").is_file()
    assert not (tmp_path / "data").exists()


def test_a_second_time_it_is_refused(project):
    assert "is a workspace already" in refused(5, "init", project)


def test_another_template_over_a_project_is_refused(project):
    assert "already holds tinymlops.toml" in refused(5, "init", project, "--template", "flights")


def test_an_unknown_template_has_its_near_match(tmp_path):
    assert "did you mean 'flights'?" in refused(2, "init", tmp_path / "x", "--template", "flight")
    assert not (tmp_path / "x").exists()


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    assert "is a file" in refused(6, "init", tmp_path / "taken")


def test_what_the_system_refuses_is_one_line_without_a_traceback(tmp_path):
    (tmp_path / "taken").write_text("")
    assert refused(1, "init", tmp_path / "taken" / "below").endswith(": Not a directory\n")
