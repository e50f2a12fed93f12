"""`runs export` and `runs import`: one file that any workspace takes, twice too, and that is refused when it is not whole."""

import hashlib
import io
import json
import math
import shutil
import zipfile

import msgspec
import numpy as np
import pytest
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.records import ConsoleText, RunRow
from tinymlops.registry.runs.points import points_of


@pytest.fixture
def other(tmp_path):
    with tm.connect(tmp_path / "other.tm", create=True) as ws:
        yield ws


@pytest.fixture
def run(workspace):
    """A run with everything: a nested one of an experiment with notes, resumed once."""
    workspace.runs.create_experiment("größe", notes="why", tags={"team": "a"})
    with workspace.start_run("parent", experiment="größe") as parent:
        pass
    params = {"nan": math.nan, "text": "NaN", "whole": 3, "float": 3.0, "none": None, "yes": True, "long": "x" * 8_000}
    with workspace.start_run("child", experiment="größe", group="seeds", parent=parent.id, params=params) as active:
        active.set_tags({"ü": "ö"})
        active.set_notes("a **note**")
        for step, value in enumerate((0.5, math.nan, math.inf, -math.inf, -0.0)):
            active.log_metric("odd", value, step=step / 2 - 1)
        active.log_artifact("plots/a.txt", b"hello")
        active.log_artifact("same.txt", b"hello")
    with workspace.start_run(resume=active.id) as again:
        again.log_metric("odd", 7.0, step=0.0)
    count = 20_000
    curve = points_of(np.arange(count), np.sin(np.arange(count)), np.arange(count) + 1_700_000_000_000_000)
    workspace.runs.log_points(active.id, {"curve": curve})
    return workspace.runs.get(active.id)


_ELSEWHERE = ("experiment", "metrics", "patch_sha256")
"""Fields that are compared by name, as points, or are left out of an export."""


def everything(ws, run):
    """What a workspace has of a run, by value; experiments by name."""
    found = ws.runs.get(run)
    fields = {name: getattr(found, name) for name in found.__struct_fields__ if name not in _ELSEWHERE}
    names = [one.name for one in ws.runs.summaries(run).get(run, [])]
    points = {
        (name, late): [column.tobytes() for column in ws.runs.points(run, name, superseded=late)]
        for name in names
        for late in (False, True)
    }
    experiment = next(one for one in ws.runs.experiments(deleted=None) if one.id == found.experiment)
    return (
        repr(fields),
        (experiment.name, experiment.notes, experiment.tags),
        points,
        repr([msgspec.structs.replace(one, chunks=0) for one in ws.runs.summaries(run).get(run, [])]),
        [(one, ws.runs.read_artifact(run, one.name)) for one in ws.runs.artifacts(run)],
        ws.runs.inputs(run),
        ws.runs.models(run),
    )


def changed(path, change):
    """Write an archive anew: its entries as a list of pairs that `change` may change, and what it returns as the comment."""
    with zipfile.ZipFile(path) as archive:
        entries, comment = [[info.filename, archive.read(info)] for info in archive.infolist()], archive.comment
    comment = change(entries) or comment
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content)
        archive.comment = comment
    return path


def sealed_again(path, change):
    """Change entries of an archive and write a manifest that fits, as somebody who means harm would."""

    def all_of_it(entries):
        change(entries)
        manifest = json.loads(dict(map(tuple, entries))["manifest.json"])
        entries[:] = [one for one in entries if one[0] != "manifest.json"]
        manifest["entries"] = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in entries
        }
        content = json.dumps(manifest).encode()
        entries.append(["manifest.json", content])
        return b"tinymlops runs " + hashlib.sha256(content).hexdigest().encode()

    return changed(path, all_of_it)


def test_a_run_comes_exactly_as_it_was(workspace, other, run, tmp_path):
    told = workspace.export_runs(tmp_path / "runs.zip")
    assert {one.name for one in told.runs} == {"parent", "child"}
    report = other.import_runs(tmp_path / "runs.zip")
    assert report.outcomes == {"new": 2}
    assert report.points == (20_006, 20_006)
    assert everything(other, run.id) == everything(workspace, run.id)
    assert other.runs.points(run.id, "odd", superseded=True).values.tolist() == [math.inf]


