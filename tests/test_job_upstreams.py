"""A job that follows several others runs once for what all of them have done, in any order of events."""

import os
from datetime import timedelta

import pytest
from clocks import NOON, AnyClock
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.registry.following import Success, counted_by_next
from tinymlops.schedules import Job, schedule_of

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)
UPSTREAMS = ("clicks", "orders", "visits")
BOTH = Job(name="both", after=("orders", "clicks"))


def hourly(name, **options):
    return Job(name=name, schedule=schedule_of("1h", None, "UTC"), missed="all", **options)


class Shop:
    """A workspace whose jobs are ended by hand."""

    def __init__(self, ws, clock):
        self.ws, self.clock, self.jobs = ws, clock, [hourly("orders"), hourly("clicks"), BOTH]
        ws.jobs.decide(self.jobs)
        self.open = {}

    def hours(self, number):
        self.clock.now += number * HOUR

    def decide(self):
        return self.ws.jobs.decide(self.jobs)

    def take(self):
        for one in self.ws.jobs.claim(self.jobs, at_once=99):
            self.open[one.run.job] = one

    def end(self, job, state="succeeded"):
        one = self.open.pop(job)
        self.ws.jobs.finish(one.number, state)
        os.close(one.lock)

    def dues(self, job="both"):
        return sorted((run.due - NOON) / HOUR for run in self.ws.jobs.history(job, limit=None))


@pytest.fixture
def shop(tmp_path):
    clock = AnyClock()
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        shop = Shop(ws, clock)
        yield shop
        for one in shop.open.values():
            os.close(one.lock)


def test_it_runs_once_when_each_has_succeeded(shop):
    shop.hours(1)
    shop.decide()
    shop.take()
    shop.end("orders")
    assert shop.decide() == 0
    shop.end("clicks")
    assert [shop.decide(), shop.decide()] == [1, 0]
    run = shop.ws.jobs.get("both")
    assert (run.due, run.cause, run.state) == (NOON + HOUR, "after orders, clicks", "waiting")


def test_one_that_failed_is_waited_for_until_its_next_success(shop):
    for clicks in ("failed", "succeeded"):
        shop.hours(1)
        shop.decide()
        shop.take()
        shop.end("orders")
        shop.end("clicks", clicks)
        shop.decide()
    assert shop.dues() == [2]
    run = shop.ws.jobs.get("both")
    assert (run.first, run.due) == (NOON + HOUR, NOON + 2 * HOUR)  # the orders of the hour before count too


def test_a_slow_one_does_not_shift_it_for_ever(shop):
    shop.hours(1)
    shop.decide()
    shop.take()
    shop.end("orders")
    shop.end("clicks", "failed")
    for _ in range(3):
        shop.hours(1)
        shop.decide()
        shop.take()
        shop.end("orders")
        assert shop.decide() == 0  # clicks of this hour is on its way
        shop.end("clicks")
        assert shop.decide() == 1
        shop.take()
        shop.end("both")
    assert shop.dues() == [2, 3, 4]


def test_what_runs_again_does_not_count_again(shop):
    shop.hours(1)
    shop.decide()
    shop.take()
    for name in ("orders", "clicks"):
        shop.end(name)
    shop.decide()
    shop.take()
    shop.end("both")
    for name in ("orders", "clicks"):
        shop.ws.jobs.rerun(name)
    shop.take()
    for name in ("orders", "clicks"):
        shop.end(name)
    assert shop.decide() == 0
    assert shop.dues() == [1]


def test_two_that_are_backfilled_are_followed_for_each_due_time(shop):
    orders, clicks = shop.jobs[:2]
    for job in (orders, clicks):
        shop.ws.jobs.backfill(job, NOON - 3 * HOUR, NOON)
    for name in ("orders", "clicks"):
        for _ in range(4):
            shop.take()
            shop.end(name)
            shop.decide()
            if "both" in shop.open:
                shop.end("both")
        shop.take()
    if "both" in shop.open:
        shop.end("both")
    assert shop.dues() == [-3, -2, -1, 0]


def test_a_time_that_it_has_worked_for_is_not_used_again(shop):
    shop.hours(1)
    shop.ws.jobs.start("both")
    shop.decide()
    shop.take()
    for name in ("both", "orders", "clicks"):
        shop.end(name)
    assert shop.decide() == 1
    assert [run.due for run in shop.ws.jobs.history("both")] == [NOON + HOUR + MICROSECOND, NOON + HOUR]


def test_what_was_before_it_does_not_count_nor_what_was_before_it_changed(shop):
    late = Job(name="late", after=("orders", "clicks"))
    shop.hours(1)
    shop.decide()
    shop.take()
    shop.end("orders")
    shop.jobs.append(late)
    shop.decide()  # it is seen for the first time
    shop.end("clicks")
    shop.decide()
    assert shop.dues() == [1]
    assert shop.dues("late") == []


EVENTS = st.one_of(
    st.just(("hour",)),
    st.just(("round",)),
    st.just(("decide",)),
    st.just(("take",)),
    st.tuples(st.just("end"), st.sampled_from(["orders", "clicks"]), st.sampled_from(["succeeded", "failed", "lost"])),
    st.tuples(st.just("start"), st.sampled_from(["orders", "clicks"])),
    st.tuples(st.just("rerun"), st.sampled_from(["orders", "clicks"])),
    st.tuples(st.just("backfill"), st.sampled_from(["orders", "clicks"]), st.integers(1, 3)),
)


