"""The life of a run: it goes on, is lost with its process, resumed by one process at a time, trashed and deleted."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, NotFoundError, TinyMLOpsError
from tinymlops.records import DeletedRun, MetricChunk, MetricSeries, MetricSummary
from tinymlops.stores.buffer import Buffer

HERE = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
LOGS = """
import sys, time
import tinymlops as tm
ws = tm.connect(sys.argv[1])
run = ws.start_run("train", params={"depth": 3})
for step in range(int(sys.argv[2])):
    run.log_metric("loss", step / 10)
print(run.id, flush=True)
if "flush" in sys.argv:
    run.flush()
    print("flushed", flush=True)
sys.stdin.readline()
"""
RESUMES = """
import sys
import tinymlops as tm
from tinymlops.errors import ConflictError
ws = tm.connect(sys.argv[1])
try:
    run = ws.start_run(resume=sys.argv[2])
except ConflictError as error:
    print(error.message, flush=True)
    sys.exit()
print("resumed", flush=True)
sys.stdin.readline()
run.finish()
"""


@pytest.fixture
def path(tmp_path):
    tm.connect(tmp_path / "r.tm", create=True).close()
    return tmp_path / "r.tm"


def process(code, *arguments, stderr=None):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        env=HERE,
    )


def test_a_run_whose_process_died_is_lost_and_goes_on_elsewhere(path):
    with process(LOGS, path, 100, "flush") as child, tm.connect(path) as ws:
        run = child.stdout.readline().strip()
        assert child.stdout.readline() == "flushed\n"
        assert ws.runs.get(run).status == "running"
        with pytest.raises(ConflictError, match=f"goes on in process {child.pid}"):
            ws.start_run(resume=run)
        with pytest.raises(ConflictError, match="goes on"):
            ws.runs.delete(run)
        child.kill()
        child.wait()
        assert ws.runs.get(run).status == "lost"
        assert ws.runs.points(run, "loss").size == 100
        with ws.start_run("train", resume=run[:8]) as again:
            assert ws.runs.get(run).status == "running"
            for step in range(90, 95):
                again.log_metric("loss", -1.0, step=step)
            again.log_metric("loss", -2.0)
        assert ws.runs.get(run).status == "finished"
        assert ws.runs.points(run, "loss").values[88:].tolist() == [8.8, 8.9, *[-1.0] * 5, -2.0, 9.6, 9.7, 9.8, 9.9]
        assert ws.runs.points(run, "loss", superseded=True).values.tolist() == [9.0, 9.1, 9.2, 9.3, 9.4, 9.5]
        (summary,) = ws.runs.summaries(run)[run]
        assert (summary.count, summary.last, summary.min, summary.min_step) == (100, 9.9, -2.0, 95.0)
        assert [one.action for one in ws.audit.list(subject=run)][::-1] in (
            ["run.start", "run.resume", "run.finish"],
            ["run.finish", "run.resume", "run.start"],
        )


def test_one_process_of_two_resumes_a_run(path):
    with tm.connect(path) as ws:
        run = ws.start_run("train")
        run.finish()
        children = [process(RESUMES, path, run.id) for _ in range(2)]
        try:
            said = sorted(child.stdout.readline() for child in children)
            assert said[0] == "resumed\n" or said[1] == "resumed\n"
            assert sum("goes on in process" in one for one in said) == 1
        finally:
            for child in children:
                child.communicate("\n")
        assert ws.runs.get(run.id).status == "finished"
        assert ws.runs.get(run.id).session == 1


def test_sigterm_writes_what_was_logged(path):
    with process(LOGS, path, 5_000) as child:
        run = child.stdout.readline().strip()
        child.send_signal(signal.SIGTERM)
        assert child.wait(30) == -signal.SIGTERM
    with tm.connect(path) as ws:
        assert ws.runs.points(run, "loss").size == 5_000
        assert ws.runs.get(run).status == "lost"


def test_a_program_whose_points_cannot_be_written_ends_and_says_so(path):
    code = (
        LOGS.replace("sys.stdin.readline()", "")
        + "import os\nos.rename(sys.argv[1], sys.argv[1] + '.moved')\nrun.log_metric('loss', 1.0)"
    )
    with process(code, path, 10, "flush", stderr=subprocess.PIPE) as child:
        _, said = child.communicate(timeout=60)
        assert re.search(r"\d points of runs could not be logged", said)


def test_a_program_that_handles_sigterm_keeps_its_handler(path):
    code = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)" + LOGS
    with process(code, path, 10) as child:
        child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        child.communicate("\n", timeout=30)
        assert child.returncode == 0


def test_a_program_that_handles_sigterm_after_its_run_began_is_left_alone(path):
    """As a server does: it takes the signal over while it runs."""
    code = LOGS.replace("sys.stdin.readline()", "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)\n%s")
    with process(code % "print('ready', flush=True)\nsys.stdin.readline()", path, 10) as child:
        child.stdout.readline()
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.5)
        child.communicate("\n", timeout=30)
        assert child.returncode == 0


def test_a_run_that_is_interrupted_is_killed(path):
    with tm.connect(path) as ws:
        with pytest.raises(KeyboardInterrupt), ws.start_run("train") as run:
            run.log_metric("loss", 1.0)
            raise KeyboardInterrupt
        assert (ws.runs.get(run.id).status, ws.runs.get(run.id).metrics) == ("killed", {"loss": 1.0})


def test_a_script_that_ends_without_finishing_loses_nothing(path):
    code = LOGS.replace("sys.stdin.readline()", "")
    with process(code, path, 777) as child:
        run = child.stdout.readline().strip()
    with tm.connect(path) as ws:
        assert ws.runs.points(run, "loss").size == 777
        assert ws.runs.get(run).status == "lost"


def test_a_fork_may_not_log_and_does_not_keep_the_run_going(path):
    with tm.connect(path) as ws:
        run = ws.start_run("train")
        child = os.fork()
        if not child:
            try:
                run.log_metric("loss", 1.0)
            except ConflictError:
                time.sleep(60)
            os._exit(1)
        time.sleep(0.2)
        run.finish()
        assert ws.runs.get(run.id).status == "finished"
        ws.start_run(resume=run.id).finish()
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, "the fork was refused"


def test_threads_log_to_one_run_and_none_is_missed(path):
    with tm.connect(path) as ws, ws.start_run("train") as run:

        def work(name):
            for step in range(500):
                run.log_metric(name, step, durable=step % 100 == 0)
                run.log_metric("shared", 1.0)

        threads = [threading.Thread(target=work, args=(f"m{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(4):
            assert ws.runs.points(run.id, f"m{number}").values.tolist() == list(range(500))
        assert ws.runs.points(run.id, "shared").steps.tolist() == list(range(2_000))


def test_what_another_process_logged_otherwise_is_told(path):
    with tm.connect(path) as ws, tm.connect(path) as other:
        run = ws.start_run("train", params={"depth": 3})
        with pytest.raises(ConflictError, match="depth as 3, not 4"):
            run.log_params(depth=4)
        other.runs.log_params(run.id, {"rate": 0.1})
        run.log_params(rate=0.2)
        with pytest.raises(ConflictError, match=r"rate as 0\.1, not 0\.2"):
            run.flush()
        run.log_metric("loss", 1.0)
        assert run.finish().params == {"depth": 3, "rate": 0.1}
        with pytest.raises(ConflictError, match="has ended"):
            run.log_metric("loss", 1.0)


def test_a_run_may_name_its_experiment_group_parent_and_notes(path):
    with tm.connect(path) as ws:
        with ws.start_run("parent", experiment="delays", notes="why", tags={"n": 1}) as parent:
            child = ws.start_run("child", experiment="delays", group="seeds", parent=parent)
            child.set_tags(seed=3)
            child.set_notes("other")
            child.finish()
        assert [one.name for one in ws.runs.experiments()] == ["Default", "delays"]
        stored = ws.runs.get(child.id)
        assert (stored.parent, stored.group, stored.notes, stored.tags) == (parent.id, "seeds", "other", {"seed": "3"})
        assert ws.runs.experiment("delays").id == stored.experiment
        with pytest.raises(NotFoundError, match="did you mean 'delays'"):
            ws.runs.experiment("delay")
        with pytest.raises(NotFoundError):
            ws.start_run("orphan", parent="0" * 32)
        with pytest.raises(ConflictError, match="parent of child"):
            ws.runs.delete(parent.id)


def test_an_experiment_in_the_trash_takes_no_runs_and_comes_back_with_its_own(path):
    with tm.connect(path) as ws:
        kept, gone = ws.runs.start("kept", experiment="e"), ws.runs.start("gone", experiment="e")
        ws.runs.trash(gone.id)
        ws.runs.trash_experiment("e")
        assert ws.runs.get(kept.id).deleted_at is not None
        with pytest.raises(ConflictError, match="in the trash"):
            ws.start_run("new", experiment="e")
        assert [one.name for one in ws.runs.experiments(deleted=True)] == ["e"]
        ws.runs.restore_experiment("e")
        assert ws.runs.get(kept.id).deleted_at is None
        assert ws.runs.get(gone.id).deleted_at is not None
        ws.runs.restore(gone.id)
        assert ws.runs.rename_experiment("e", "f").name == "f"
        with pytest.raises(ConflictError, match="there is an experiment"):
            ws.runs.create_experiment("f")
        with pytest.raises(DataError, match="cannot be deleted"):
            ws.runs.trash_experiment("Default")
        assert ws.runs.set_experiment_tags("f", {"a": 1, "b": 2}).tags == {"a": "1", "b": "2"}
        assert ws.runs.set_experiment_tags("f", {"a": None}).tags == {"b": "2"}


def test_deleting_a_run_frees_its_disk_and_leaves_that_it_was_there(path):
    def files():
        return {file.name for file in (path / "blobs").rglob("*") if file.is_file()}

    with tm.connect(path) as ws:
        with ws.start_run("one") as one, ws.start_run("two") as two:
            one.log_artifact("own.bin", b"x" * 1_000)
            one.log_artifact("shared.bin", b"shared")
            two.log_artifact("shared.bin", b"shared")
            one.log_metrics(loss=1.0)
        before = files()
        ws.runs.delete(one.id)
        assert len(before - files()) == 1
        assert ws.runs.read_artifact(two.id, "shared.bin") == b"shared"
        database = database_of(ws)
        for cls in (MetricChunk, MetricSeries, MetricSummary):
            assert database.list(cls, where={"run": one.id}) == []
        assert database.get(DeletedRun, id=one.id).name == "one"
        with pytest.raises(NotFoundError, match="was deleted at"):
            ws.runs.log_metrics(one.id, {"loss": 1.0})
        with pytest.raises(NotFoundError):
            ws.runs.get(one.id)
        assert not list((path / "live").iterdir())


def test_the_clock_set_back_loses_no_point_and_no_order(path):
    now, before = tm.ReplayClock(datetime(2024, 1, 2, tzinfo=UTC)), tm.ReplayClock(datetime(2023, 1, 1, tzinfo=UTC))
    with tm.connect(path, clock=now) as ws, ws.start_run("train") as run:
        for step in range(3):
            run.log_metric("loss", float(step))
        run.flush()
        with tm.connect(path, clock=before) as earlier:
            earlier.runs.log_metrics(run.id, {"loss": 3.0})
            earlier.runs.log_metrics(run.id, {"loss": 9.0}, step=1)
        assert ws.runs.points(run.id, "loss").values.tolist() == [0.0, 9.0, 1.0, 2.0, 3.0]
        assert ws.runs.get(run.id).metrics == {"loss": 3.0}


def test_a_parameter_of_a_megabyte_is_refused_and_nothing_of_it_is_kept(path):
    with tm.connect(path) as ws, ws.start_run("train") as run:
        with pytest.raises(DataError, match="more than 16,384") as caught:
            run.log_params(fine=1, text="x" * 1_000_000)
        assert "log_text" in caught.value.hint
        assert len(str(caught.value)) < 500
        assert ws.runs.get(run.id).params == {}


def test_points_that_the_disk_refuses_are_kept_until_it_takes_them():
    written, full = [], threading.Event()
    full.set()

    def write(records):
        if full.is_set():
            raise TinyMLOpsError("the disk is full")
        written.extend(records)

    buffer = Buffer(Path("r.tm"), write, "points", "the log", due=10, most=100, keeps=True)
    buffer.append(list(range(50)))
    message = "50 points could not be logged, and are kept to try again: the disk is full"
    with pytest.raises(TinyMLOpsError, match=message):
        buffer.flush()
    full.clear()
    buffer.flush()
    buffer.append([50])
    buffer.close()
    assert written == list(range(51))


def test_a_caller_does_not_wait_for_ever_for_a_full_disk():
    def write(records):
        raise TinyMLOpsError("the disk is full")

    buffer = Buffer(Path("r.tm"), write, "points", "the log", due=10, most=20, keeps=True)
    told = 0
    for number in range(60):
        try:
            buffer.append([number])
        except TinyMLOpsError:
            told += 1
    assert told
    with pytest.raises(TinyMLOpsError, match="points could not be logged: the disk is full"):
        buffer.close()


def test_a_lock_file_that_is_in_the_way_is_an_error_of_ours(path, tmp_path):
    with tm.connect(path) as ws:
        live = environment_of(ws).live
        (path / "live").mkdir(exist_ok=True)
        (path / "live" / "x").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(TinyMLOpsError):
            live.begin("x")
        assert not (tmp_path / "elsewhere").exists()
