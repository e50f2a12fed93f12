"""What the torture tests share: a server of children and a workspace to copy."""

import os
import random
import shutil

import pytest

from torture import figures
from torture.fleet import Fleet, copied, has_strace

FULL = os.environ.get("TINYMLOPS_TORTURE") == "full"
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
def chance():
    return random.Random(20240101)


class Place:
    """One path where copies of the prepared directory come and go."""

    def __init__(self, prepared, path):
        self._prepared = prepared
        self._path = path

    def fresh(self):
        """Return a new copy in place of the last."""
        shutil.rmtree(self._path, ignore_errors=True)
        return copied(self._prepared, self._path) / "shop.tm"


def pytest_terminal_summary(terminalreporter):
    lines = list(figures.table())
    if lines:
        terminalreporter.section("torture")
        for line in lines:
            terminalreporter.write_line(line)
