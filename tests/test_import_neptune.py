"""`import neptune`: Parquet by the columns that neptune-exporter documents, in the parts and directories that it writes."""

import io
import math
from datetime import timedelta

import polars as pl
import pytest
from carried import START, by_name, row, system, write

import tinymlops as tm


@pytest.fixture
def exported(tmp_path):
    """What neptune-exporter writes of one run with everything, and one that is a fork of it."""
    folder = tmp_path / "exports"
    files = folder / "files" / "team_wine_0a1b" / "SAN-1"
    files.mkdir(parents=True)
    (files / "model.bin").write_bytes(b"\x00model")
    (files / "pictures").mkdir()
    for step in ("0", "0.5"):
        (files / "pictures" / f"{step}.png").write_bytes(b"\x89PNG" + step.encode())
    (files / "set").mkdir()
    (files / "set" / "a.txt").write_text("a")
    write(
        folder,
        "SAN-1",
        [
            *system("SAN-1", tags=["best", "früh"], description="a note", running_time=12.5),
            row("SAN-1", "sys/experiment/name", "string", "baseline"),
            row("SAN-1", "config/lr", "float", 0.1),
            row("SAN-1", "config/layers", "int", 2**60),
            row("SAN-1", "config/deep", "bool", True),
            row("SAN-1", "config/kind", "string", "gbm"),
            row("SAN-1", "config/when", "datetime", START),
            row("SAN-1", "config/set", "string_set", ["b", "a"]),
            *(row("SAN-1", "metrics/loss", "float_series", 1 / (step + 1), step / 4) for step in range(40)),
        ],
        [
            *(row("SAN-1", "metrics/loss", "float_series", 1 / (step + 1), step / 4) for step in range(40, 60)),
            row("SAN-1", "metrics/odd", "float_series", math.nan, "0.000001"),
            row("SAN-1", "metrics/odd", "float_series", math.inf, -3),
            *(row("SAN-1", "logs/stdout", "string_series", f"line {step}", step) for step in range(3)),
            *(
                row(
                    "SAN-1",
                    "hist",
                    "histogram_series",
                    {"type": "COUNTING", "edges": [0.0, 1, 2], "values": [step, 5]},
                    step,
                )
                for step in (0.0, 1.5)
            ),
            row("SAN-1", "model", "file", "team_wine_0a1b/SAN-1/model.bin"),
            *(
                row("SAN-1", "pictures", "file_series", f"team_wine_0a1b/SAN-1/pictures/{step}.png", step)
                for step in ("0", "0.5")
            ),
            row("SAN-1", "source", "file_set", "team_wine_0a1b/SAN-1/set"),
        ],
    )
    fork = [*system("SAN-2", failed=True), row("SAN-2", "sys/forking/parent", "string", "custom SAN-1")]
    write(folder, "SAN-2", fork)
    return folder


def imported(ws, folder, **options):
    return ws.import_runs(folder, origin="neptune", **options)


def runs_of(ws):
    return {run.name: run for run in ws.runs.search(limit=None)}


def test_runs_come_with_equal_counts(workspace, exported):
    report = imported(workspace, exported)
    assert report.outcomes == {"new": 2}
    assert report.is_complete
    assert report.points == (62, 62)
    line = by_name(report)["custom SAN-1"]
    assert (line.params, line.metrics, line.artifacts, line.artifacts_here) == (6, 2, 6, 6)
    assert line.left_out == ()
    assert imported(workspace, exported).outcomes == {"unchanged": 2}


def test_fractional_steps_stay_as_they_are(workspace, exported):
    imported(workspace, exported)
    run = runs_of(workspace)["custom SAN-1"]
    loss = workspace.runs.points(run.id, "metrics/loss")
    assert loss.steps.tolist() == [step / 4 for step in range(60)]
    assert loss.values.tolist() == [1 / (step + 1) for step in range(60)]
    assert loss.times[1] - loss.times[0] == 250_000
    odd = workspace.runs.points(run.id, "metrics/odd")
    assert odd.steps.tolist() == [-3.0, 0.000001]
    assert (odd.values[0], math.isnan(odd.values[1])) == (math.inf, True)


def test_attributes_of_the_system_are_fields_and_the_others_typed_params(workspace, exported):
    imported(workspace, exported)
    run = runs_of(workspace)["custom SAN-1"]
    assert run.params == {
        "config/lr": 0.1,
        "config/layers": 2**60,
        "config/deep": True,
        "config/kind": "gbm",
        "config/when": "2025-03-01T12:00:00+00:00",
        "config/set": '["a","b"]',
    }
    assert (run.status, run.origin, run.user, run.notes, run.group) == (
        "finished",
        "neptune",
        "ann",
        "a note",
        "baseline",
    )
    assert (run.started_at, run.ended_at) == (START, START + timedelta(hours=1))
    assert run.tags == {"best": "true", "früh": "true", "sys/running_time": "12.5", "origin.id": "SAN-1"}
    assert workspace.runs.experiment("team/wine").id == run.experiment


def test_a_fork_names_the_run_that_it_comes_from(workspace, exported):
    imported(workspace, exported)
    runs = runs_of(workspace)
    assert runs["custom SAN-2"].status == "failed"
    assert runs["custom SAN-2"].tags["forked_from"] == runs["custom SAN-1"].id


