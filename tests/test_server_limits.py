"""How often each may ask."""

import sys
import threading

import pytest

from tinymlops.server import limits
from tinymlops.server.limits import Rates


class Clock:
    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_second_of_requests_may_come_at_once_and_then_the_rate_counts(clock):
    rates = Rates(clock)
    assert [rates.allow("ana", 5) for _ in range(5)] == [None] * 5
    assert rates.allow("ana", 5) == pytest.approx(0.2)
    clock.now += 0.1
    assert rates.allow("ana", 5) == pytest.approx(0.1)
    clock.now += 0.1
    assert rates.allow("ana", 5) is None
    assert rates.allow("bo", 5) is None, "another's bucket"


@pytest.mark.parametrize("rate", [0.01, 0.5, 1, 7, 1_000.0])
def test_over_a_long_time_exactly_the_rate_is_let_through(clock, rate):
    rates = Rates(clock)
    seconds, allowed = 100 / rate, 0
    for _ in range(2_000):
        allowed += rates.allow("ana", rate) is None
        clock.now += seconds / 2_000
    assert allowed == pytest.approx(100 + max(1, rate), abs=8 + rate / 10)


def test_who_waits_as_long_as_was_said_is_let_through(clock):
    rates = Rates(clock)
    for _ in range(500):
        wait = rates.allow("ana", 3)
        if wait is not None:
            clock.now += wait * (1 + 1e-9)
            assert rates.allow("ana", 3) is None


def test_a_rate_that_changes_counts_at_once(clock):
    rates = Rates(clock)
    while rates.allow("ana", 100) is None:
        pass
    assert rates.allow("ana", 0.5) == pytest.approx(2, rel=0.01)
    clock.now += 3_600
    assert rates.allow("ana", 0.5) is None
    assert rates.allow("ana", 0.5) == pytest.approx(2)


def test_only_so_many_are_remembered(clock, monkeypatch):
    monkeypatch.setattr(limits, "_MOST", 100)
    rates = Rates(clock)
    for number in range(1_000):
        assert rates.allow(f"actor {number}", 1) is None
        clock.now += 0.001
    assert len(rates) == 100
    assert rates.allow("actor 999", 1) is not None, "the last are known"


def test_a_question_takes_no_time_however_many_ask(capsys):
    rates = Rates()
    took = []
    for count in (1, 10_000):
        names = [f"actor {number}" for number in range(count)] * (20_000 // count)
        begun = limits.time.perf_counter()
        for name in names:
            rates.allow(name, 1e9)
        took.append((limits.time.perf_counter() - begun) / len(names) * 1e6)
    with capsys.disabled():
        print(f"\na question of the rate: {took[0]:.2f} us for one actor, {took[1]:.2f} us for 10,000")
    assert max(took) < 30


def test_threads_do_not_get_more_together(clock):
    rates = Rates(clock)
    allowed = []

    def ask():
        allowed.extend(rates.allow("ana", 50) is None for _ in range(2_000))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert sum(allowed) == 50
