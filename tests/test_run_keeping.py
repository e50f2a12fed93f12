"""What a run keeps beside params and points, through the workspace: files, console, load of the machine, uncommitted changes."""

import math
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest
from command_line import ask, succeed
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, NotFoundError
from tinymlops.records import ConsoleText
from tinymlops.training.watching import system, ticking
from tinymlops.training.watching.readings import Readings

HERE = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
PRINTS = """
import sys
import tinymlops as tm
ws = tm.connect(sys.argv[1])
run = ws.start_run("train")
print("id", run.id)
for percent in range(101):
    print(f"\\r{percent} %", end="", file=sys.stderr)
print("trained")
"""


@pytest.fixture
def quiet():
    """Options of a run that watches nothing."""
    return {"system": False, "console": False, "patch": False}


# files


def test_what_is_logged_is_found_by_name_and_kind(workspace):
    frame = pl.DataFrame({"row": [1, 2], "error": [0.5, math.nan]})
    with workspace.start_run("train") as run:
        run.log_text("notes", "some")
        run.log_table("errors", frame)
        run.log_table("errors.json", frame.drop_nans())
        for step in (0, 0.5, 10):
            run.log_image("samples", np.zeros((2, 2)), step=step)
        first = run.log_image("first", np.zeros((2, 2)))
        assert run.table("errors").equals(frame, null_equal=True)
    kept = {one.name: (one.kind, one.series, one.step) for one in workspace.runs.artifacts(run.id)}
    assert kept == {
        "notes.txt": ("text", None, None),
        "errors.parquet": ("table", None, None),
        "errors.json": ("table", None, None),
        "samples/0.png": ("image", "samples", 0.0),
        "samples/0.5.png": ("image", "samples", 0.5),
        "samples/10.png": ("image", "samples", 10.0),
        "first.png": ("image", None, None),
    }
    assert workspace.runs.read_artifact(run.id, "notes.txt") == b"some"
    assert workspace.runs.read_artifact(run.id, first.name).startswith(b"\x89PNG")
    assert workspace.runs.table(run.id, "errors.json").to_dicts() == [{"row": 1, "error": 0.5}]
    with pytest.raises(NotFoundError, match="keeps no file 'error'"):
        workspace.runs.table(run.id, "error")
    with pytest.raises(DataError, match="does not hold a table"):
        workspace.runs.table(run.id, "notes.txt")
    for log in (run.log_text, run.log_table, run.log_figure, run.log_image, run.log_artifact, run.log_artifacts):
        with pytest.raises(ConflictError, match="has ended"):
            log("late", "x")


def test_a_figure_is_kept_as_it_is_drawn(workspace):
    figures = pytest.importorskip("matplotlib.figure")
    altair = pytest.importorskip("altair")
    with workspace.start_run("train") as run:
        assert run.log_figure("plots/roc", figures.Figure()).name == "plots/roc.png"
        chart = altair.Chart(pl.DataFrame({"x": [1]})).mark_point().encode(x="x")
        assert run.log_figure("plots/curve", chart).name == "plots/curve.json"
    kept = {one.name: one.kind for one in workspace.runs.artifacts(run.id)}
    assert kept.items() >= {"plots/roc.png": "figure", "plots/curve.json": "figure"}.items()


def test_a_directory_is_kept_with_all_that_is_below(workspace, tmp_path):
    tree = tmp_path / "model"
    (tree / "weights").mkdir(parents=True)
    for name in ("config.json", "weights/0.bin", "weights/1.bin"):
        (tree / name).write_text(name)
    with workspace.start_run("train") as run:
        assert [one.name for one in run.log_artifacts("best", tree)] == [
            "best/config.json",
            "best/weights/0.bin",
            "best/weights/1.bin",
        ]
        with pytest.raises(DataError, match=r"is a directory\nHint: .*log_artifacts\('best', path\)"):
            run.log_artifact("best", tree)
        (tree / "weights" / "link").symlink_to(tree / "config.json")
        with pytest.raises(DataError, match="link is a symbolic link"):
            run.log_artifacts("worse", tree)
        (tree / "weights" / "link").unlink()
        (tree / 'q"uote').write_text("x")
        with pytest.raises(DataError, match="leave out quotes"):
            run.log_artifacts("worse", tree)
    assert len(workspace.runs.artifacts(run.id)) == 3
    assert workspace.runs.read_artifact(run.id, "best/weights/1.bin") == b"weights/1.bin"
    with pytest.raises(NotFoundError, match="no run with the id"):
        workspace.runs.log_files("nobody", [("a", tree / "config.json")])


