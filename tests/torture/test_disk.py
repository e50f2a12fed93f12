"""A full disk and a failing disk: a typed error, reads continue, and later writes work."""

import os
import subprocess

import pytest

from torture import world
from torture.conftest import FULL, needs_strace
from torture.figures import record
from torture.fleet import calls, copied, points

VERBS = [verb for verb in world.VERBS if verb != "gc"]
FAILURES = {"write": "ENOSPC", "pwrite64": "ENOSPC", "mkdir": "ENOSPC", "fsync": "EIO", "fdatasync": "EIO"}
A_VERB = 2


@pytest.fixture(scope="module")
def total():
    total = {"failed_calls": 0, "typed_errors": 0, "went_well": 0, "full_disks": 0, "wrong": 0}
    yield total
    record("full_and_failing_disks", **total)


def scales(fleet, place, verb):
    """Return the results of `measure` before and after a verb, and the calls that it makes."""
    path = place.fresh()
    before = fleet.answer("world:measured", path, arguments={"verb": verb})
    trace = fleet.do("verb", path, verb=verb)
    assert trace.status == 0, trace.said
    return {"verb": verb, "before": before, "after": fleet.answer("world:measured", path, arguments={"verb": verb})}


def counted(total, looked):
    """Count the results of a child; return the failures."""
    found = looked.said[-1] if looked.said else {"problems": [f"the process ended with {looked.status}"]}
    problems = found.get("problems", [found])
    total["typed_errors" if found.get("error") else "went_well"] += 1
    total["wrong"] += bool(problems)
    return problems


@needs_strace
@pytest.mark.parametrize("verb", VERBS)
def test_a_call_that_fails_is_a_typed_error_and_nothing_is_lost(fleet, place, each, chance, total, verb):
    about = scales(fleet, place, verb)
    path = place.fresh()
    reference = fleet.traced("verb", path, verb=verb)
    # Of the other threads a runtime wakes them by writes that are counted too and that never fail; a full disk meets theirs.
    first = calls(reference.log)[0].thread
    found = [one for one in points(reference.log, path.parent) if one.name in FAILURES and one.thread == first]

    def failed(place, point):
        path, failure = place.fresh(), f"{point.name}:error={FAILURES[point.name]}:when={point.nth}"
        options = {"arguments": about, "trace": point.name, "threads": False}
        looked = fleet.traced("disk:survive", path, inject=[failure], **options)
        looked.log.unlink()
        return failure, point, looked

    wrong = []
    for failure, point, looked in each(failed, found if FULL else chance.sample(found, A_VERB)):
        total["failed_calls"] += 1
        problems = counted(total, looked)
        if problems:
            wrong.append((failure, point.text[:160], problems))
    assert not wrong, "\n\n".join(map(str, wrong))


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory):
    """A tmpfs of 16 MB."""
    path = tmp_path_factory.mktemp("small")
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", path], check=False).returncode
    ):
        pytest.skip("a disk of its own needs root: mount -t tmpfs")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_a_typed_error_and_room_makes_it_well(fleet, place, prepared, small_disk, total, verb):
    about = scales(fleet, place, verb)
    wrong = []
    sizes = [0, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288] if FULL else [0, 32768]
    for left in sizes:
        path = copied(prepared, small_disk / "copy") / "shop.tm"
        looked = fleet.do("disk:fill", path, arguments={**about, "left": left})
        subprocess.run(["rm", "-rf", path.parent], check=True)
        total["full_disks"] += 1
        problems = counted(total, looked)
        if problems:
            wrong.append((left, problems))
    assert not wrong, "\n\n".join(map(str, wrong))


def test_a_run_goes_on_once_a_full_disk_has_room_again(fleet, prepared, small_disk, total):
    wrong = []
    for left in [0, 4096, 16384, 65536, 131072, 262144, 524288] if FULL else [0, 65536]:
        path = copied(prepared, small_disk / "copy") / "shop.tm"
        looked = fleet.do("disk:log_on", path, arguments={"left": left, "before": 1_234})
        subprocess.run(["rm", "-rf", path.parent], check=True)
        total["full_disks"] += 1
        problems = counted(total, looked)
        if problems:
            wrong.append((left, problems))
    assert not wrong, "\n\n".join(map(str, wrong))