def test_importing_twice_changes_nothing(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "runs.zip")
    other.import_runs(tmp_path / "runs.zip")
    before = everything(other, run.id), other.audit.head()
    assert other.import_runs(tmp_path / "runs.zip").outcomes == {"unchanged": 2}
    assert (everything(other, run.id), other.audit.head()) == before
    assert workspace.import_runs(tmp_path / "runs.zip").outcomes == {"unchanged": 2}


def test_the_same_runs_are_the_same_file(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "a.zip")
    workspace.export_runs(tmp_path / "b.zip")
    other.import_runs(tmp_path / "a.zip")
    other.export_runs(tmp_path / "c.zip")
    a, b = ((tmp_path / f"{name}.zip").read_bytes() for name in "ab")
    assert a == b
    with zipfile.ZipFile(tmp_path / "a.zip") as here, zipfile.ZipFile(tmp_path / "c.zip") as there:
        assert here.namelist() == there.namelist()


def test_exports_with_overlapping_runs_merge(workspace, other, run, tmp_path):
    with workspace.start_run("third") as third:
        third.log_metric("a", 1.0)
    workspace.export_runs(tmp_path / "first.zip", [run.id])
    workspace.export_runs(tmp_path / "second.zip", [run.id, third.id])
    other.import_runs(tmp_path / "first.zip")
    assert other.import_runs(tmp_path / "second.zip").outcomes == {"unchanged": 1, "new": 1}
    assert {one.name for one in other.runs.search()} == {"child", "third"}


def test_a_run_that_went_on_grows(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "before.zip", [run.id])
    other.import_runs(tmp_path / "before.zip")
    with workspace.start_run(resume=run.id) as active:
        active.log_metric("odd", 9.0, step=100)
        active.log_artifact("late.txt", b"late")
    workspace.export_runs(tmp_path / "after.zip", [run.id])
    assert other.import_runs(tmp_path / "after.zip").outcomes == {"grown": 1}
    assert everything(other, run.id) == everything(workspace, run.id)
    # The older file brings nothing, and takes nothing away.
    assert other.import_runs(tmp_path / "before.zip").outcomes == {"unchanged": 1}
    assert everything(other, run.id) == everything(workspace, run.id)


def test_a_run_with_other_content_is_refused_with_the_difference(workspace, other, run, tmp_path):
    with workspace.start_run("third") as third:
        pass
    workspace.export_runs(tmp_path / "runs.zip", [run.id])
    other.import_runs(tmp_path / "runs.zip")
    other.runs.set_tags(run.id, {"ü": "mine"})
    other.runs.log_artifact(run.id, "same.txt", b"other")
    workspace.export_runs(tmp_path / "both.zip", [run.id, third.id])
    before = everything(other, run.id), other.audit.head()
    with pytest.raises(
        tm.ConflictError, match="tag ü is 'mine' here and 'ö' there; artifact same.txt has other content"
    ):
        other.import_runs(tmp_path / "both.zip")
    assert (everything(other, run.id), other.audit.head()) == before
    report = other.import_runs(tmp_path / "both.zip", skip=True)
    assert report.outcomes == {"refused": 1, "new": 1}
    assert everything(other, run.id) == before[0]


def test_points_that_parted_are_refused(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "runs.zip", [run.id])
    other.import_runs(tmp_path / "runs.zip")
    other.runs.log_points(run.id, {"curve": points_of([-1.0], [1.0], [5])})
    workspace.runs.log_points(run.id, {"curve": points_of([-2.0], [1.0], [5])})
    workspace.export_runs(tmp_path / "again.zip", [run.id])
    with pytest.raises(tm.ConflictError, match="metric curve has 1 points there that are not here, and 1 here"):
        other.import_runs(tmp_path / "again.zip")


def test_a_run_that_was_deleted_is_refused_with_a_hint(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "runs.zip", [run.id])
    other.import_runs(tmp_path / "runs.zip")
    other.runs.delete(run.id)
    with pytest.raises(tm.ConflictError, match="was deleted here at .*\nHint: to import the others: add --skip"):
        other.import_runs(tmp_path / "runs.zip")
    assert other.import_runs(tmp_path / "runs.zip", skip=True).outcomes == {"refused": 1}