# the console


def console_texts(ws, run):
    return database_of(ws).list(ConsoleText, where={"run": run.id})


def test_output_is_kept_until_the_run_ends(workspace):
    print("before")
    with workspace.start_run("train") as run:
        print("epoch 1")
        print("warning", file=sys.stderr)
        assert run.console == "epoch 1\nwarning\n"
        print("epoch 2", end="")
    print("after")
    assert run.console == workspace.runs.console(run.id) == "epoch 1\nwarning\nepoch 2"
    with pytest.raises(NotFoundError):
        workspace.runs.console("nobody")


def test_a_run_that_prints_nothing_keeps_nothing(workspace, quiet):
    with workspace.start_run("train") as silent:
        pass
    with workspace.start_run("train", **quiet) as run:
        print("unheard")
    assert silent.console == run.console == ""
    assert console_texts(workspace, run) == console_texts(workspace, silent) == []
    with workspace.start_run(resume=run, console=False) as again:
        print("unheard")
    assert again.console == ""


def test_long_output_is_capped_in_the_store_too(workspace):
    with workspace.start_run("train") as run:
        for number in range(20):
            print(f"{number:04}\n" * 20_000, end="")
            assert run.console.endswith(f"{number:04}\n")
    text = run.console
    assert text.startswith("0000\n")
    assert text.endswith("0019\n")
    left_out = [line for line in text.splitlines() if "left out" in line]
    assert len(left_out) == 1
    count = int(left_out[0].split()[0].removeprefix("[").replace(",", ""))
    assert len(text) - len(left_out[0]) - 1 + count == 20 * 20_000 * 5
    assert len(text) < 1_300_000


def test_a_resumed_run_keeps_the_output_of_both_sessions(workspace):
    with workspace.start_run("train") as run:
        print("one", end="")
    with workspace.start_run(resume=run) as again:
        print("two")
    lines = again.console.splitlines()
    assert [lines[0], lines[2]] == ["one", "two"]
    assert lines[1].startswith("[resumed before 20")


def test_two_runs_at_once_keep_what_is_printed_while_they_go_on(workspace):
    with workspace.start_run("outer") as outer:
        print("1")
        with workspace.start_run("inner", parent=outer) as inner:
            print("2")
        print("3")
    assert (outer.console, inner.console) == ("1\n2\n3\n", "2\n")


def test_deleting_a_run_deletes_its_output(workspace):
    with workspace.start_run("train") as run:
        print("epoch 1")
    workspace.runs.delete(run.id)
    assert console_texts(workspace, run) == []


def test_a_failed_run_keeps_what_was_printed_before(workspace):
    with pytest.raises(ZeroDivisionError), workspace.start_run("train") as run:
        print("dividing")
        _ = 1 / 0
    assert workspace.runs.get(run.id).status == "failed"
    assert run.console == "dividing\n"


