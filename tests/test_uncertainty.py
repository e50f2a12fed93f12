"""Intervals, paired tests and the luck of the best: against published values and by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymlops.training.uncertainty import (
    expected_maximum,
    luck_of_best,
    mean_of,
    paired_bootstrap,
    paired_t,
    pooled_sd,
)

SLEEP = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
"""Hours of sleep gained: the data of Student (1908)."""


def test_the_interval_of_students_own_data():
    found = mean_of(SLEEP)
    assert (found.n, found.left_out) == (10, 0)
    assert found.mean == pytest.approx(1.58)
    assert found.sd == pytest.approx(1.2300, abs=1e-4)
    # R: t.test(extra ~ group, paired = TRUE): t = 4.0621, df = 9, p = 0.002833, interval 0.7001142 to 2.4598858.
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_the_paired_test_of_students_own_data():
    found = paired_t(SLEEP)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert found.differs is True
    assert paired_t([-one for one in SLEEP]).p == pytest.approx(found.p)


def test_overlapping_folds_widen_the_interval():
    plain, corrected = paired_t(SLEEP), paired_t(SLEEP, overlap=1 / 9)
    ratio = (corrected.high - corrected.mean) / (plain.high - plain.mean)
    assert ratio == pytest.approx(math.sqrt((1 / 10 + 1 / 9) * 10))
    assert corrected.p > plain.p


def test_the_interval_holds_the_true_mean_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for values in random.normal(3.0, 2.0, (2_000, 4)):
        found = mean_of(values.tolist())
        held += found.low <= 3.0 <= found.high
    assert 0.94 < held / 2_000 < 0.96


@pytest.mark.parametrize(
    ("values", "n", "mean", "left_out"),
    [
        ([], 0, None, 0),
        ([None], 0, None, 0),
        ([math.nan], 0, None, 1),
        ([0.5, None], 1, 0.5, 0),
        ([math.inf, 1], 2, math.inf, 0),
    ],
)
def test_where_there_is_no_interval_none_is_given(values, n, mean, left_out):
    found = mean_of(values)
    assert (found.n, found.mean, found.left_out) == (n, mean, left_out)
    assert (found.sd, found.low, found.high) == (None, None, None)


def test_values_that_are_not_numbers_are_left_out_and_counted():
    found = mean_of([1.0, math.nan, 3.0, None])
    assert (found.n, found.mean, found.left_out) == (2, 2.0, 1)


def test_a_test_of_one_pair_or_of_no_difference_says_so():
    assert paired_t([0.5]).p is None
    assert paired_t([0.5]).differs is None
    assert paired_t([0.0, 0.0]).p == 1.0
    assert paired_t([0.0, 0.0]).differs is False
    assert paired_t([0.25, 0.25]).p == 0.0
    assert paired_t([math.inf, 1.0]).p is None
    assert paired_t([]).mean is None
    assert paired_bootstrap([0.5]).p is None


# Harter, Expected values of normal order statistics, Biometrika 48 (1961); for 2 and 3 they are 1/sqrt(pi), 3/(2 sqrt(pi)).
@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, 0.0), (2, 0.56419), (3, 0.84628), (5, 1.16296), (10, 1.53875), (20, 1.86748), (50, 2.24907), (100, 2.50759)],
)
def test_the_expected_greatest_of_normal_values(n, expected):
    assert expected_maximum(n) == pytest.approx(expected, abs=1e-5)


def test_the_expected_greatest_of_very_many_is_that_of_draws():
    random = np.random.default_rng(1)
    drawn = np.mean([random.standard_normal(20_000).max() for _ in range(300)])
    assert expected_maximum(20_000) == pytest.approx(drawn, abs=0.06)


def test_the_bootstrap_agrees_with_the_normal_interval_on_many_rows():
    differences = np.random.default_rng(2).normal(0.1, 1.0, 2_000)
    found, normal = paired_bootstrap(differences), paired_t(differences.tolist())
    assert found.mean == pytest.approx(normal.mean)
    assert (found.low, found.high) == pytest.approx((normal.low, normal.high), abs=0.005)
    assert found.p == pytest.approx(normal.p, abs=0.01)
    assert found == paired_bootstrap(differences)
    assert found != paired_bootstrap(differences, seed=1)


def test_the_bootstrap_finds_nothing_where_there_is_nothing():
    random = np.random.default_rng(3)
    found = [
        paired_bootstrap(random.exponential(1.0, 100) - random.exponential(1.0, 100), draws=400) for _ in range(200)
    ]
    assert sum(one.differs for one in found) <= 20  # 5 % of 200 are 10
    assert sum(one.p < 0.05 for one in found) <= 20


def test_the_bootstrap_of_many_rows_is_drawn_in_parts():
    found = paired_bootstrap(np.full(50_000, 0.5), draws=100)
    assert (found.low, found.high) == (0.5, 0.5)


def test_the_best_of_many_equal_ones_leads_by_luck():
    """Of many equal configurations the best seems better by about the expected luck, and its lead is within it."""
    random = np.random.default_rng(4)
    rounds = [luck_of_best(random.normal(0.8, 0.02, 40).tolist(), 0.02, goal="max") for _ in range(300)]
    assert np.mean([one.best - 0.8 for one in rounds]) == pytest.approx(rounds[0].expected, rel=0.05)
    assert np.mean([one.within_noise for one in rounds]) > 0.99


def test_the_luck_of_the_best_goes_by_the_goal():
    found = luck_of_best([0.3, 0.1, 0.2], 0.001, goal="min")
    assert (found.best, found.runner_up, found.lead) == (0.1, 0.2, pytest.approx(0.1))
    assert found.within_noise is False
    assert luck_of_best([0.3], 0.1, goal="max").within_noise is None
    assert luck_of_best([0.3, 0.2], None, goal="max").within_noise is None


@given(st.lists(st.lists(st.floats(-1e6, 1e6), max_size=5), max_size=5))
def test_the_pooled_deviation_is_that_of_the_centred_values(groups):
    centred = [value - np.mean(one) for one in groups if len(one) > 1 for value in one]
    freedom = sum(len(one) - 1 for one in groups if len(one) > 1)
    found = pooled_sd(groups)
    if freedom:
        assert found == pytest.approx(math.sqrt(np.sum(np.square(centred)) / freedom), rel=1e-9, abs=1e-9)
    else:
        assert found is None
