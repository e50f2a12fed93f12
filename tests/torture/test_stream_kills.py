"""Kill a process that follows a file, again and again: no line is lost, and none is taken twice."""

import random
import time

from torture.conftest import FULL
from torture.figures import record
from torture.stream import Writer

KILLS = 100 if FULL else 6


def test_lines_of_a_rotated_file_are_taken_once_over_kills(fleet, tmp_path):
    chance = random.Random(20240101)
    path, file = tmp_path / "stream.tm", tmp_path / "pings.jsonl"
    fleet.do_or_fail("stream:prepare", path, arguments={"file": str(file)})
    with Writer(file, chance.random()) as writer:
        for _ in range(KILLS):
            child = fleet.start("stream:follow_until_killed", path, arguments={"file": str(file)})
            child.go()
            time.sleep(chance.uniform(0.1, 0.9))
            child.kill()
            ended = child.ended()
            assert ended.status == -9, ended
    (answer,) = fleet.do("stream:finish", path, says=True, arguments={"file": str(file)}).said
    assert "taken" in answer, answer
    taken = answer["taken"]
    lost, twice = len({*range(writer.written)} - {*taken}), len(taken) - len({*taken})
    record("kills_of_a_follower", kills=KILLS, lines=writer.written, rotations=writer.rotations, lost=lost, twice=twice)
    assert (lost, twice) == (0, 0)
    assert taken == [*range(writer.written)]