@pytest.mark.parametrize("end", ["finishes", "is closed", "ends", "is terminated", "is killed"])
def test_output_outlives_the_process(tmp_path, end):
    path = tmp_path / "r.tm"
    tm.connect(path, create=True).close()
    last = {
        "finishes": "run.finish()",
        "is closed": "ws.close()",
        "ends": "",
        "is terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM); import time; time.sleep(60)",
        "is killed": (
            "import time, os\nwhile 'trained' not in ws.runs.console(run.id): time.sleep(0.1)\nos.kill(os.getpid(), 9)"
        ),
    }[end]
    code = {"is terminated": -signal.SIGTERM, "is killed": -signal.SIGKILL}.get(end, 0)
    done = subprocess.run(
        [sys.executable, "-c", PRINTS + last, str(path)],
        env=HERE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    with tm.connect(path) as ws:
        [run] = ws.runs.search()
        assert ws.runs.console(run.id) == f"id {run.id}\n100 %\ntrained\n"
        assert run.status == ("finished" if end == "finishes" else "lost")


def test_a_forked_child_neither_hears_nor_writes(tmp_path):
    path = tmp_path / "r.tm"
    tm.connect(path, create=True).close()
    code = PRINTS + (
        "import os\nchild = os.fork()\nif child == 0:\n    print('in the child'); sys.exit()\n"
        "os.waitpid(child, 0)\nprint('in the parent')\nrun.finish()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], env=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    with tm.connect(path) as ws:
        [run] = ws.runs.search()
        text = ws.runs.console(run.id)
    assert text.endswith("trained\nin the parent\n")
    assert "child" not in text


# the load of the machine


@pytest.fixture
def hasty(monkeypatch):
    """Read the load at once and all the time."""
    for name in ("_FIRST", "_SECOND", "_EVERY", "_YOUNG"):
        monkeypatch.setattr(system, name, 0.0 if name != "_EVERY" else 0.01)


def test_the_load_of_the_machine_is_a_metric_over_seconds(workspace, hasty):
    with workspace.start_run("train") as run:
        while len(workspace.runs.points(run.id, "system/cpu").steps) < 3:
            run.flush()
    names = {one.name for one in workspace.runs.summaries(run.id)[run.id]}
    assert names >= {"system/cpu", "system/memory", "system/process/cpu", "system/process/memory", "system/disk/free"}
    assert not any("system" in column for column in workspace.search_runs().columns)
    assert workspace.search_runs("metrics.system/memory > 0").height == 1
    points = workspace.runs.points(run.id, "system/cpu")
    assert (np.diff(points.steps) > 0).all()
    assert 0 <= points.steps[0] < 60
    assert ((points.values >= 0) & (points.values <= 100)).all()
    assert workspace.runs.points(run.id, "system/process/memory").values[0] > 1 << 20


def test_the_load_of_a_resumed_run_follows_that_before(workspace, hasty):
    run, seen = None, 0
    for _ in range(2):
        with workspace.start_run("train", resume=run) as run:
            while workspace.runs.points(run.id, "system/cpu").size < seen + 2:
                run.flush()
        seen = workspace.runs.points(run.id, "system/cpu").size
    points = workspace.runs.points(run.id, "system/cpu")
    assert set(points.sessions.tolist()) == {0, 1}
    assert (np.diff(points.steps) > 0).all()
    assert workspace.runs.points(run.id, "system/cpu", superseded=True).size == 0


def test_each_run_is_watched_until_it_ends_and_a_failure_of_one_is_its_own(hasty, tmp_path):
    heard, seen = {"a": [], "b": []}, threading.Semaphore(0)

    def broken(seconds, values):
        raise OSError("broken")

    ends = [system.watch_system(broken, tmp_path)]
    for times in heard.values():

        def log(seconds, values, times=times):
            times.append(seconds)
            seen.release()

        ends.append(system.watch_system(log, tmp_path))
    for _ in range(4):
        assert seen.acquire(timeout=30)
    for end in ends:
        end()
    counts = {name: len(seconds) for name, seconds in heard.items()}
    assert min(counts.values()) >= 1
    again = threading.Event()
    end = system.watch_system(lambda *_: again.set(), tmp_path)
    assert again.wait(30)
    end()
    end()
    assert all(len(seconds) <= counts[name] + 1 for name, seconds in heard.items())  # one may have been under way


def test_gpus_are_read_by_nvidias_tool(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, 97, 1024, 250.5, 60'\necho '1, 0, 1, [N/A], 35'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    readings = Readings(tmp_path)
    gpus = {name: value for name, value in readings.read().items() if "gpu" in name}
    assert gpus == {
        "system/gpu/0": 97.0,
        "system/gpu/0/memory": 1024.0 * 2**20,
        "system/gpu/0/power": 250.5,
        "system/gpu/0/temperature": 60.0,
        "system/gpu/1": 0.0,
        "system/gpu/1/memory": 2.0**20,
        "system/gpu/1/temperature": 35.0,
    }
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert not any("gpu" in name for name in readings.read())


def test_what_the_system_hides_is_left_out(tmp_path):
    values = Readings(tmp_path / "gone").read()
    assert "system/disk/free" not in values
    assert "system/cpu" in values


def test_a_short_run_starts_no_reading(workspace):
    with workspace.start_run("train") as run:
        run.log_metric("loss", 1.0)
    assert set(workspace.runs.summaries(run.id)[run.id][0].name.split("/")) == {"loss"}
    assert len(workspace.runs.summaries(run.id)[run.id]) == 1


def test_repeated_work_goes_on_after_a_failure_and_ends():
    calls, enough = [], threading.Event()

    def work():
        calls.append(1)
        if len(calls) == 3:
            enough.set()
        if len(calls) < 3:
            raise ValueError("not yet")
        return 60.0

    stop = ticking.repeat(work, after=0.0)
    assert enough.wait(30)
    stop()
    other = threading.Event()
    stop = ticking.repeat(lambda: other.set() or 60.0, after=0.0)  # the thread still works
    assert other.wait(30)
    stop()
    assert len(calls) == 3


# what a run stands on


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A repository with a change that is not committed, as the current directory."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    path = tmp_path / "code"
    path.mkdir()
    monkeypatch.chdir(path)
    (path / "train.py").write_text("depth = 3\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init"], ["add", "."], ["commit", "-m", "x"]):
        subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)
    (path / "train.py").write_text("depth = 4\n")
    return path


def test_a_run_keeps_the_uncommitted_changes_unless_told_not_to(code, tmp_path):
    with tm.connect(tmp_path / "r.tm", create=True) as ws:
        with ws.start_run("first") as first:  # known only later
            pass
        with ws.start_run("unasked, first", patch=False):
            pass
        ws.close()
    with tm.connect(tmp_path / "r.tm") as ws:
        with ws.start_run("second") as second:  # known at once
            pass
        with ws.start_run("unasked", patch=False) as unasked:
            pass
        assert second.record == ws.runs.get(second.id)
        for run in (ws.runs.get(first.id), second.record, unasked.record, ws.runs.get("unasked, first")):
            assert run.git_commit is not None
            assert run.git_dirty
            assert run.packages["tinymlops"]
            assert run.machine["cores"] >= 1
            assert (run.patch_sha256 is None) == run.name.startswith("unasked")
            patch = ws.runs.patch(run.id)
            assert patch is None if run.name.startswith("unasked") else "-depth = 3\n+depth = 4\n" in patch
        sha256 = second.record.patch_sha256
        ws.gc()
        assert ws.runs.patch(second.id) == ws.runs.patch(first.id)
        for run in (first, second):
            ws.runs.delete(run.id)
        assert not environment_of(ws).blobs.exists(sha256)


def test_a_run_in_a_directory_that_is_gone_starts(workspace, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with workspace.start_run("train") as run:
        pass
    assert run.record.git_commit is None


# the command


def test_the_command_shows_kinds_console_and_changes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "r.tm"
    with tm.connect(path, create=True) as ws, ws.start_run("train") as run:
        print("\x1b[31mepoch 1\x1b[0m")
        run.log_text("notes", "some")
        run.log_image("samples", np.zeros((2, 2)), step=1)
    shown = succeed("runs", "show", "train", "--workspace", path)
    assert "notes.txt (text)" in shown
    assert "samples/1.png (image)" in shown
    assert succeed("runs", "console", "train", "--workspace", path) == "epoch 1\n"
    assert ask("runs", "console", "train", "--workspace", path) == {"run": run.id, "console": "epoch 1\n"}