def test_files_and_their_series_come(workspace, exported):
    imported(workspace, exported)
    run = runs_of(workspace)["custom SAN-1"]
    found = {one.name: one for one in workspace.runs.artifacts(run.id)}
    assert set(found) == {
        *("model.bin", "pictures/0.png", "pictures/0.5.png"),
        *("source/a.txt", "logs/stdout.parquet", "hist.parquet"),
    }
    half = found["pictures/0.5.png"]
    assert (half.kind, half.series, half.step) == ("image", "pictures", 0.5)
    assert workspace.runs.read_artifact(run.id, "model.bin") == b"\x00model"


def test_histograms_and_texts_are_tables(workspace, exported):
    imported(workspace, exported)
    run = runs_of(workspace)["custom SAN-1"]
    histograms = pl.read_parquet(io.BytesIO(workspace.runs.read_artifact(run.id, "hist.parquet")))
    assert histograms.select("step", "type", "edges", "values").rows() == [
        (0.0, "COUNTING", [0, 1, 2], [0, 5]),
        (1.5, "COUNTING", [0, 1, 2], [1.5, 5]),
    ]
    lines = pl.read_parquet(io.BytesIO(workspace.runs.read_artifact(run.id, "logs/stdout.parquet")))
    assert lines["text"].to_list() == ["line 0", "line 1", "line 2"]


def test_what_has_grown_is_added(workspace, exported):
    imported(workspace, exported)
    more = [row("SAN-2", "metrics/loss", "float_series", 0.5, 1), row("SAN-2", "config/new", "int", 1)]
    write(exported, "SAN-2", [*system("SAN-2"), *more])
    report = imported(workspace, exported)
    assert {line.name: line.outcome for line in report.lines} == {"custom SAN-1": "unchanged", "custom SAN-2": "grown"}
    assert runs_of(workspace)["custom SAN-2"].params == {"config/new": 1}


def test_what_is_missing_or_damaged_is_told(workspace, exported):
    data, files = exported / "data" / "team_wine_0a1b", exported / "files" / "team_wine_0a1b"
    (files / "SAN-1" / "model.bin").unlink()
    (data / "SAN-1_part_0.parquet").rename(data / "SAN-1_part_2.parquet")
    (data / "SAN-3_part_0.parquet").write_bytes((data / "SAN-2_part_0.parquet").read_bytes()[:200])
    (data / "SAN-4_part_0.parquet.tmp").write_bytes(b"")
    (data / "notes.parquet").write_bytes(b"")
    report = imported(workspace, exported)
    line = by_name(report)["custom SAN-1"]
    assert "parts 0 of its Parquet files are missing" in line.left_out
    assert any("model: team_wine_0a1b/SAN-1/model.bin is not in" in told for told in line.left_out)
    assert report.outcomes == {"new": 2, "not read": 1}
    assert "SAN-4_part_0.parquet.tmp was not finished by neptune-exporter: left out" in report.remarks
    assert "notes.parquet is not named <run>_part_<n>.parquet: left out" in report.remarks


def test_a_path_that_leads_out_of_the_files_is_not_read(workspace, exported, tmp_path):
    (tmp_path / "secret.txt").write_text("do not copy")
    (exported / "files" / "link.txt").symlink_to(tmp_path / "secret.txt")
    rows = [
        row("SAN-9", name, "file", path)
        for name, path in [
            ("up", "../../secret.txt"),
            ("absolute", str(tmp_path / "secret.txt")),
            ("link", "link.txt"),
            ("nothing", None),
        ]
    ]
    write(exported, "SAN-9", [*system("SAN-9"), *rows])
    line = by_name(imported(workspace, exported))["custom SAN-9"]
    assert line.artifacts == 0
    assert len(line.left_out) == 4
    assert sum("leads out of" in told for told in line.left_out) == 3
    assert any("was not downloaded" in told for told in line.left_out)


def test_types_that_have_no_place_and_points_without_a_step_are_told(workspace, exported):
    rows = [
        row("SAN-8", "odd", "quantum_state", "x"),
        row("SAN-8", "loss", "float_series", 1.0, 3),
        {**row("SAN-8", "loss", "float_series", 2.0), "step": None},
    ]
    write(exported, "SAN-8", [*system("SAN-8"), *rows])
    line = by_name(imported(workspace, exported))["custom SAN-8"]
    assert "values of the type 'quantum_state', which has no place here: 1" in line.left_out
    assert any(told.startswith("points without a time or a step") for told in line.remarks)
    assert workspace.runs.points(line.run, "loss").steps.tolist() == [3.0, 4.0]


def test_without_its_files_a_run_comes_and_the_files_are_told(workspace, exported, tmp_path):
    (exported / "files").rename(tmp_path / "elsewhere")
    report = imported(workspace, exported / "data")
    assert "name it with --files" in report.remarks[0]
    assert len(by_name(report)["custom SAN-1"].left_out) == 4
    again = imported(workspace, exported / "data", files=[tmp_path / "elsewhere"])
    assert again.outcomes == {"grown": 1, "unchanged": 1}
    assert by_name(again)["custom SAN-1"].left_out == ()


def test_runs_of_two_projects_with_one_name_are_two(workspace, exported):
    rows = [{**one, "project_id": "team/other"} for one in system("SAN-1")]
    write(exported, "SAN-1", rows, project="team_other_ff")
    assert imported(workspace, exported).outcomes == {"new": 3}


def test_what_is_no_export_is_refused(workspace, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(tm.NotFoundError, match="holds no <run>_part_<n>.parquet"):
        imported(workspace, tmp_path / "nothing")
    with pytest.raises(tm.NotFoundError, match="there is no directory"):
        imported(workspace, tmp_path / "gone")