def test_console_and_patch_come_only_when_they_are_asked_for(workspace, other, run, tmp_path):
    patch = environment_of(workspace).blobs.put(b"secret patch")
    with database_of(workspace).write(actor=None) as tx:
        tx.insert(ConsoleText(run=run.id, session=0, text="secret line", at=run.started_at))
        tx.update(msgspec.structs.replace(tx.get(RunRow, id=run.id), patch_sha256=patch))
    workspace.export_runs(tmp_path / "plain.zip", [run.id])
    workspace.export_runs(tmp_path / "full.zip", [run.id], console=True, patch=True)
    for secret in (b"secret line", b"secret patch"):
        assert secret not in (tmp_path / "plain.zip").read_bytes()
        assert secret in (tmp_path / "full.zip").read_bytes()
    other.import_runs(tmp_path / "plain.zip")
    assert (database_of(other).count(ConsoleText), other.runs.get(run.id).patch_sha256) == (0, None)
    assert other.import_runs(tmp_path / "full.zip").outcomes == {"grown": 1}
    assert other.import_runs(tmp_path / "full.zip").outcomes == {"unchanged": 1}
    assert [one.text for one in database_of(other).list(ConsoleText)] == ["secret line"]
    assert environment_of(other).blobs.read(other.runs.get(run.id).patch_sha256) == b"secret patch"
    assert other.import_runs(tmp_path / "plain.zip").outcomes == {"unchanged": 1}


