"""A workspace that is moved, removed or replaced while it is open: nothing is written, and there is an error."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from inside import database_of, environment_of, online_of
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.errors import IntegrityError
from tinymlops.stores.directory import Directory
from tinymlops.stores.locks import FileLock

MOVED = "shop.tm was moved, removed or replaced while it was open here"


def shop():
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="n")
    def clicks() -> tm.Schema:
        return {"customer": int, "n": int, "at": datetime}

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {"newest": clicks["n"].last()}

    return project


def click(number):
    return [{"customer": 1, "n": number, "at": datetime(2024, 1, 1, 0, number, tzinfo=UTC)}]


def clicks(ws):
    return sorted(ws.sql("select n from clicks")["n"])


@pytest.fixture
def backed_up(workspace, tmp_path):
    """A workspace with one click, and a backup from before the second."""
    workspace.apply(shop())
    workspace.push("clicks", click(1))
    workspace.backup(tmp_path / "copy")
    workspace.push("clicks", click(2))
    return workspace


def restored_in_place(tmp_path):
    (tmp_path / "shop.tm").rename(tmp_path / "old.tm")
    tm.restore(tmp_path / "copy", tmp_path / "shop.tm")


def removed(tmp_path):
    shutil.rmtree(tmp_path / "shop.tm")


@pytest.mark.parametrize("happens", [restored_in_place, removed])
@pytest.mark.parametrize(
    "write",
    [
        lambda ws: ws.push("clicks", click(3)),
        lambda ws: ws.apply(tm.Project("shop")),
        lambda ws: ws.start_run("run"),
        lambda ws: ws.runs.start("run"),
        lambda ws: ws.compact(),
        lambda ws: ws.gc(),
        lambda ws: ws.materialize(),
        lambda ws: ws.repair(),
        lambda ws: ws.backup(environment_of(ws).path.with_name("another")),
        lambda ws: ws.predict("buy", click(3)),
        lambda ws: ws.log_outcomes([{"prediction_id": "p", "value": 1.0}]),
        lambda ws: online_of(ws).update(lambda tx: tx.put(b"k", b"v")),
        lambda ws: environment_of(ws).blobs.put(b"content") and ws.runs.start("run"),
    ],
    ids=[
        "push",
        "apply",
        "start_run",
        "start",
        "compact",
        "gc",
        "materialize",
        "repair",
        "backup",
        "predict",
        "outcomes",
        "online",
        "blob",
    ],
)
def test_every_write_is_refused_and_says_why(backed_up, tmp_path, happens, write):
    happens(tmp_path)
    with pytest.raises(IntegrityError, match="was moved, removed or replaced|is not there any more") as caught:
        write(backed_up)
    assert "connect again" in caught.value.hint


def test_what_was_moved_and_what_was_restored_are_both_whole(backed_up, tmp_path):
    restored_in_place(tmp_path)
    with pytest.raises(IntegrityError, match=MOVED):
        backed_up.push("clicks", click(3))
    backed_up.close()
    for name, found in (("shop.tm", [1]), ("old.tm", [1, 2])):
        with tm.connect(tmp_path / name) as ws:
            assert clicks(ws) == found
            assert database_of(ws).damaged_rows() == database_of(ws).verify_audit() == []
            ws.push("clicks", click(9))
            assert clicks(ws) == [*found, 9]


def test_the_number_of_the_last_commit_stays_beside_its_database(backed_up, tmp_path):
    """A commit under way when the directory is moved ends where it began."""
    with database_of(backed_up).write(actor="x") as tx:
        tx.audit("a", "b")
        restored = tmp_path / "shop.tm"
        with pytest.raises(IntegrityError, match=MOVED):
            restored_in_place(tmp_path)
            environment_of(backed_up).check()
        restored.rename(tmp_path / "new.tm")
        (tmp_path / "old.tm").rename(restored)
    assert not (tmp_path / "new.tm" / "meta.db.last").exists()
    backed_up.push("clicks", click(3))
    assert clicks(backed_up) == [1, 2, 3]


def test_a_restored_workspace_can_be_opened_beside_the_moved_one_in_one_process(backed_up, tmp_path):
    restored_in_place(tmp_path)
    with tm.connect(tmp_path / "shop.tm") as again:
        again.push("clicks", click(5))
        assert clicks(again) == [1, 5]
        with pytest.raises(IntegrityError, match=MOVED):
            backed_up.push("clicks", click(6))


def test_a_moved_workspace_is_not_opened_twice_in_one_process(backed_up, tmp_path):
    """Two handles of LMDB on one file would end in damage."""
    (tmp_path / "shop.tm").rename(tmp_path / "old.tm")
    with pytest.raises(IntegrityError, match=MOVED):
        tm.connect(tmp_path / "old.tm")
    (tmp_path / "old.tm").rename(tmp_path / "shop.tm")
    backed_up.push("clicks", click(3))
    assert clicks(backed_up) == [1, 2, 3]


@pytest.mark.parametrize("happens", [restored_in_place, removed])
def test_a_server_says_that_it_is_not_ready_and_takes_nothing(backed_up, tmp_path, happens):
    with TestClient(tm.create_app(backed_up), base_url="http://127.0.0.1:8000") as client:
        assert client.get("/readyz").status_code == 200
        happens(tmp_path)
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["type"]) == (503, "IntegrityError")
        assert MOVED in answer.json()["error"]
        rows = [{"customer": 1, "n": 7, "at": "2024-01-02T00:00:00Z"}]
        answer = client.post("/v1/sources/clicks/push", json={"rows": rows})
        assert (answer.status_code, answer.json()["type"]) == (500, "IntegrityError")
        assert MOVED in answer.json()["error"]


def test_a_thread_that_comes_later_says_the_same(backed_up, tmp_path):
    """It has no connection yet, and can open none."""
    removed(tmp_path)
    with ThreadPoolExecutor(1) as thread, pytest.raises(IntegrityError, match=MOVED):
        thread.submit(database_of(backed_up).rows, "SELECT 1 FROM tokens").result()


def test_a_directory_is_known_by_what_it_is(tmp_path):
    path = tmp_path / "a"
    path.mkdir()
    held = Directory(path)
    held.check()
    assert held.read("file") is None
    (path / "file").write_bytes(b"x")
    assert (held.read("file"), held.size("file"), held.size("other")) == (b"x", 1, 0)
    path.rename(tmp_path / "b")
    assert held.is_at(tmp_path / "b")
    assert held.read("file") == b"x"
    path.mkdir()  # while the first is held, it cannot be given the same inode
    assert not held.is_at(path)
    for _ in range(3):
        path.rmdir()
        path.mkdir()
        with pytest.raises(IntegrityError, match="its path leads to another directory now"):
            held.check()


def test_a_lock_in_a_directory_that_is_gone_is_not_taken(tmp_path):
    (tmp_path / "a").mkdir()
    lock = FileLock(tmp_path / "a" / "write.lock")
    with lock.exclusive(deadline=1):
        pass
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(IntegrityError, match="there is nothing at its path now"), lock.shared(deadline=1):
        pass
    (tmp_path / "a").mkdir()
    with pytest.raises(IntegrityError, match="another directory"), lock.exclusive(deadline=1):
        pass
