"""A shared commit: concurrent writes of threads become durable by one commit, and each of them fails alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from inside import waiting_in

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError
from tinymlops.records import Outcome
from tinymlops.stores.database import Database
from tinymlops.stores.locks import FileLock
from tinymlops.stores.shared_commit import SharedCommit

NOW = datetime(2024, 1, 1, tzinfo=UTC)
PATIENCE = 60


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "meta.db", FileLock(tmp_path / "write.lock"))
    made.create(lambda tx: None)
    yield made
    made.close()


def outcome(name):
    return Outcome(prediction_id=name, value=1.0, at=NOW, origin="logged")


def stored(database):
    return {one.prediction_id for one in database.list(Outcome)}


class Held:
    """A commit that is held until it is released, so that writes that come meanwhile are committed together after it."""

    def __init__(self, shared, pool):
        self.begun, self.free = threading.Event(), threading.Event()
        self.future = pool.submit(shared.run, None, self._work)
        assert self.begun.wait(PATIENCE)

    def _work(self, _):
        self.begun.set()
        assert self.free.wait(PATIENCE)

    def until_waiting(self, shared, count):
        while waiting_in(shared) < count:  # each of them waits for the one that is held
            threading.Event().wait(0.001)
        self.free.set()
        self.future.result(PATIENCE)


def together(database, shared, works):
    """Run some works so that they are committed together; return the future of each."""
    with ThreadPoolExecutor(len(works) + 1) as pool:
        held = Held(shared, pool)
        futures = []
        for work in works:  # in this order
            futures.append(pool.submit(shared.run, "ana", work))
            while waiting_in(shared) < len(futures):
                threading.Event().wait(0.001)
        held.until_waiting(shared, len(works))
    return futures


@pytest.fixture
def shared(database):
    return SharedCommit(lambda actor: database.write(actor=actor), PATIENCE)


def test_what_waits_is_committed_together_and_each_gets_its_own_answer(database, shared):
    before = database.commits()
    found = together(database, shared, [lambda tx, n=n: (tx.put(outcome(f"p{n}")), n)[1] for n in range(10)])
    assert [one.result() for one in found] == list(range(10))
    assert stored(database) == {f"p{n}" for n in range(10)}
    assert database.commits() == before + 1


def test_what_raises_takes_back_its_own_part_alone(database, shared):
    def fails(tx):
        tx.put(outcome("bad"))
        tx.take_sequence(5)
        tx.audit("push", "clicks")
        raise DataError("no")

    def writes(tx):
        tx.put(outcome("good"))
        return tx.take_sequence(2)

    first, second, third = together(database, shared, [writes, fails, lambda tx: tx.take_sequence(1)])
    with pytest.raises(DataError, match="no"):
        second.result()
    assert (first.result(), third.result()) in ((0, 2), (1, 0))  # whichever came first
    assert database.sequence() == 3
    assert stored(database) == {"good"}
    assert not database.verify_audit()


def test_who_comes_later_sees_what_was_written_before_in_the_same_commit(database, shared):
    found = together(
        database, shared, [lambda tx: tx.put(outcome("a")), lambda tx: tx.get(Outcome, prediction_id="a").value]
    )
    assert found[1].result() == 1.0


def test_an_interrupt_of_the_one_that_writes_is_its_own(database, shared):
    """The first writes for all; the others try again without it."""

    def interrupted(tx):
        tx.put(outcome("interrupted"))
        raise KeyboardInterrupt

    found = together(database, shared, [interrupted, *(lambda tx, n=n: tx.put(outcome(f"p{n}")) for n in range(3))])
    with pytest.raises(KeyboardInterrupt):
        found[0].result()
    for one in found[1:]:
        one.result()
    assert stored(database) == {"p0", "p1", "p2"}


def test_a_commit_that_fails_as_a_whole_is_tried_again_by_everybody_else(database):
    failures = iter([None, OSError("the disk is full")])

    class Failing:
        def __init__(self, actor):
            self._write = database.write(actor=actor)

        def __enter__(self):
            return self._write.__enter__()

        def __exit__(self, *about):
            error = next(failures, None) if about[0] is None else None
            self._write.__exit__(*((type(error), error, None) if error else about))
            if error:
                raise error

    shared = SharedCommit(Failing, PATIENCE)
    found = together(database, shared, [lambda tx, n=n: tx.put(outcome(f"p{n}")) for n in range(4)])
    errors = [one.exception() for one in found]
    assert [type(error) for error in errors if error] == [OSError]
    assert len(stored(database)) == 3


def test_an_error_of_a_try_that_was_taken_back_is_forgotten(database):
    """A part fails, then the commit that it was in fails as a whole: alone it succeeds, and says so."""
    tries = []

    def work(tx):
        tries.append(tx)
        if len(tries) == 2:
            raise DataError("not yet")
        tx.put(outcome(f"try {len(tries)}"))

    class FailingTogether:
        def __init__(self, actor):
            self._write = database.write(actor=actor)

        def __enter__(self):
            return self._write.__enter__()

        def __exit__(self, *about):
            error = OSError("the disk is full") if about[0] is None and len(tries) == 2 else None
            self._write.__exit__(*((OSError, error, None) if error else about))
            if error:
                raise error

    shared = SharedCommit(FailingTogether, PATIENCE)
    found = together(database, shared, [work, work])
    assert sorted(type(one.exception()).__name__ for one in found) == ["NoneType", "OSError"]
    assert stored(database) == {"try 3"}


def test_patience_ends_and_nothing_is_written_later(database):
    shared = SharedCommit(lambda actor: database.write(actor=actor), 0.05)
    with ThreadPoolExecutor(1) as pool:
        held = Held(shared, pool)
        with pytest.raises(ConflictError, match="other threads wrote"):
            shared.run(None, lambda tx: tx.put(outcome("late")))
        held.until_waiting(shared, 0)
    assert stored(database) == set()


def test_more_than_a_group_holds_is_committed_in_several(database, shared):
    found = together(database, shared, [lambda tx, n=n: tx.put(outcome(f"p{n}")) for n in range(100)])
    for one in found:
        one.result()
    assert len(stored(database)) == 100


def test_inside_a_transaction_it_is_refused(database):
    with database.write(actor=None), pytest.raises(ConflictError, match="inside a write transaction"):
        database.write_together(lambda tx: None, actor=None)


def test_pushes_of_many_threads_are_each_there_once_and_the_store_has_followed(tmp_path):
    project = tm.Project("p")
    user = project.entity("user", key="user")

    @project.source(timestamp="at", id="click")
    def clicks() -> tm.Schema:
        return {"click": int, "user": int, "at": datetime}

    @project.feature_view(entity=user)
    def activity(clicks: tm.Rows) -> tm.Features:
        return {"clicks": clicks.count(window="30d")}

    at = datetime.now(UTC) - timedelta(hours=1)
    with tm.connect(tmp_path / "w.tm", create=True) as ws:
        ws.apply(project)
        ws.materialize()

        def clicked(user):
            return ws.get_online_features(["activity"], [{"user": user}]).to_dict()["clicks"][0]

        def push(thread):
            reports = []
            for n in range(20):  # every id comes from two threads
                reports.append(ws.push("clicks", [{"click": n * 10 + thread // 2, "user": n, "at": at}]))
                assert clicked(n) > 0
            return reports

        with ThreadPoolExecutor(8) as pool:
            reports = [one for found in pool.map(push, range(8)) for one in found]
        assert (sum(one.rows_new for one in reports), sum(one.rows_known for one in reports)) == (80, 80)
        assert {one.online for one in reports} == {"current"}
        assert [clicked(n) for n in range(20)] == [4] * 20
        assert ws.sql("SELECT count(*) FROM clicks").item() == 80
