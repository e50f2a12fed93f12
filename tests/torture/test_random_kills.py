"""Kill processes under load at random moments; whatever they acknowledged is there."""

import time

from torture.conftest import FULL
from torture.figures import record
from torture.fleet import waited

ROUNDS = 500 if FULL else 12
"""In each, two processes are killed."""
_BETWEEN_LOOKS = 25


def test_what_was_acknowledged_before_a_random_kill_is_there(fleet, place, chance):
    path = place.fresh()
    clicks, runs, orders, champion, acknowledged = [], [], 310, {1}, 0
    lost, half_visible = [], []
    for number in range(ROUNDS):
        pusher = fleet.start("load:push_until_killed", path, says=True, arguments={"first": 1000 + number * 10_000})
        mixer = fleet.start("load:mix_until_killed", path, says=True, arguments={"seed": number})
        for child in (pusher, mixer):
            child.go()
        waited(lambda pusher=pusher: pusher.said())
        time.sleep(chance.uniform(0.0, 0.4))
        for child in (pusher, mixer):
            child.kill()
        said = [child.ended() for child in (pusher, mixer)]
        assert [ended.status for ended in said] == [-9, -9], said
        for what in (what for ended in said for what in ended.said):
            acknowledged += 1
            clicks += [what["clicks"]] if "clicks" in what else []
            runs += [what["run"]] if "run" in what else []
            orders = max(orders, what.get("orders", 0))
        moved = [what["champion"] for what in said[1].said if "champion" in what]
        # The move in whose midst it was killed may have been done.
        champion = {1, 2} if moved or number else champion
        about = {"clicks": clicks, "orders": orders, "runs": runs[-50:], "champion": sorted(champion)}
        lost += fleet.answer("load:lost", path, arguments=about)["lost"]
        if number % _BETWEEN_LOOKS == 0 or number == ROUNDS - 1:
            half_visible += fleet.answer("load:seen", path)["problems"]
        assert not lost
        assert not half_visible
    assert acknowledged
    record(
        "random_kills_under_load",
        kills=2 * ROUNDS,
        acknowledged=acknowledged,
        lost=len(lost),
        half_visible=len(half_visible),
    )
