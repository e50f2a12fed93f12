"""`import mlflow`: a database, an `mlruns` directory and a server's answers, as the real MLflow wrote them.

`tests/fixtures/write_mlflow.py` had it write them.
"""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest
from carried import answering, by_name, unpacked, writing
from command_line import run, succeed
from inside import database_of

import tinymlops as tm
from tinymlops.carry.mlflow.database import DatabaseStore
from tinymlops.records import OpaqueFile, OpaqueModel, OpaqueVersion, RegisteredModel

NAMES = {
    *("parent", "fold 0", "fold 1", "日本語 run", "of a deleted experiment"),
    *("failed", "killed", "running", "deleted", "no artifacts"),
}
POINTS = 414


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """What the fixture holds; tests that change it copy it."""
    return unpacked("mlflow", tmp_path_factory.mktemp("mlflow"))


@pytest.fixture
def own(stores, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(stores, tmp_path / "own", symlinks=True)


@pytest.fixture(params=["database", "directory", "server"])
def place(request, stores):
    """Each of the three places of MLflow."""
    if request.param == "database":
        yield stores / "database" / "mlflow.db"
    elif request.param == "directory":
        yield stores / "files" / "mlruns"
    else:
        with answering(json.loads((stores / "answers.json").read_text())) as (uri, _):
            yield uri


def imported(ws, place, **options):
    return ws.import_runs(place, origin="mlflow", **options)


def runs_of(ws):
    """Return the runs by name, those in the trash included."""
    lines = [ws.runs.get(line) for line in _ids(ws)]
    return {run.name: run for run in lines}


def _ids(ws):
    return [row["id"] for row in ws.sql("SELECT id FROM runs").iter_rows(named=True)]


def test_every_run_comes_with_equal_counts(workspace, place):
    report = imported(workspace, place)
    assert report.is_complete
    assert report.outcomes == {"new": len(NAMES)}
    assert report.points == (POINTS, POINTS)
    assert set(by_name(report)) == NAMES
    for line in report.lines:
        assert line.points == line.points_here, line
        assert line.artifacts == line.artifacts_here, line
    parent = by_name(report)["parent"]
    assert (parent.params, parent.metrics, parent.points, parent.inputs, parent.artifacts) == (3, 1, 400, 1, 3)


def test_a_second_import_changes_nothing(workspace, place):
    imported(workspace, place)
    before = [workspace.runs.get(one) for one in _ids(workspace)], workspace.audit.head()
    again = imported(workspace, place)
    assert again.outcomes == {"unchanged": len(NAMES)}
    assert again.points == (POINTS, POINTS)
    assert ([workspace.runs.get(one) for one in _ids(workspace)], workspace.audit.head()) == before


def test_fields_of_a_run(workspace, place):
    imported(workspace, place)
    runs = runs_of(workspace)
    parent = runs["parent"]
    assert (parent.origin, parent.status, parent.notes) == ("mlflow", "finished", "a **note**")
    assert parent.params == {"depth": "3", "rate": "0.001", "kind": "gbm"}
    assert {"stage": "first", "who": "ann"}.items() <= parent.tags.items()
    assert parent.ended_at > parent.started_at
    assert {runs[name].parent for name in ("fold 0", "fold 1")} == {parent.id}
    assert {name: runs[name].status for name in ("failed", "killed", "running")} == {
        "failed": "failed",
        "killed": "killed",
        "running": "lost",  # nobody here keeps it going
    }
    assert {name for name, run in runs.items() if run.deleted_at is not None} == {"deleted", "of a deleted experiment"}


def test_every_point_of_a_metric_comes(workspace, place):
    imported(workspace, place)
    runs = runs_of(workspace)
    loss = workspace.runs.points(runs["parent"].id, "loss")
    assert loss.steps.tolist() == list(range(400))
    assert loss.values.tolist() == [1 / (1 + step) for step in range(400)]
    assert loss.times.tolist() == [(1_700_000_000_000 + 10 * step) * 1_000 for step in range(400)]


def test_values_that_are_not_finite_and_negative_steps_come(workspace, place):
    imported(workspace, place)
    run = runs_of(workspace)["日本語 run"]
    odd = workspace.runs.points(run.id, "odd")
    assert odd.steps.tolist() == [-7, 0, 1, 2, 2, 2]
    assert math.isnan(odd.values[1])
    assert [value for value in odd.values.tolist() if value == value] == [-1.5, math.inf, -math.inf, 2.5, 3.5]
    assert workspace.runs.points(run.id, "sparse/a b").steps.tolist() == [2**40]
    assert run.params["text"] == "y" * 6_000
    assert (run.params["größe"], run.params["empty"], run.params["multi"]) == ("ä", "", "a\nb")
    assert run.tags["emoji"] == "värde 😀"


def test_experiments_come_with_their_tags_also_empty_and_deleted_ones(workspace, place):
    assert imported(workspace, place).experiments == 4
    found = {one.name: one for one in workspace.runs.experiments(deleted=None)}
    assert set(found) == {"Default", "wine", "nobody was here", "Früchte/水果", "gone"}
    assert (found["wine"].tags, found["wine"].notes) == ({"team": "red"}, "which grape")
    assert found["gone"].deleted_at is not None
    assert found["wine"].deleted_at is None


def test_datasets_come(workspace, place):
    imported(workspace, place)
    (found,) = workspace.runs.inputs(runs_of(workspace)["parent"].id)
    assert (found.name, found.context, found.source_type, found.tags) == ("grapes", "training", "code", {"rows": "six"})
    assert found.digest
    assert "tensorspec" in found.schema
    assert "features_shape" in found.profile


def test_artifacts_come_by_name(workspace, place):
    imported(workspace, place)
    runs = runs_of(workspace)
    contents = {
        one.name: workspace.runs.read_artifact(one.run, one.name) for one in workspace.runs.artifacts(runs["parent"].id)
    }
    assert contents["notes/hello.txt"] == b"hello"
    assert contents["table.csv"] == b"a,b\n1,2\n"
    assert set(contents) == {"notes/hello.txt", "notes/deep/more.json", "table.csv"}
    assert workspace.runs.read_artifact(runs["日本語 run"].id, "ordner/süß.txt") == "ü".encode()


def test_models_their_versions_and_aliases_come_opaque(workspace, place):
    report = imported(workspace, place)
    parent = runs_of(workspace)["parent"]
    database = database_of(workspace)
    (model,) = database.list(OpaqueModel)
    assert (model.name, model.run, model.experiment, model.status) == ("double", parent.id, parent.experiment, "READY")
    assert model.params == {"depth": "3", "rate": "0.001", "kind": "gbm"}
    files = {one.name for one in database.list(OpaqueFile)}
    assert {"MLmodel", "python_model.pkl", "requirements.txt"} <= files
    (registered,) = database.list(RegisteredModel)
    assert (registered.name, registered.title, registered.newest) == ("double-it", "Double It", 2)
    assert registered.aliases == {"champion": 1}
    versions = database.list(OpaqueVersion, order="version")
    assert [(one.version, one.model, one.run, one.tags) for one in versions] == [
        (1, model.id, parent.id, {}),
        (2, model.id, parent.id, {"checked": "yes"}),
    ]
    assert f"model double ({model.id}): new, with {len(files)} files" in report.remarks
    assert "model Double It: versions that are new: 2" in report.remarks
    assert not [told for told in imported(workspace, place).remarks if "model" in told]


def test_an_alias_that_was_moved_here_stays_and_a_deleted_version_does_not_come_back(workspace, own):
    imported(workspace, own / "database")
    with writing(own / "database" / "mlflow.db") as db:
        db.execute("UPDATE registered_model_aliases SET version = 2")
    assert (
        "model Double It: alias champion is version 1 here and 2 there" in imported(workspace, own / "database").remarks
    )
    with database_of(workspace).write(actor=None) as tx:
        tx.delete(OpaqueVersion, name="double-it", version=2)
    imported(workspace, own / "database")
    assert [one.version for one in database_of(workspace).list(OpaqueVersion)] == [1]


def test_a_version_of_mlflow_2_is_made_of_the_files_of_its_run(workspace, own):
    with writing(own / "database" / "mlflow.db") as db:
        (run,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'parent'").fetchone()
        db.execute("UPDATE model_versions SET source = ? WHERE version = 1", (f"runs:/{run}/notes",))
        db.execute("UPDATE model_versions SET source = 's3://bucket/elsewhere' WHERE version = 2")
    report = imported(workspace, own / "database")
    assert "model Double It, version 2: left out: its files at s3://bucket/elsewhere are not here" in report.remarks
    (version,) = database_of(workspace).list(OpaqueVersion)
    files = database_of(workspace).list(OpaqueFile, where={"model": version.model}, order="name")
    assert [one.name for one in files] == ["deep/more.json", "hello.txt"]


def test_a_link_among_artifacts_is_told_and_not_followed(workspace, stores):
    for place in (stores / "database", stores / "files"):
        report = imported(workspace, place)
        assert by_name(report)["parent"].left_out == ("artifact notes/link.txt is a symbolic link",)


def test_artifacts_that_are_gone_are_told(workspace, stores):
    line = by_name(imported(workspace, stores / "files"))["no artifacts"]
    assert line.outcome == "new"
    assert "is not there: name where they are now with --artifacts" in line.left_out[0]


def test_what_has_grown_is_added(workspace, own):
    database = own / "database" / "mlflow.db"
    imported(workspace, database)
    run = runs_of(workspace)["running"].id
    with writing(database) as db:
        db.execute("INSERT INTO metrics VALUES ('auc', 0.75, 1700000001000, ?, 1, 0)", (run,))
        db.execute("INSERT INTO metrics VALUES ('new', 1.0, 1700000001000, ?, 0, 0)", (run,))
        db.execute("INSERT INTO params VALUES ('late', '1', ?)", (run,))
        db.execute("INSERT INTO tags VALUES ('late', 'yes', ?)", (run,))
        db.execute("UPDATE runs SET status = 'FINISHED', end_time = 1900000000000 WHERE run_uuid = ?", (run,))
    (own / "database" / "mlartifacts" / "1" / run / "artifacts" / "more.txt").write_text("more")
    report = imported(workspace, database)
    assert report.outcomes == {"unchanged": len(NAMES) - 1, "grown": 1}
    assert report.points == (POINTS + 2, POINTS + 2)
    found = workspace.runs.get(run)
    assert (found.status, found.params, found.tags["late"]) == ("finished", {"late": "1"}, "yes")
    assert found.metrics == {"auc": 0.75, "new": 1.0}
    assert [one.name for one in workspace.runs.artifacts(run)] == ["more.txt", "text.txt"]
    assert imported(workspace, database).outcomes == {"unchanged": len(NAMES)}


def test_an_artifact_that_was_written_again_is_replaced_and_told(workspace, own):
    imported(workspace, own / "database")
    run = runs_of(workspace)["failed"].id
    (own / "database" / "mlartifacts" / "1" / run / "artifacts" / "text.txt").write_text("longer than before")
    line = by_name(imported(workspace, own / "database"))["failed"]
    assert (line.outcome, line.remarks) == ("grown", ("artifact text.txt has other content: replaced",))
    assert workspace.runs.read_artifact(run, "text.txt") == b"longer than before"


def test_what_was_changed_here_stays_and_is_told(workspace, stores):
    imported(workspace, stores / "database")
    run = runs_of(workspace)["parent"]
    workspace.runs.set_tags(run.id, {"who": "bob", "mine": "1"})
    workspace.runs.set_notes(run.id, "mine")
    line = by_name(imported(workspace, stores / "database"))["parent"]
    assert line.outcome == "unchanged"
    assert "notes is 'mine' here and 'a **note**' there" in line.remarks
    assert "tag who is 'bob' here and 'ann' there" in line.remarks
    assert workspace.runs.get(run.id).tags["who"] == "bob"


def test_a_run_that_was_deleted_here_does_not_come_back(workspace, stores):
    imported(workspace, stores / "database")
    run = runs_of(workspace)["failed"]
    workspace.runs.delete(run.id)
    report = imported(workspace, stores / "database")
    assert by_name(report)["failed"].outcome == "deleted here"
    assert "it was deleted at" in by_name(report)["failed"].left_out[0]
    assert run.id not in _ids(workspace)


def test_a_run_in_the_trash_here_stays_there(workspace, stores):
    imported(workspace, stores / "database")
    run = runs_of(workspace)["failed"]
    workspace.runs.trash(run.id)
    assert "it is in the trash here" in by_name(imported(workspace, stores / "database"))["failed"].remarks
    assert workspace.runs.get(run.id).deleted_at is not None


def test_a_run_that_goes_on_here_is_left_alone(workspace, stores):
    imported(workspace, stores / "database")
    run = runs_of(workspace)["running"]
    with workspace.start_run(resume=run.id) as active:
        active.log_metric("auc", 0.9, step=5)
        line = by_name(imported(workspace, stores / "database"))["running"]
        assert line.outcome == "goes on here"
    assert by_name(imported(workspace, stores / "database"))["running"].outcome == "unchanged"
    assert workspace.runs.get(run.id).status == "finished"


def test_the_same_run_of_two_places_is_one_run(workspace, own):
    imported(workspace, own / "database")
    with writing(own / "database" / "mlflow.db") as db:
        db.execute("UPDATE experiments SET name = 'renamed' WHERE name = 'wine'")
    lines = by_name(imported(workspace, own / "database"))
    assert "its experiment is 'wine' here and 'renamed' there" in lines["parent"].remarks
    assert len(_ids(workspace)) == len(NAMES)


def test_artifacts_outside_of_the_named_directories_are_not_read(workspace, own, tmp_path):
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.txt").write_text("do not copy")
    with writing(own / "database" / "mlflow.db") as db:
        db.execute("UPDATE runs SET artifact_uri = ? WHERE name = 'failed'", (secret.as_uri(),))
        db.execute("UPDATE runs SET artifact_uri = 'mlflow-artifacts:/../../secret' WHERE name = 'killed'")
        db.execute("UPDATE runs SET artifact_uri = 's3://bucket/1/x/artifacts' WHERE name = 'running'")
    shutil.rmtree(own / "database" / "mlartifacts")
    (own / "database" / "mlruns").mkdir()
    (own / "database" / "mlruns" / "out").symlink_to(secret)
    lines = by_name(imported(workspace, own / "database"))
    assert f"its artifacts are in {secret}, which was not named: add --artifacts {secret}" in lines["failed"].left_out
    assert "its artifacts are in s3://bucket/1/x/artifacts: copy them here" in lines["running"].left_out[0]
    assert {lines[name].artifacts for name in ("failed", "killed", "running")} == {0}
    again = by_name(imported(workspace, own / "database", files=[secret]))
    assert (again["failed"].outcome, again["failed"].artifacts_here) == ("grown", 1)


def test_a_hundred_thousand_points_come(workspace, own):
    with writing(own / "database" / "mlflow.db") as db:
        (run,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'failed'").fetchone()
        rows = ((step / 7, 1_700_000_000_000 + step, run, step) for step in range(100_000))
        db.executemany("INSERT INTO metrics VALUES ('many', ?, ?, ?, ?, 0)", rows)
    report = imported(workspace, own / "database")
    assert report.points == (POINTS + 100_000, POINTS + 100_000)
    assert workspace.runs.points(run, "many").values[-1] == 99_999 / 7
    assert imported(workspace, own / "database").outcomes == {"unchanged": len(NAMES)}


def test_odd_rows_of_a_database_are_told(workspace, own):
    long = "x" * 20_000
    with writing(own / "database" / "mlflow.db") as db:
        (run,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'failed'").fetchone()
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute("UPDATE runs SET status = 'ODD', start_time = NULL, user_id = NULL WHERE name = 'killed'")
        db.execute("INSERT INTO params VALUES ('long', ?, ?)", (long, run))
        db.execute("""INSERT INTO params VALUES ('the "best"', '1', ?)""", (run,))
        db.execute("INSERT INTO metrics VALUES ('far', 1.0, 9223372036854775807, ?, 9223372036854775807, 0)", (run,))
        db.execute("INSERT INTO metrics VALUES ('late', 1.0, 9223372036854775807, ?, 1, 0)", (run,))
    lines = by_name(imported(workspace, own / "database"))
    told = " ".join(lines["failed"].remarks)
    assert "params long has 20,000 characters: all of it is the file params/long.txt" in told
    assert "parameter 'the \"best\"' is called \"the 'best'\"" in told
    assert "points with times outside the years 1 to 9999, moved into these: 2" in told
    assert "points at steps beyond 2**53, which have no exact float: 1" in lines["failed"].left_out
    assert workspace.runs.read_artifact(run, "params/long.txt") == long.encode()
    assert workspace.runs.get(run).params["the 'best'"] == "1"
    assert "its status 'ODD' is none of MLflow's; it is kept as running" in lines["killed"].remarks
    assert workspace.runs.get(lines["killed"].run).started_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert imported(workspace, own / "database").outcomes == {"unchanged": len(NAMES)}


def test_a_damaged_run_of_a_directory_is_told_and_the_others_come(workspace, own):
    runs = own / "files" / "mlruns"
    (damaged,) = [path.parent for path in runs.glob("*/*/meta.yaml") if "run_name: failed" in path.read_text()]
    (damaged / "meta.yaml").write_text("status: [1, 2")
    (points,) = [path.parent for path in runs.glob("*/*/meta.yaml") if "run_name: killed" in path.read_text()]
    (points / "metrics" / "auc").write_text("1700000000000 0.5 0\nhalf a li")
    report = imported(workspace, runs)
    assert report.outcomes == {"new": len(NAMES) - 2, "not read": 2}
    assert not report.is_complete
    told = " ".join(line.left_out[0] for line in report.lines if line.outcome == "not read")
    assert "meta.yaml is not YAML" in told
    assert "line 2 of" in told
    assert "is not a point: 'half a li'" in told


def test_an_import_that_was_killed_half_way_is_completed_by_the_next(workspace, own, tmp_path):
    database = own / "database" / "mlflow.db"
    with writing(database) as db:
        (parent,) = db.execute("SELECT run_uuid FROM runs WHERE name = 'parent'").fetchone()
        columns = [row[1] for row in db.execute("PRAGMA table_info(runs)") if row[1] != "run_uuid"]
        for number in range(60):
            run = f"{number:032x}"
            listed = ", ".join(columns)
            db.execute(
                f"INSERT INTO runs (run_uuid, {listed}) SELECT ?, {listed} FROM runs WHERE run_uuid = ?", (run, parent)
            )
            db.execute(
                "INSERT INTO metrics SELECT key, value, timestamp, ?, step, is_nan FROM metrics WHERE run_uuid = ?",
                (run, parent),
            )
    path = tmp_path / "shop.tm"
    code = "import sys, tinymlops as tm\nwith tm.connect(sys.argv[1]) as ws:\n    ws.import_runs(sys.argv[2], origin='mlflow')"
    process = subprocess.Popen([sys.executable, "-c", code, str(path), str(database)], env={**os.environ})
    deadline = time.monotonic() + 60
    while len(workspace.runs.search(limit=20)) < 20 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cut = len(_ids(workspace))
    assert 20 <= cut < 60 + len(NAMES)
    report = imported(workspace, database)
    assert report.is_complete
    # One that was being stored is here as a whole, or is new now: it is never half here.
    assert report.outcomes == {"unchanged": cut, "new": 60 + len(NAMES) - cut}
    assert report.points == (POINTS + 60 * 400, POINTS + 60 * 400)


def test_the_command_prints_a_line_for_each_run_and_the_counts(workspace, own, tmp_path):
    words = ["import", "mlflow", own / "files", "--workspace", tmp_path / "shop.tm"]
    said = succeed(*words)
    assert re.search(r"^wine +parent +[0-9a-f]{12} +new +3 +1 +400 ", said, re.MULTILINE)
    assert re.search(
        r"^parent \([0-9a-f]{12}\): left out: artifact notes/link.txt is a symbolic link$", said, re.MULTILINE
    )
    assert "model Double It: versions that are new: 2" in said
    assert "10 runs: 10 new; 4 experiments created\n414 points in the source, 414 here" in said
    (damaged,) = [path for path in own.rglob("*/meta.yaml") if "run_name: failed" in path.read_text()]
    damaged.write_text("")
    again = run(*words, "--json")
    told = json.loads(again.stdout)
    assert (again.exit_code, told["complete"]) == (1, False)
    assert told["outcomes"] == {"unchanged": 9, "not read": 1}
    assert (told["points"], told["points_here"]) == (413, 413)


def test_what_is_no_place_of_mlflow_is_refused(workspace, tmp_path, stores):
    (tmp_path / "text.db").write_text("no database")
    (tmp_path / "empty").mkdir()
    for place, error, text in [
        (tmp_path / "gone.db", tm.NotFoundError, "there is no file"),
        (tmp_path / "text.db", tm.DataError, "cannot be read as a database of MLflow"),
        (
            tmp_path / "shop.tm" / "meta.db",
            tm.DataError,
            "is not a database of MLflow 1.0 or later: it lacks exp",
        ),
        (tmp_path / "empty", tm.NotFoundError, "holds no experiment of MLflow"),
        ("postgresql://host/db", tm.DataError, "runs cannot be read from postgresql://"),
        ("http://127.0.0.1:1", tm.UnavailableError, "no answer from http://127.0.0.1:1"),
    ]:
        with pytest.raises(error, match=text):
            imported(workspace, place)
    with pytest.raises(tm.NotFoundError, match="there is no directory"):
        imported(workspace, stores / "database", files=[tmp_path / "gone"])


def test_addresses_of_files_are_paths(workspace, stores):
    assert imported(workspace, f"sqlite:///{stores}/database/mlflow.db").outcomes == {"new": len(NAMES)}
    assert imported(workspace, f"file://{stores}/database").outcomes == {"unchanged": len(NAMES)}


def test_the_database_is_only_read(stores, own):
    database = own / "database" / "mlflow.db"
    before = database.read_bytes()
    os.chmod(database, 0o400)
    store = DatabaseStore(database)
    assert [store.run(key).id for key in list(store.keys())] == store.keys()
    store.close()
    assert database.read_bytes() == before
    assert {path.name for path in (own / "database").iterdir()} == {"mlflow.db", "mlartifacts"}


def test_a_server_is_asked_as_whom_the_environment_says(workspace, stores, monkeypatch):
    answers = json.loads((stores / "answers.json").read_text())
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "sesame")
    with answering(answers) as (uri, asked):
        imported(workspace, uri)
    assert {authorization for *_, authorization in asked} == {"Bearer sesame"}


def test_a_server_that_refuses_or_is_another_is_told(workspace):
    denied = "POST /api/2.0/mlflow/experiments/search " + json.dumps({"max_results": 1000, "view_type": "ALL"})
    with answering({denied: [403, ""]}) as (uri, _), pytest.raises(tm.AccessError, match="answers 403"):
        imported(workspace, uri)
    with (
        answering({denied: [200, "PGh0bWw+"]}) as (uri, _),
        pytest.raises(tm.UnavailableError, match="does not answer as"),
    ):
        imported(workspace, uri)


def test_artifacts_of_a_server_are_fetched_once(workspace, stores):
    answers = json.loads((stores / "answers.json").read_text())
    with answering(answers) as (uri, asked):
        imported(workspace, uri)
        first = [path for _, path, *_ in asked].count("/get-artifact")
        del asked[:]
        imported(workspace, uri)
        assert first > 5
        assert [path for _, path, *_ in asked].count("/get-artifact") == 0


def test_an_artifact_that_a_server_cannot_give_is_told(workspace, stores):
    answers = json.loads((stores / "answers.json").read_text())
    for asked in [one for one in answers if "table.csv" in one]:
        answers[asked] = [500, ""]
    with answering(answers) as (uri, _):
        report = imported(workspace, uri)
    assert "artifact table.csv: " in by_name(report)["parent"].left_out[0]
    assert by_name(report)["parent"].outcome == "new"
    with answering(json.loads((stores / "answers.json").read_text())) as (uri, _):
        assert imported(workspace, uri).outcomes == {"grown": 1, "unchanged": len(NAMES) - 1}


def test_the_fixture_says_which_mlflow_wrote_it(stores):
    assert (stores / "version.txt").read_text().startswith("3.")
