"""When a job is due, compared with a search of every minute."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinymlops.errors import DefinitionError
from tinymlops.schedules import decide, due_times, last_due, schedule_of

MINUTE = timedelta(minutes=1)
ZONES = ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Beirut", "UTC"]
CHANGES = {
    "Europe/Vienna": [(2024, 3, 31), (2024, 10, 27)],
    "America/New_York": [(2024, 3, 10), (2024, 11, 3)],
    "Australia/Lord_Howe": [(2024, 4, 7), (2024, 10, 6)],
    "America/Santiago": [(2024, 4, 7), (2024, 9, 8)],
    "Asia/Beirut": [(2024, 3, 31), (2024, 10, 27)],
    "UTC": [(2024, 3, 31), (2024, 10, 27)],
}


def wall_of(moment, zone):
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def searched(minutes, hours, zone, start, stop):
    """Every due time of fixed minutes and hours, by looking at each minute of real and of local time."""
    real, first = {}, start - timedelta(days=2)
    for n in range(int((stop - first) / MINUTE) + 1):
        real.setdefault(wall_of(first + n * MINUTE, zone), first + n * MINUTE)  # the first of two
    walls = sorted(real)
    found, wall = set(), walls[0]
    while wall <= walls[-1]:
        if wall.minute in minutes and wall.hour in hours:
            later = wall
            while later not in real and later <= walls[-1]:
                later += MINUTE
            if later in real:
                found.add(real[later])
        wall += MINUTE
    return sorted(one for one in found if start < one <= stop)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(zone, day) for zone in ZONES for day in CHANGES[zone]]),
    st.sets(st.integers(0, 59), min_size=1, max_size=3),
    st.sets(st.integers(0, 4) | st.just(23), min_size=1, max_size=3),
    st.integers(-1500, 1500),
)
@example(
    ("Europe/Vienna", (2024, 10, 27)), {30}, {2}, 75
)  # the second 02:15, where cronsim would say 02:30 of the past
@example(("Europe/Vienna", (2024, 3, 31)), {0}, {2, 3}, 0)  # 02:00 is moved onto 03:00
@example(("America/Santiago", (2024, 9, 8)), {0}, {0}, -300)  # there is no midnight
def test_a_fixed_time_of_the_day_is_due_once_each_night(place, minutes, hours, offset):
    name, day = place
    start = datetime(*day, tzinfo=UTC) + offset * MINUTE
    stop = start + timedelta(days=3)
    line = f"{','.join(map(str, sorted(minutes)))} {','.join(map(str, sorted(hours)))} * * *"
    assert list(due_times(schedule_of(None, line, name), start, stop)) == searched(
        minutes, hours, ZoneInfo(name), start, stop
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(zone, day) for zone in ZONES for day in CHANGES[zone]]),
    st.sets(st.integers(0, 59), min_size=1, max_size=4),
    st.integers(-1500, 1500),
)
def test_a_line_for_every_hour_follows_real_time(place, minutes, offset):
    name, day = place
    start, zone = datetime(*day, tzinfo=UTC) + offset * MINUTE, ZoneInfo(name)
    stop = start + timedelta(days=2)
    steps = [start + n * MINUTE for n in range(1, 2 * 24 * 60 + 1)]
    line = f"{','.join(map(str, sorted(minutes)))} * * * *"
    found = list(due_times(schedule_of(None, line, name), start, stop))
    assert found == [one for one in steps if one.astimezone(zone).minute in minutes]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from(["30 2 * * *", "0 0 * * *", "*/20 * * * *", "15 1-3 * * 0"]), st.data())
def test_due_times_are_the_same_wherever_one_begins(name, line, data):
    schedule = schedule_of(None, line, name)
    start, stop = datetime(2024, 10, 1, tzinfo=UTC), datetime(2024, 11, 10, tzinfo=UTC)
    whole = list(due_times(schedule, start, stop))
    between = start + data.draw(st.integers(0, 40 * 24 * 60)) * MINUTE
    assert list(due_times(schedule, between, stop)) == [due for due in whole if due > between]
    assert whole == sorted(set(whole))


def test_half_past_two_is_due_once_in_october_and_moved_in_march():
    night = schedule_of(None, "30 2 * * *", "Europe/Vienna")
    october = list(due_times(night, datetime(2024, 10, 26, 12, tzinfo=UTC), datetime(2024, 10, 28, tzinfo=UTC)))
    assert october == [datetime(2024, 10, 27, 0, 30, tzinfo=UTC)]
    march = list(due_times(night, datetime(2024, 3, 30, 12, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC)))
    assert march == [datetime(2024, 3, 31, 1, 0, tzinfo=UTC)]


@given(st.integers(1, 10**6), st.integers(-(10**9), 10**9))
def test_multiples_of_a_duration_are_those_of_counting(seconds, after):
    begin = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=after)
    due = next(due_times(schedule_of(f"{seconds}s", None, "UTC"), begin))
    distance = int((due - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    assert distance % seconds == 0
    assert timedelta(0) < due - begin <= timedelta(seconds=seconds)


def test_due_times_end_with_the_calendar():
    late = datetime(9999, 12, 31, 22, tzinfo=UTC)
    assert len(list(due_times(schedule_of("1h", None, "UTC"), late))) == 1
    assert len(list(islice(due_times(schedule_of(None, "0 * * * *", "UTC"), late), 5))) <= 1


HOURLY = schedule_of("1h", None, "UTC")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PROMPT = timedelta(minutes=10)


def decided(missed, after, now):
    return [(one.due, one.runs, one.count) for one in decide(HOURLY, after, now, missed=missed, prompt=PROMPT)]


def test_of_what_was_missed_all_are_run_or_the_last_or_none():
    after, now = NOON - 24 * HOUR, NOON + MINUTE
    assert decided("all", after, now) == [(NOON - n * HOUR, True, 1) for n in range(23, -1, -1)]
    assert decided("coalesce", after, now) == [(NOON, True, 24)]
    assert decided("skip", after, now) == [(NOON - HOUR, False, 23), (NOON, True, 1)]
    assert decided("skip", after, now + 30 * MINUTE) == [(NOON, False, 24)]
    assert decide(HOURLY, after, now, missed="coalesce", prompt=PROMPT)[0].first == NOON - 23 * HOUR


@pytest.mark.parametrize("missed", ["all", "coalesce", "skip"])
def test_nothing_is_decided_where_nothing_is_due_or_the_clock_was_set_back(missed):
    assert decided(missed, NOON, NOON + 59 * MINUTE) == []
    assert decided(missed, NOON, NOON - 5 * HOUR) == []


@given(st.lists(st.integers(-90, 400), max_size=12), st.sampled_from(["all", "coalesce", "skip"]))
def test_each_due_time_is_decided_once_however_the_clock_moves(moves, missed):
    now = after = NOON
    decisions = []
    for minutes in moves:
        now += minutes * MINUTE
        decisions += decide(HOURLY, after, now, missed=missed, prompt=PROMPT)
        after = max(after, now)
    covered = [one.first + n * HOUR for one in decisions for n in range(one.count)]
    assert covered == list(due_times(HOURLY, NOON, after))
    assert [one.due for one in decisions] == sorted({one.due for one in decisions})


@pytest.mark.parametrize(
    ("every", "cron", "zone"),
    [
        (None, None, "UTC"),
        ("1h", "* * * * *", "UTC"),
        ("0s", None, "UTC"),
        ("1us", None, "UTC"),
        ("soon", None, "UTC"),
        (None, "", "UTC"),
        (None, "* * * *", "UTC"),
        (None, "* * * * * *", "UTC"),
        (None, "61 * * * *", "UTC"),
        (None, "0 0 30 2 *", "UTC"),
        (None, "é * * * *", "UTC"),
        (None, "0 0 * * *", "Europe/Wien"),
    ],
)
def test_what_is_no_schedule_is_refused(every, cron, zone):
    with pytest.raises(DefinitionError) as told:
        schedule_of(every, cron, zone)
    assert told.value.hint


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(ZONES),
    st.sampled_from(
        [("30 2 * * *", 9), ("0 0 * * *", 9), ("*/20 * * * *", 2), ("15 1-3 * * 0", 9), ("5 4 1 */3 *", 100)]
    ),
    st.datetimes(datetime(2024, 3, 1), datetime(2024, 11, 30), timezones=st.just(UTC)),
)
@example("Europe/Vienna", ("30 2 * * *", 9), datetime(2024, 10, 27, 1, 30, tzinfo=UTC))
@example("UTC", ("0 0 29 2 *", 1500), datetime(2024, 5, 1, tzinfo=UTC))
def test_the_last_due_time_is_the_last_of_all(name, case, at):
    line, days = case
    schedule = schedule_of(None, line, name)
    assert last_due(schedule, at) == list(due_times(schedule, at - timedelta(days=days), at))[-1]


@given(st.integers(1, 10**7), st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_the_last_multiple_is_not_after_and_the_next_one_is(seconds, at):
    schedule = schedule_of(f"{seconds}s", None, "UTC")
    last = last_due(schedule, at)
    assert last <= at
    assert next(due_times(schedule, last), None) in (None, last + timedelta(seconds=seconds))
    assert at - last < timedelta(seconds=seconds)


def test_what_was_not_due_since_1970_has_no_last_time():
    leap = schedule_of(None, "0 0 29 2 *", "UTC")
    assert last_due(leap, datetime(1972, 2, 28, tzinfo=UTC)) is None
    assert last_due(leap, datetime(1972, 2, 29, tzinfo=UTC)) == datetime(1972, 2, 29, tzinfo=UTC)
    assert last_due(leap, datetime(1960, 1, 1, tzinfo=UTC)) is None