def test_points_logged_in_bulk_are_of_the_session_that_the_run_is_in(workspace, run):
    (curve,) = [one for one in workspace.runs.summaries(run.id)[run.id] if one.name == "curve"]
    assert curve.session == 1
    assert set(workspace.runs.points(run.id, "curve").sessions.tolist()) == {1}


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.9999])
def test_a_file_that_was_cut_off_is_refused_before_anything_is_written(workspace, other, run, tmp_path, part):
    workspace.export_runs(tmp_path / "runs.zip")
    content = (tmp_path / "runs.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(content[: int(len(content) * part)])
    before = other.audit.head()
    with pytest.raises(tm.IntegrityError, match=r"is damaged|is not an archive"):
        other.import_runs(tmp_path / "cut.zip")
    assert (other.audit.head(), other.runs.search()) == (before, [])


def test_a_file_with_one_flipped_bit_is_refused_wherever_it_is(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "runs.zip", [run.id])
    content = (tmp_path / "runs.zip").read_bytes()
    for place in np.linspace(0, len(content) - 1, 30).astype(int).tolist():
        flipped = bytearray(content)
        flipped[place] ^= 0x10
        (tmp_path / "flipped.zip").write_bytes(flipped)
        before = other.audit.head(), other.runs.search()
        try:
            report = other.import_runs(tmp_path / "flipped.zip")
        except tm.TinyMLOpsError:
            assert (other.audit.head(), other.runs.search()) == before
        else:  # a bit that says nothing, such as one of a time in the zip's directory
            assert report.is_complete
            assert everything(other, run.id) == everything(workspace, run.id)


def test_a_file_that_is_no_archive_is_refused(other, tmp_path):
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    for name in ("text.zip", "some.zip"):
        with pytest.raises(tm.IntegrityError):
            other.import_runs(tmp_path / name)
    with pytest.raises(tm.NotFoundError, match="there is no file"):
        other.import_runs(tmp_path / "gone.zip")


@pytest.mark.parametrize(
    "name", ["../escape", "/etc/passwd", "runs/../../x.json", "blobs/ABC", "runs/x.json", "C:\\x", "con"]
)
def test_entries_with_other_names_are_refused(workspace, other, run, tmp_path, name):
    workspace.export_runs(tmp_path / "runs.zip", [run.id])
    sealed_again(tmp_path / "runs.zip", lambda entries: entries.append([name, b"x"]))
    with pytest.raises(tm.IntegrityError, match="which `runs export` does not write"):
        other.import_runs(tmp_path / "runs.zip")
    assert other.runs.search() == []


def test_a_zip_bomb_is_refused(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "runs.zip", [run.id])
    bomb = tmp_path / "bomb.zip"
    shutil.copy(tmp_path / "runs.zip", bomb)
    with zipfile.ZipFile(bomb, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"blobs/{'0' * 64}", bytes(50_000_000))
    with pytest.raises(tm.IntegrityError, match="an entry is compressed"):
        other.import_runs(bomb)


def test_a_bomb_of_points_is_refused(workspace, other, run, tmp_path):
    import polars as pl

    workspace.export_runs(tmp_path / "runs.zip", [run.id])

    def many(entries):
        stream = io.BytesIO()
        count = 1_000_000
        columns = {"name": "a", "step": 0.0, "value": 0.0, "time": 0, "session": 0}
        frame = pl.select(*(pl.repeat(value, count).alias(name) for name, value in columns.items()))
        frame.write_parquet(stream, compression="zstd")
        for one in entries:
            if one[0].startswith("points/"):
                one[1] = stream.getvalue()

    sealed_again(tmp_path / "runs.zip", many)
    with pytest.raises(tm.IntegrityError, match="has 1,000,000 points in its columns, and 20006 by its records"):
        other.import_runs(tmp_path / "runs.zip")


def test_records_that_do_not_fit_are_refused_before_anything_is_written(workspace, other, run, tmp_path):
    def spoil(change):
        def all_of_it(entries):
            for one in entries:
                if one[0].startswith("runs/"):
                    records = json.loads(one[1])
                    change(records)
                    one[1] = json.dumps(records).encode()

        return all_of_it

    changes = {
        "has other columns": lambda records: records["run"].pop("name"),
        "cannot be read": lambda records: records["run"].update(params="[1]"),
        "are of several runs": lambda records: records["run"].update(id="0" * 32),
        "which is not in the archive": lambda records: records["artifacts"][0].update(sha256="0" * 64),
        "belongs to no run": lambda records: records.update(artifacts=[]),
        "has the status 'odd'": lambda records: records["run"].update(status="odd"),
        "has an artifact named '../x'": lambda records: records["artifacts"][0].update(name="../x"),
        "are not complete": lambda records: records.pop("models"),
    }
    for told, change in changes.items():
        workspace.export_runs(tmp_path / "runs.zip", [run.id])
        sealed_again(tmp_path / "runs.zip", spoil(change))
        before = other.audit.head()
        with pytest.raises(tm.IntegrityError, match=told):
            other.import_runs(tmp_path / "runs.zip")
        assert (other.audit.head(), other.runs.search()) == (before, [])


def test_an_archive_of_a_later_format_asks_for_an_upgrade(workspace, other, run, tmp_path):
    workspace.export_runs(tmp_path / "runs.zip", [run.id])

    def later(entries):
        for one in entries:
            if one[0] == "manifest.json":
                one[1] = json.dumps({**json.loads(one[1]), "format": 2}).encode()
                return b"tinymlops runs " + hashlib.sha256(one[1]).hexdigest().encode()
        return None

    changed(tmp_path / "runs.zip", later)
    with pytest.raises(tm.DataError, match="has the format 2\nHint: pip install --upgrade tinymlops"):
        other.import_runs(tmp_path / "runs.zip")


def test_runs_are_chosen_by_name_or_by_a_search(workspace, run, tmp_path):
    assert [one.name for one in workspace.export_runs(tmp_path / "a.zip", ["parent"]).runs] == ["parent"]
    found = workspace.export_runs(tmp_path / "a.zip", where="metrics.curve > -2")
    assert [one.name for one in found.runs] == ["child"]
    with pytest.raises(tm.NotFoundError, match="there is no run 'gone'"):
        workspace.export_runs(tmp_path / "b.zip", ["gone"])
    with pytest.raises(tm.DataError, match="cannot be written"):
        workspace.export_runs(tmp_path / "no" / "b.zip")
    assert {path.name for path in tmp_path.iterdir()} == {"shop.tm", "a.zip"}


def test_an_empty_workspace_is_exported_and_imported(workspace, other, tmp_path):
    assert workspace.export_runs(tmp_path / "none.zip").runs == []
    assert other.import_runs(tmp_path / "none.zip").lines == []
