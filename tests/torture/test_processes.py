"""Many processes at one workspace: none sees an error of a lock, and nothing is lost."""

import pytest

from torture.conftest import FULL
from torture.figures import record

COMMITS = 100_000 if FULL else 300
SECONDS = 180 if FULL else 6
_EIGHT = 8


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr("torture.fleet._PATIENCE", 3600.0 if FULL else 90.0)


def together(fleet, path, jobs):
    """Run children at the same time; return what each said last."""
    children = [fleet.start(job, path, arguments=arguments) for job, arguments in jobs]
    for child in children:
        child.go()
    ended = [child.ended() for child in children]
    assert [one.status for one in ended] == [0] * len(jobs), [one.said for one in ended if one.status]
    return [one.said[-1] for one in ended]


def test_eight_processes_make_one_workspace(fleet, tmp_path):
    for number in range(20 if FULL else 2):
        together(fleet, tmp_path / f"new{number}.tm", [("crowd:create", {})] * _EIGHT)


def test_eight_processes_register_versions_without_a_gap(fleet, place):
    path = place.fresh()
    times = 25 if FULL else 3
    said = together(fleet, path, [("crowd:register", {"times": times})] * _EIGHT)
    versions = sorted(version for one in said for version in one["versions"])
    assert versions == list(range(3, 3 + _EIGHT * times))
    assert fleet.answer("crowd:count", path)["versions"] == list(range(1, 3 + _EIGHT * times))


def test_commits_meet_checkpoints_and_none_is_lost(fleet, place):
    path = place.fresh()
    seconds = COMMITS / 150
    committed, checkpointed = together(
        fleet,
        path,
        [("crowd:commit", {"times": COMMITS, "first": 5000}), ("crowd:checkpoint", {"seconds": seconds})],
    )
    counted = fleet.answer("crowd:count", path)
    record(
        "writer_against_checkpointer",
        commits=COMMITS,
        checkpoints=checkpointed["checkpoints"],
        lost=20 + COMMITS - counted["clicks"],
    )
    assert committed == {"pushed": COMMITS}
    assert counted["clicks"] == 20 + COMMITS
    assert not counted["problems"]


def test_a_notebook_a_server_and_a_cron_job_share_a_workspace(fleet, place):
    path = place.fresh()
    about = {"seconds": SECONDS}
    notebook, server, cron = together(
        fleet, path, [("crowd:notebook", about), ("crowd:server", about), ("crowd:cron", about)]
    )
    counted = fleet.answer("crowd:count", path)
    lost = 20 + server["clicks"] - counted["clicks"] + cron["orders"] - counted["orders"]
    lost += server["predictions"] - counted["predictions"]
    record(
        "many_processes",
        seconds=SECONDS,
        reads=notebook["reads"],
        pushes=server["clicks"] // 5,
        predictions=server["predictions"],
        cron_rounds=cron["rounds"],
        lost=lost,
        surfaced_errors=0,
    )
    assert lost == 0
    assert not counted["problems"]
