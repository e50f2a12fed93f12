"""A clock that is set back: history, the order of corrections and online answers do not change."""

import pytest

from torture.conftest import FULL
from torture.figures import record

STORIES = 16 if FULL else 1
STEPS = 50 if FULL else 12


def told(fleet, tmp_path, seed, **options):
    return fleet.answer("clock:story", tmp_path / f"{seed}.tm", arguments={"seed": seed, "steps": STEPS}, **options)


def test_a_clock_set_back_makes_nothing_wrong(fleet, each, tmp_path):
    stories = list(each(lambda _, seed: told(fleet, tmp_path, seed), range(STORIES)))
    wrong = [problem for one in stories for problem in one["problems"]]
    record(
        "clock_set_back",
        stories=STORIES,
        steps=STORIES * STEPS,
        set_back=sum(one["set_back"] for one in stories),
        refused=sum(one["refused"] for one in stories),
        answers_compared=sum(one["compared"] for one in stories),
        wrong=len(wrong),
    )
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("broken", ["trust_the_clock"])
def test_a_push_that_trusts_the_clock_is_caught(fleet, tmp_path, broken):
    assert any(told(fleet, tmp_path, seed, broken=broken)["problems"] for seed in range(100, 104))
