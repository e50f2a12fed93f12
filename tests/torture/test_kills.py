"""Kill a verb at every system call that changes something, and check what is left."""

import pytest

from torture import world
from torture.conftest import FULL, needs_strace
from torture.figures import record
from torture.fleet import points

pytestmark = needs_strace
A_VERB = 3
"""Kill points of each verb in the short version."""


@pytest.fixture(scope="module")
def total():
    total = {"verbs": 0, "kill_points": 0, "survived": 0, "lost": 0, "half_visible": 0, "again": 0}
    yield total
    record("kills_at_system_calls", **{("wrong_when_done_again" if k == "again" else k): v for k, v in total.items()})


def kills(fleet, place, each, verb, chosen, *, broken=None):
    """Kill the verb at chosen points; yield each point with the findings, None if it survived."""

    def killed(place, point):
        path = place.fresh()
        kill = f"{point.name}:signal=SIGKILL:when={point.nth}"
        ended = fleet.traced("verb", path, verb=verb, broken=broken, trace=point.name, inject=[kill])
        ended.log.unlink()
        if ended.status == 0:
            return point, None
        if ended.status != -9:
            return point, {"half_visible": [f"it ended with {ended.status}: {ended.said}"]}
        about = {"verb": verb, "before": before, "after": after, "acknowledged": ended.said}
        looked = fleet.do("world:finish", path, arguments=about)
        found = looked.said[-1] if looked.said else {"half_visible": [f"the look ended with {looked.status}"]}
        if "error" in found:
            found = {"half_visible": [found["trace"]]}
        return point, {kind: sentences for kind, sentences in found.items() if sentences}

    path = place.fresh()
    before = fleet.answer("world:measured", path, arguments={"verb": verb})
    reference = fleet.traced("verb", path, verb=verb, broken=broken)
    assert reference.status == 0, reference.said
    after = fleet.answer("world:measured", path, arguments={"verb": verb})
    yield from each(killed, chosen(points(reference.log, path.parent)))


@pytest.mark.parametrize("verb", world.VERBS)
def test_a_verb_killed_at_any_system_call_loses_nothing_and_shows_nothing_by_halves(
    fleet, place, each, chance, total, verb
):
    def chosen(found):
        return found if FULL else sorted(chance.sample(found, A_VERB), key=found.index)

    wrong = []
    total["verbs"] += 1
    for point, found in kills(fleet, place, each, verb, chosen):
        total["survived" if found is None else "kill_points"] += 1
        for kind, sentences in (found or {}).items():
            total[kind] += 1
            wrong.append((point.name, point.nth, point.text[:200], kind, sentences))
    assert not wrong, "\n\n".join(map(str, wrong))


@pytest.mark.parametrize("verb", ["ingest", "compact"])
def test_files_that_appear_after_their_commit_are_caught(fleet, place, each, verb):
    def chosen(found):
        return [point for point in found if point.name == "rename"][-1:]

    found = [found for _, found in kills(fleet, place, each, verb, chosen, broken="commit_before_publish")]
    assert found
    assert all(one and "half_visible" in one for one in found), found


def test_a_migration_that_is_committed_by_halves_is_caught(fleet, place, each):
    def chosen(found):
        return [point for point in found if "sync" in point.name and "/old.tm/meta.db-wal>" in point.text]

    found = [found for _, found in kills(fleet, place, each, "migrate", chosen, broken="migrate_without_transaction")]
    assert any(one and "half_visible" in one for one in found), found


def test_a_position_that_is_written_after_its_rows_is_caught(fleet, place, each):
    def chosen(found):
        return [point for point in found if "sync" in point.name and "/meta.db-wal>" in point.text]

    found = [found for _, found in kills(fleet, place, each, "follow", chosen, broken="position_after_rows")]
    assert any(one and "again" in one for one in found), found
