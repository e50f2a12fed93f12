"""`import tensorboard`: event files that tensorboardX and TensorBoard's own writer wrote (fixtures/write_tensorboard.py)."""

import io
import math
import shutil
import struct

import numpy as np
import polars as pl
import pytest
from carried import by_name, unpacked

import tinymlops as tm
from tinymlops.carry.event_files import EventFile, Fields, masked


@pytest.fixture
def logs(tmp_path):
    return unpacked("tensorboard", tmp_path) / "logs"


@pytest.fixture
def report(workspace, logs):
    return workspace.import_runs(logs, origin="tensorboard")


def runs_of(ws):
    return {run.name: run for run in ws.runs.search(limit=None)}


def table(ws, run, name):
    return pl.read_parquet(io.BytesIO(ws.runs.read_artifact(run.id, name)))


def test_each_directory_of_event_files_is_a_run_with_equal_counts(workspace, report):
    assert set(by_name(report)) == {"cut", "flipped", "plain", "plain/trial", "restarted", "tensors"}
    assert report.outcomes == {"new": 6}
    assert report.is_complete
    assert report.points == (409, 409)
    assert {run.experiment for run in runs_of(workspace).values()} == {workspace.runs.experiment("logs").id}


def test_scalars_come_as_numbers_and_as_tensors(workspace, report):
    runs = runs_of(workspace)
    loss = workspace.runs.points(runs["plain"].id, "loss/train")
    assert loss.steps.tolist() == list(range(300))
    np.testing.assert_array_equal(loss.values, (1 / (1 + np.arange(300))).astype(np.float32))
    assert loss.times[:2].tolist() == [1_700_000_000_000_000, 1_700_000_001_000_000]
    accuracy = workspace.runs.points(runs["tensors"].id, "acc")
    np.testing.assert_array_equal(accuracy.values, (0.5 + np.arange(50) / 100).astype(np.float32))


def test_values_that_are_not_finite_and_names_that_are_not_ascii_come(workspace, report):
    run = runs_of(workspace)["plain"]
    odd = workspace.runs.points(run.id, "odd").values.tolist()
    assert math.isnan(odd[0])
    assert odd[1:] == [math.inf, -math.inf, -2.5]
    assert run.metrics["größe"] == 1.0


def test_hyperparameters_are_parameters_of_the_nested_run(workspace, report):
    runs = runs_of(workspace)
    assert runs["plain/trial"].params == {"lr": 0.1, "layers": 3.0, "kind": "big", "deep": True}
    assert runs["plain/trial"].parent == runs["plain"].id
    assert (runs["tensors"].params, runs["tensors"].group) == ({"lr": 0.5, "kind": "small"}, "trial-7")


def test_the_later_file_of_a_restarted_run_supersedes_the_steps_that_it_logs_again(workspace, report):
    run = runs_of(workspace)["restarted"]
    assert run.session == 1
    counted = workspace.runs.points(run.id, "loss")
    assert counted.steps.tolist() == list(range(30))
    assert counted.values.tolist() == [1.0] * 10 + [2.0] * 20
    superseded = workspace.runs.points(run.id, "loss", superseded=True)
    assert superseded.steps.tolist() == list(range(10, 20))


def test_pictures_are_kept_by_step(workspace, report):
    runs = runs_of(workspace)
    (plain,) = [one for one in workspace.runs.artifacts(runs["plain"].id) if one.kind == "image"]
    assert (plain.name, plain.series, plain.step) == ("picture/7.png", "picture", 7.0)
    assert workspace.runs.read_artifact(plain.run, plain.name).startswith(b"\x89PNG")
    several = [one.name for one in workspace.runs.artifacts(runs["tensors"].id) if one.kind == "image"]
    assert several == ["picture/0/4.png", "picture/1/4.png"]


def test_texts_and_histograms_are_kept_as_tables(workspace, report):
    runs = runs_of(workspace)
    assert table(workspace, runs["plain"], "notes/text_summary.parquet")["text"].to_list() == ["# a *note*\nü"]
    assert table(workspace, runs["tensors"], "notes.parquet").select("step", "text").rows() == [(1, "hello")]
    old = table(workspace, runs["plain"], "weights.parquet")
    assert old["step"].to_list() == [5]
    assert sum(old["count"][0]) == 100
    new = table(workspace, runs["tensors"], "weights.parquet")
    assert new["lower"][0].to_list()[0] == 0
    assert new["upper"][0].to_list()[-1] == 99
    assert new["count"][0].to_list() == [25, 25, 25, 25]


