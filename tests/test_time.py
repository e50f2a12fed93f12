"""Durations, zones and clocks."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.errors import DataError, DefinitionError, near
from tinymlops.times import (
    ReplayClock,
    format_duration,
    from_micros,
    parse_duration,
    parse_instant,
    parse_zone,
    to_micros,
)


@given(st.integers(1, 2**61))
def test_a_duration_reads_back_as_it_was_written(micros):
    assert parse_duration(format_duration(micros), name="window") == micros


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_hold_every_moment_exactly(moment):
    assert from_micros(to_micros(moment)) == moment


@pytest.mark.parametrize("value", ["", "7", "d", "-7d", "1 d", "1month", "0d", timedelta(0), timedelta(-1)])
def test_what_is_no_positive_duration_is_refused_by_name(value):
    with pytest.raises(DefinitionError, match="ttl="):
        parse_duration(value, name="ttl")


def test_a_time_without_a_zone_is_refused_with_the_fix():
    with pytest.raises(DataError, match="has no time zone") as caught:
        parse_instant("2013-10-01", name="test_from")
    assert "offset" in caught.value.hint
    zone = parse_zone("America/New_York")
    assert parse_instant("2013-10-01", name="x", zone=zone) == datetime(2013, 10, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_moment_that_is_of_no_year_in_utc_is_refused(text):
    with pytest.raises(DataError, match="outside the years 1 to 9999"):
        parse_instant(text, name="since")


@pytest.mark.parametrize("far", [np.datetime64(2**62, "D"), np.datetime64(30_000, "Y"), np.datetime64(-(2**50), "s")])
def test_a_numpy_time_too_far_away_is_refused_and_does_not_wrap(far):
    with pytest.raises(DataError, match="since="):
        parse_instant(far, name="since", zone=parse_zone("UTC"))


def test_an_unknown_zone_is_refused():
    with pytest.raises(DefinitionError, match="no time zone"):
        parse_zone("America/New_Yrok")


def test_a_replay_clock_only_goes_forward():
    clock = ReplayClock("2013-10-01T00:00:00Z")
    clock.advance("6h")
    assert clock() == datetime(2013, 10, 1, 6, tzinfo=UTC)
    with pytest.raises(DataError, match="cannot go back"):
        clock.move_to("2013-09-01T00:00:00Z")


def test_a_mistyped_name_gets_its_near_match():
    assert near("wheather", ["weather", "planes"]) == "did you mean 'weather'?"
    assert near("x", ["weather", "planes"]) == "known names: planes, weather"
