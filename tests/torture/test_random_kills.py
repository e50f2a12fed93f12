"""Kill processes under load at random times; acknowledged writes are there once, and nothing is there in part."""

import random
import time

from torture.conftest import FULL
from torture.figures import record
from torture.fleet import waited

LIVES = 50 if FULL else 2
"""Workspaces, each with a history of its own."""
ROUNDS = 10 if FULL else 6
"""In each of a life, two processes are killed."""
_WHILE_THEY_WORK = 0.8
"""How often; else while they open the workspace that others were killed in."""


def test_what_was_acknowledged_before_a_random_kill_is_there(fleet, each):
    lives = list(each(lambda place, seed: life(fleet, place.fresh(), random.Random(seed)), range(LIVES)))
    lost = [sentence for one in lives for sentence in one["lost"]]
    half_visible = [sentence for one in lives for sentence in one["half_visible"]]
    record(
        "random_kills_under_load",
        kills=2 * LIVES * ROUNDS,
        acknowledged=sum(one["acknowledged"] for one in lives),
        lost=len(lost),
        half_visible=len(half_visible),
    )
    assert all(one["acknowledged"] for one in lives)
    assert not lost
    assert not half_visible


def life(fleet, path, chance):
    """Kill a pusher and a mixer repeatedly; check everything after each kill. Return the findings."""
    found = {"acknowledged": 0, "lost": [], "half_visible": []}
    clicks, runs, points, orders, champion = [], [], {}, 310, 1
    for number in range(ROUNDS):
        pusher = fleet.start("load:push_until_killed", path, says=True, arguments={"first": 1000 + number * 10_000})
        mixer = fleet.start("load:mix_until_killed", path, says=True, arguments={"seed": chance.random()})
        for child in (pusher, mixer):
            child.go()
        if chance.random() < _WHILE_THEY_WORK:
            waited(lambda pusher=pusher: pusher.said())
        time.sleep(chance.uniform(0.0, 0.4))
        for child in (pusher, mixer):
            child.kill()
        said = [child.ended() for child in (pusher, mixer)]
        assert [ended.status for ended in said] == [-9, -9], said
        acknowledged = [what for ended in said for what in ended.said if "moving" not in what]
        found["acknowledged"] += len(acknowledged)
        for what in acknowledged:
            clicks += [what["clicks"]] if "clicks" in what else []
            runs += [what["run"]] if "run" in what else []
            points |= [what["points"]] if "points" in what else []
            orders = max(orders, what.get("orders", 0))
            champion = what.get("champion", champion)
        # The move during which it was killed may have been done.
        moving = said[1].said[-1].get("moving", champion) if said[1].said else champion
        about = {"clicks": clicks, "orders": orders, "runs": runs, "points": points, "champion": [champion, moving]}
        looked = fleet.answer("load:look", path, arguments=about)
        champion = looked["champion"]
        found["lost"] += looked["lost"]
        found["half_visible"] += looked["half_visible"]
    return found