class Oracle:
    """The rule as the guide says it, over a plain list of what happened."""

    def __init__(self):
        self.successes = {"orders": [], "clicks": []}
        self.counted = {"orders": 0, "clicks": 0}
        self.made = []

    def succeeded(self, job, due):
        if due not in self.successes[job]:
            self.successes[job].append(due)

    def decide(self, is_open):
        while True:
            new = {job: dues[self.counted[job] :] for job, dues in self.successes.items()}
            if not new["orders"] or not new["clicks"]:
                return
            due = max(new["orders"][0], new["clicks"][0])
            if is_open(due):
                return
            for job, dues in new.items():
                for one in dues:
                    if one > due:
                        break
                    self.counted[job] += 1
            while due in self.made:
                due += MICROSECOND
            self.made.append(due)


def play(ws, clock, events):
    """Do what is said, and return what a job that follows both did, and what it should have done."""
    jobs = [hourly("orders"), hourly("clicks"), BOTH]
    ws.jobs.decide(jobs)
    running, oracle = {}, Oracle()
    rounds = {("round",): [("hour",), ("decide",), ("take",)]}
    for name, *rest in (one for event in events for one in rounds.get(event, [event])):
        clock.now += timedelta(seconds=1)
        if name == "hour":
            clock.now += HOUR
        elif name == "start":
            ws.jobs.start(rest[0])
        elif name == "take":
            running |= {one.run.job: one for one in ws.jobs.claim(jobs[:2], at_once=9)}
        elif name == "rerun":
            ended = [run for run in ws.jobs.history(rest[0]) if run.state in ("succeeded", "failed")]
            for run in ended[-1:]:
                ws.jobs.rerun(rest[0], run.due)
        elif name == "backfill":
            ws.jobs.backfill(next(job for job in jobs if job.name == rest[0]), NOON - rest[1] * HOUR, NOON)
        elif name == "end" and rest[0] in running:
            one = running.pop(rest[0])
            ws.jobs.finish(one.number, rest[1])
            os.close(one.lock)
            if rest[1] == "succeeded":
                oracle.succeeded(rest[0], one.run.due)
        elif name == "decide":
            ws.jobs.decide(jobs)
            open_ones = [
                run.due
                for run in ws.jobs.history(limit=None)
                if run.job != "both" and run.state in ("waiting", "running") and run.cause != "backfill"
            ]
            oracle.decide(lambda due, dues=open_ones: any(one <= due for one in dues))
    for one in running.values():
        os.close(one.lock)
    return sorted(run.due for run in ws.jobs.history("both", limit=None)), sorted(oracle.made)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("histories")


def both_ended(*states):
    return [("end", job, state) for job, state in zip(("orders", "clicks"), states, strict=True)]


@settings(max_examples=25, deadline=None)
@given(events=st.lists(EVENTS, min_size=10, max_size=40))
@example(events=[("hour",), ("decide",), ("take",), *both_ended("succeeded", "succeeded"), ("decide",)])
@example(
    events=[
        ("backfill", "orders", 3),
        ("hour",),
        ("decide",),
        ("take",),
        *both_ended("succeeded", "failed"),
        ("take",),
        ("end", "orders", "succeeded"),
        ("start", "clicks"),
        ("take",),
        ("end", "clicks", "succeeded"),
        ("decide",),
    ]
)
@example(
    events=[("round",), *both_ended("succeeded", "failed"), ("round",), ("end", "clicks", "succeeded"), ("decide",)]
)  # orders of this hour is on its way
@example(
    events=[
        ("round",),
        *both_ended("succeeded", "failed"),
        ("round",),
        *both_ended("succeeded", "succeeded"),
        ("decide",),
        ("start", "clicks"),
        ("take",),
        ("end", "clicks", "succeeded"),
        ("decide",),
    ]
)  # two of orders were counted at once
@example(
    events=[
        ("round",),
        *both_ended("succeeded", "succeeded"),
        ("decide",),
        ("rerun", "orders"),
        ("rerun", "clicks"),
        ("take",),
        *both_ended("succeeded", "succeeded"),
        ("decide",),
    ]
)
def test_any_history_is_followed_as_the_rule_says(folder, events):
    clock = AnyClock()
    with tm.connect(folder / f"{len(list(folder.iterdir()))}.tm", create=True, clock=clock) as ws:
        made, wanted = play(ws, clock, events)
    assert made == wanted


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(UPSTREAMS), st.integers(0, 9)), max_size=40))
def test_each_success_is_counted_once_and_each_run_counts_all(successes):
    news = {name: [] for name in UPSTREAMS}
    for attempt, (name, due) in enumerate(successes):
        if all(one.due != due for one in news[name]):
            news[name].append(Success(attempt, due))
    before = {name: list(ones) for name, ones in news.items()}
    counted = {name: [] for name in UPSTREAMS}
    while (found := counted_by_next(news)) is not None:
        due, ones = found
        assert all(ones[name] == news[name][: len(ones[name])] and ones[name] for name in UPSTREAMS)
        assert max(one.due for some in ones.values() for one in some) == due
        for name, some in ones.items():
            counted[name] += some
            news[name] = news[name][len(some) :]
    assert {name: counted[name] + news[name] for name in UPSTREAMS} == before
    assert not all(news.values())


@given(st.lists(st.integers(0, 30), unique=True).map(sorted))
def test_with_the_same_due_times_each_is_followed_once(dues):
    news = {name: [Success(n, due) for n, due in enumerate(dues)] for name in UPSTREAMS}
    made = []
    while (found := counted_by_next(news)) is not None:
        made.append(found[0])
        news = {name: ones[len(found[1][name]) :] for name, ones in news.items()}
    assert made == dues
