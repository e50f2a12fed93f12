"""Many processes on one workspace: none gets a lock error, and nothing is lost."""

import pytest

from torture.conftest import FULL
from torture.figures import record

COMMITS = 100_000 if FULL else 300
SECONDS = 180 if FULL else 6
FORKS = 200 if FULL else 3
_EIGHT = 8


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr("torture.fleet._PATIENCE", 3600.0 if FULL else 90.0)


def together(fleet, path, jobs):
    """Run children at the same time; return the last line of each."""
    children = [fleet.start(job, path, arguments=arguments) for job, arguments in jobs]
    for child in children:
        child.go()
    ended = [child.ended() for child in children]
    assert [one.status for one in ended] == [0] * len(jobs), [one.said for one in ended if one.status]
    return [one.said[-1] for one in ended]


def test_eight_processes_make_one_workspace(fleet, tmp_path):
    times = 20 if FULL else 2
    for number in range(times):
        together(fleet, tmp_path / f"new{number}.tm", [("crowd:create", {})] * _EIGHT)
    record("eight_start_on_an_empty_directory", directories=times, starts=_EIGHT * times, surfaced_errors=0)


def test_eight_processes_register_versions_without_a_gap(fleet, place):
    path = place.fresh()
    times = 25 if FULL else 3
    said = together(fleet, path, [("crowd:register", {"times": times})] * _EIGHT)
    versions = sorted(version for one in said for version in one["versions"])
    assert versions == list(range(3, 3 + _EIGHT * times))
    counted = fleet.answer("crowd:count", path)
    assert counted["versions"] == list(range(1, 3 + _EIGHT * times))
    assert not counted["problems"]
    record("eight_register_one_model", versions=len(versions), gaps=0, surfaced_errors=0)


def test_commits_meet_checkpoints_and_none_is_lost(fleet, place):
    path = place.fresh()
    committed, checkpointed = together(fleet, path, [("crowd:commit", {"times": COMMITS}), ("crowd:checkpoint", {})])
    counted = fleet.answer("crowd:count", path)
    lost = 20 + committed["clicks"] - counted["clicks"] + committed["metrics"] - counted["metrics"]
    record("writer_against_checkpointer", commits=COMMITS, **checkpointed, lost=lost, wrong=len(counted["problems"]))
    assert lost == 0
    assert not counted["problems"]


def test_forks_amid_pushes_are_refused_and_neither_hang_nor_hurt_their_parent(fleet, place):
    path = place.fresh()
    (said,) = together(fleet, path, [("crowd:fork", {"times": FORKS})])
    counted = fleet.answer("crowd:count", path)
    record(
        "forks",
        forks=FORKS,
        refused_uses=said["refused"],
        wrong=len(said["problems"]),
        pushes=said["clicks"],
        lost=20 + said["clicks"] - counted["clicks"],
    )
    assert not said["problems"]
    assert counted["clicks"] == 20 + said["clicks"] > 20
    assert not counted["problems"]


def test_a_notebook_a_server_and_a_cron_job_share_a_workspace(fleet, place):
    path = place.fresh()
    about, before = {"seconds": SECONDS}, fleet.answer("crowd:count", path)
    notebook, server, cron = together(
        fleet, path, [("crowd:notebook", about), ("crowd:server", about), ("crowd:cron", about)]
    )
    counted = fleet.answer("crowd:count", path)
    lost = sum(before[kind] + server[kind] - counted[kind] for kind in ("clicks", "predictions"))
    lost += cron["orders"] - counted["orders"]
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
