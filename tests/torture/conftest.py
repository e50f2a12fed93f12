"""Shared parts of the torture tests: a server of children and a workspace to copy."""

import os
import queue
import random
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from torture import figures
from torture.fleet import Fleet, copied, has_strace

FULL = figures.FULL
needs_strace = pytest.mark.skipif(not has_strace(), reason="needs strace that may trace: apt-get install strace")


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    yield fleet
    fleet.close()


@pytest.fixture(scope="session")
def prepared(fleet, tmp_path_factory):
    """A directory with the workspace `shop.tm` and the backup `saved`, never touched again."""
    base = tmp_path_factory.mktemp("prepared") / "base"
    base.mkdir()
    fleet.do_or_fail("world:build", base / "shop.tm")
    return base


@pytest.fixture
def place(prepared, tmp_path):
    """Make a fresh copy of the prepared directory, one at a time."""
    return Place(prepared, tmp_path / "copy")


@pytest.fixture
def each(prepared, tmp_path):
    """Call `work(place, item)` for many items and yield what it returns, in order: several at once, each at its own place."""
    hands = os.cpu_count() or 1
    places = queue.SimpleQueue()
    for hand in range(hands):
        places.put(Place(prepared, tmp_path / f"copy{hand}"))

    def placed(work, item):
        place = places.get()
        try:
            return work(place, item)
        finally:
            places.put(place)

    def each(work, items):
        pool = ThreadPoolExecutor(hands)
        try:
            yield from pool.map(lambda item: placed(work, item), items)
        finally:
            pool.shutdown(cancel_futures=True)

    return each


@pytest.fixture
def chance():
    return random.Random(20240101)


class Place:
    """One path for successive copies of the prepared directory."""

    def __init__(self, prepared, path):
        self._prepared = prepared
        self._path = path

    def fresh(self):
        """Return a new copy in place of the last."""
        shutil.rmtree(self._path, ignore_errors=True)
        return copied(self._prepared, self._path) / "shop.tm"
