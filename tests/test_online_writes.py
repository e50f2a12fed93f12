"""No user code runs inside a write of the online store: it may write itself, be slow, or raise."""

import threading
import warnings
from datetime import datetime

import polars as pl
import pytest
from conftest import at
from inside import clock_of, database_of, environment_of, online_of

import tinymlops as tm
from tinymlops.errors import TinyMLOpsError
from tinymlops.features.online import following

HOOK = []
"""What the user's function does before it answers; each once."""


def project_of():
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="click")
    def clicks() -> tm.Schema:
        return {"click": int, "customer": str, "at": datetime, "amount": float}

    @project.transformation(row_wise=True)
    def halves(clicks: pl.LazyFrame) -> pl.LazyFrame:
        if HOOK:
            HOOK.pop()()
        return clicks.with_columns(amount=pl.col("amount") / 2)

    @project.feature_view(entity=customer)
    def halving(halves: tm.Rows) -> tm.Features:
        return {"half": halves["amount"].last(), "halves_1d": halves["amount"].sum(window="1d")}

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return {"last": clicks["amount"].last()}

    return project


def click(number, amount=1.0):
    return {"click": number, "customer": "a", "at": at(number), "amount": amount}


@pytest.fixture
def ws(tmp_path):
    HOOK.clear()
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(20))) as ws:
        ws.apply(project_of())
        ws.push("clicks", [click(1)])
        ws.materialize()
        yield ws


@pytest.fixture
def inside(monkeypatch):
    """Let a hook run where a view follows or is rewritten, and nowhere before."""

    def arm(hook):
        real = following.stored_rows

        def armed(*arguments, **more):
            monkeypatch.setattr(following, "stored_rows", real)
            HOOK.append(hook)
            return real(*arguments, **more)

        monkeypatch.setattr(following, "stored_rows", armed)

    return arm


def require_current(ws):
    read = ws.get_online_features(["halving", "clicking"], {"customer": ["a"]}, details=True)
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [read.timestamp]})
    assert read.sequence == database_of(ws).sequence()
    assert read.to_polars().equals(
        ws.get_historical_features(spine, ["halving", "clicking"], details=True).drop("timestamp")
    )


def forget(ws):
    with online_of(ws).read() as snapshot:
        views = list(snapshot.coverages())
    online_of(ws).write(dict.fromkeys(views))


def follows(ws):
    assert ws.push("clicks", [click(2, amount=6.0)]).online == "current"


def materializes(ws):
    forget(ws)
    ws.materialize()


@pytest.mark.parametrize("work", [follows, materializes])
def test_another_thread_writes_while_the_users_function_takes_its_time(ws, inside, work):
    seen = []

    def takes_time():
        thread = threading.Thread(target=online_of(ws).put_token, args=(b"from another thread",))
        thread.start()
        thread.join(20)
        seen.append(thread.is_alive())

    inside(takes_time)
    work(ws)
    assert seen == [False], "the write did not wait for the function"
    require_current(ws)


@pytest.mark.parametrize("work", [follows, materializes])
def test_the_users_function_may_write_to_the_workspace_itself(ws, inside, work):
    pushed = []
    inside(lambda: pushed.append(ws.push("clicks", [click(3, amount=8.0)])))
    work(ws)
    assert [one.online for one in pushed] == ["current"]
    require_current(ws)


def test_views_that_another_process_moved_meanwhile_are_computed_again(ws, inside):
    attempts = []
    real = following._compute

    def counted(*arguments):
        attempts.append(1)
        return real(*arguments)

    following._compute = counted
    try:
        inside(lambda: ws.push("clicks", [click(3, amount=8.0)]))
        follows(ws)
    finally:
        following._compute = real
    assert len(attempts) == 3, "the push, the one inside of it, and the first again"
    require_current(ws)


def raises():
    raise ZeroDivisionError("in the user's code")


def warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.warn("a filter makes this an error", stacklevel=2)


@pytest.mark.parametrize("hook", [raises, warns])
def test_a_function_that_raises_leaves_the_store_as_it_was_and_open_to_all(ws, inside, hook):
    with online_of(ws).read() as snapshot:
        before = snapshot.coverages()
    inside(hook)
    assert ws.push("clicks", [click(2, amount=6.0)]).online == "behind"
    with online_of(ws).read() as snapshot:
        assert snapshot.coverages().keys() == before.keys()
        assert snapshot.coverage(min(before)) is not None
    online_of(ws).put_token(b"written")
    assert ws.push("clicks", [click(3)]).online == "current"
    require_current(ws)


@pytest.mark.parametrize("hook", [raises, warns])
def test_a_view_that_could_not_be_materialized_is_not_half_there(ws, inside, hook):
    forget(ws)
    inside(hook)
    with pytest.raises(TinyMLOpsError):
        ws.materialize("halving")
    with online_of(ws).read() as snapshot:
        assert snapshot.coverages() == {}
    ws.materialize()
    require_current(ws)


def test_a_view_is_hidden_until_it_has_come_to_the_sequence_of_the_others(ws, inside, monkeypatch):
    """A process that dies in between leaves a view that nobody reads; the next connection rebuilds it."""
    forget(ws)

    def dies(*_, **__):
        raise KeyboardInterrupt

    from tinymlops.features.online import materialization

    with monkeypatch.context() as broken:
        broken.setattr(materialization, "follow_views", dies)
        with pytest.raises(KeyboardInterrupt):
            ws.materialize("clicking")
    with online_of(ws).read() as snapshot:
        assert [coverage.is_hidden for coverage in snapshot.coverages().values()] == [True]
    assert ws.push("clicks", [click(2, amount=6.0)]).online == "current"
    require_current(ws)
    tm.connect(environment_of(ws).path, clock=clock_of(ws)).close()
    with online_of(ws).read() as snapshot:
        assert [coverage.is_hidden for coverage in snapshot.coverages().values()] == [False]
    require_current(ws)
