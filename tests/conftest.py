"""Workspaces and small frames that many tests use."""

import os
import shutil
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import served_shop
from fuzzing import pytest_terminal_summary

import tinymlops as tm
from tinymlops.stores import environment

__all__ = ["pytest_terminal_summary"]

# Tests run the machine code and leave no process running; `test_startup.py` tests interpreted kernels.
os.environ.setdefault("TINYMLOPS_KERNELS", "compiled")

pytest_plugins = ["torture.figures"]
SLOWEST = (
    *("kills", "disk", "random_kills", "sink_kills", "processes", "order", "flips", "job_month", "stream_kills"),
    *(
        "container",
        "guide",
        "example_reviews",
        "example_catalog",
        "cli_errors",
        "cli",
        "server_running",
        "server_slow",
        "server_tls",
    ),
    *("startup", "server_fuzz", "server_large_answers", "server_stalls", "sources_that_change", "notebook", "apply"),
    *(
        "pages_browser",
        "pages_sql",
        "pages_runs_browser",
        "share",
        "job_faults",
        "in_place",
        "indexed_ingest",
        "index_life",
        "sinks",
        "vector_indexes",
        "vector_search",
        "vector_oracle",
    ),
)
"""The files that take longest: they begin first, so that no process is left alone with one of them at the end."""

START = datetime(2024, 1, 1, tzinfo=UTC)

if not hasattr(sys.modules["__main__"], "__file__"):  # a worker of pytest-xdist, which is not a notebook
    sys.modules["__main__"].__file__ = __file__


def pytest_collection_modifyitems(items):
    places = {f"test_{name}.py": place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def at(hours):
    """Return the time this many hours after the start."""
    return START + timedelta(hours=hours)


@pytest.fixture(autouse=True, scope="module")
def _nothing_is_left_open():
    """Check that a module leaves nothing open: that would fail tests of other modules, depending on their order."""
    yield
    assert [open_one.path for open_one in environment._open] == []
    sys.modules.pop("features", None)  # else the projects of other modules' tests would be this one


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server for all modules of a process; skips where none is installed."""
    pytest.importorskip("adbc_driver_postgresql")
    import postgres_server

    if postgres_server.binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgres_server.running() as server:
        yield server


@pytest.fixture
def workspace(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        yield ws


@pytest.fixture(scope="module")
def refusing(shop_path):
    """A client for the many requests that change nothing: an application is made once for all of them."""
    from litestar.testing import TestClient

    with (
        tm.connect(shop_path, clock=tm.ReplayClock(served_shop.NOW)) as ws,
        TestClient(tm.create_app(ws), base_url="http://127.0.0.1:8000") as client,
    ):
        yield client


def shop(orders, visits=None, *, order_options=None, features=None, ttl=None):
    """A project with orders of customers; `features` makes the view from rows."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    project.entity("visit", key="visit")
    frames = {"orders": orders, "visits": visits}

    @project.source(**{"timestamp": "at", **(order_options or {})})
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return frames["visits"]

    @project.feature_view(entity=customer, ttl=ttl)
    def spending(orders: tm.Rows) -> tm.Features:
        if features is not None:
            return features(orders)
        return {"last_amount": orders["amount"].last(), "spent_1d": orders["amount"].sum(window="1d")}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    project.training_set("visits_to_orders", spine=visits, label=buys, features=[spending])
    project.frames = frames
    return project


@pytest.fixture(scope="session")
def built_shop(tmp_path_factory):
    """A workspace of `served_shop`, with a model, that nobody opens again."""
    path = tmp_path_factory.mktemp("built") / "shop.tm"
    served_shop.build(path)
    return path


@pytest.fixture(scope="module")
def shop_path(built_shop, tmp_path_factory):
    """A module's own workspace of `served_shop`, with a model; each of its tests pushes ids of its own."""
    return shutil.copytree(built_shop, tmp_path_factory.mktemp("served") / "shop.tm")


@pytest.fixture
def served(shop_path):
    with tm.connect(shop_path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        yield ws