def test_what_cannot_come_is_told(report):
    lines = by_name(report)
    assert lines["tensors"].left_out == ("values of the plugin 'pr_curves', which has no place here: 1",)
    assert "the last record is cut off" in lines["cut"].left_out[0]
    assert "is damaged; it and what follows are left out" in lines["flipped"].left_out[0]
    assert lines["cut"].points == lines["cut"].points_here == 9
    assert 0 < lines["flipped"].points < 10


def test_an_import_again_brings_nothing_and_then_what_has_grown(workspace, logs, report):
    again = workspace.import_runs(logs, origin="tensorboard")
    assert again.outcomes == {"unchanged": 6}
    assert again.experiments == 0
    (cut,) = (logs / "cut").iterdir()
    (other,) = (logs / "tensors").iterdir()
    shutil.copy(other, cut)
    grown = by_name(workspace.import_runs(logs, origin="tensorboard"))
    assert {name: line.outcome for name, line in grown.items() if line.outcome != "unchanged"} == {"cut": "grown"}
    assert grown["cut"].points_here == 9 + 50


def test_a_directory_that_was_moved_holds_the_same_runs(workspace, logs, report, tmp_path):
    moved = shutil.move(logs, tmp_path / "elsewhere" / "logs")
    assert workspace.import_runs(moved, origin="tensorboard").outcomes == {"unchanged": 6}


def test_a_file_without_events_is_told_and_the_others_come(workspace, logs):
    (logs / "empty").mkdir()
    (logs / "empty" / "events.out.tfevents.1.host").touch()
    (logs / "noise").mkdir()
    (logs / "noise" / "events.out.tfevents.1.host").write_bytes(bytes(range(256)) * 10)
    report = workspace.import_runs(logs, origin="tensorboard")
    assert report.outcomes == {"new": 6, "not read": 2}
    assert not report.is_complete
    told = {line.run: line.left_out[0] for line in report.lines if line.outcome == "not read"}
    assert "its files are empty" in told["empty"]
    assert "is damaged" in told["noise"]


def test_a_link_in_place_of_an_event_file_is_not_followed(workspace, logs):
    (path,) = (logs / "cut").iterdir()
    path.rename(logs / "away")
    path.symlink_to(logs / "away")
    line = next(one for one in workspace.import_runs(logs, origin="tensorboard").lines if one.run == "cut")
    assert line.outcome == "not read"
    assert "is not a regular file" in line.left_out[0]


def test_a_directory_without_event_files_is_refused(workspace, tmp_path):
    with pytest.raises(tm.NotFoundError, match="no event files"):
        workspace.import_runs(tmp_path, origin="tensorboard")


def test_the_experiment_may_be_named(workspace, logs):
    workspace.import_runs(logs, origin="tensorboard", experiment="früher")
    assert [one.name for one in workspace.runs.experiments()] == ["Default", "früher"]


def test_a_checksum_is_the_one_of_the_standard():
    # RFC 3720, appendix B.4: 32 bytes of zeros, of ones, ascending, and descending.
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    known[bytes(range(31, -1, -1))] = 0x113FDB5C
    for content, check in known.items():
        assert masked(content) == ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked(b"a") != masked(b"b")


@pytest.mark.parametrize("content", [b"\x0a", b"\x0a\x05ab", b"\x0b\x01", b"\xff" * 11, b"\x09\x00"])
def test_bytes_that_are_no_message_are_refused(content):
    with pytest.raises(ValueError, match="protobuf"):
        Fields(content)


def test_a_record_that_claims_to_be_huge_is_damage_and_takes_no_memory(tmp_path):
    length = struct.pack("<Q", 1 << 60)
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(length + struct.pack("<I", masked(length)) + b"x")
    file = EventFile(path)
    assert list(file.events()) == []
    assert "damaged" in file.trouble
