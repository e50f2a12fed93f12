"""Measured freshness: how long after their events rows become known, a declared delay below that, ages of sources."""

import warnings
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.features.history.freshness import delays_in, quantile

START = datetime(2024, 4, 1, tzinfo=UTC)


class Shop:
    """A workspace with one source, whose rows a test changes as it goes."""

    def __init__(self, path, **options):
        self.now, self.rows = START, None
        self.ws = tm.connect(path / "shop.tm", create=True, clock=lambda: self.now)
        project = tm.Project("shop")
        project.entity("customer", key="customer")

        @project.source(**{"timestamp": "at", "id": "order", **options})
        def orders() -> pl.DataFrame:
            return self.rows

        self.ws.apply(project)

    def ingest(self, now, events, **columns):
        """Ingest one row for each event time, with ids of their own."""
        self.now = now
        first = 0 if self.rows is None else self.rows.height
        ids = range(first, first + len(events))
        new = pl.DataFrame({"order": ids, "customer": [1] * len(events), "at": events, **columns})
        self.rows = new if self.rows is None else pl.concat([self.rows, new])
        return self.ws.ingest()[0]

    @property
    def status(self):
        (one,) = self.ws.status().sources
        return one


@pytest.fixture
def make(tmp_path):
    made = []

    def one(**options):
        made.append(Shop(tmp_path, **options))
        return made[-1]

    yield one
    for shop in made:
        shop.ws.close()


def hours(*numbers):
    return [START + timedelta(hours=number) for number in numbers]


def test_the_first_ingest_saysnothing_about_how_late_rows_come(make):
    shop = make()
    shop.ingest(*hours(1000), hours(*range(100)))
    assert (shop.status.delay_p50, shop.status.delay_p95) == (None, None)
    assert shop.status.newest_event == START + timedelta(hours=99)


def test_later_rows_are_measured_by_the_ingest_that_brings_them(make):
    shop = make()
    shop.ingest(*hours(1), hours(0))
    shop.ingest(*hours(30), hours(*range(5, 25)))  # 5 to 25 hours late
    assert shop.status.delay_p50 == pytest.approx(15 * 3600, rel=0.13)
    assert shop.status.delay_p95 == pytest.approx(24 * 3600, rel=0.13)
    shop.ingest(*hours(31), hours(*[30] * 1000))
    assert shop.status.delay_p95 == pytest.approx(3600, rel=0.13)


def test_a_created_time_is_measured_from_the_first_ingest_on_and_corrections_are_not(make):
    shop = make(created="known")
    events = hours(*range(40))
    shop.ingest(*hours(100), events, known=[event + timedelta(minutes=10) for event in events])
    assert shop.status.delay_p50 == pytest.approx(600, rel=0.13)
    shop.rows = shop.rows.with_columns(customer=pl.lit(2, pl.Int64), known=pl.lit(START + timedelta(days=30)))
    shop.now = START + timedelta(days=31)
    assert shop.ws.ingest()[0].rows_corrected == 40
    assert shop.status.delay_p95 == pytest.approx(600, rel=0.13)


def test_a_declared_delay_below_the_measured_one_warns_with_what_to_declare(make):
    shop = make(delay="30m")
    shop.ingest(*hours(1), hours(0))
    with pytest.warns(
        UserWarning, match="has delay='30m', and of 30 rows one in 20 was known only 1h.* count too early"
    ) as caught:
        shop.ingest(*hours(3), hours(*[2] * 30))
    assert 'Declare delay="1h' in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shop.ingest(*hours(4), [START + timedelta(hours=3.5)] * 5000)


def test_without_a_declared_delay_or_with_one_that_holdsnothing_is_said(make):
    shop = make(delay="3h")
    shop.ingest(*hours(1), hours(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shop.ingest(*hours(3), hours(*[2] * 30))


def test_status_and_readyz_tell_how_old_a_source_is(make):
    shop = make()
    with TestClient(tm.create_app(shop.ws), base_url="http://127.0.0.1") as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        shop.ingest(*hours(2), hours(0, 1))
        shop.now = START + timedelta(hours=5)
        assert client.get("/readyz").json() == {"status": "ready", "ages": {"orders": 3 * 3600.0}}
    assert "2024-04-01 01:00 UTC" in str(shop.ws.status())


@given(st.lists(st.integers(0, 10**13), min_size=20, max_size=60), st.sampled_from([0.5, 0.95]))
def test_a_quantile_is_never_too_small_and_at_most_an_eighth_too_great(delays, share):
    source = tm.Project("shop").source(timestamp="at")(nothing).spec
    rows = pl.DataFrame({"__event": [0] * len(delays), "__deleted": [False] * len(delays), "__created": delays})
    shifted = rows.with_columns(__event=-pl.col("__created"))
    bins = delays_in(source, shifted, None, datetime.fromtimestamp(0, UTC), first=False)
    exact = sorted(delays)[-(-int(share * 100) * len(delays) // 100) - 1]
    found = quantile(bins, share)
    assert exact <= found <= max(exact * 1.1226, 1000 * 1.1226) + 1 or (exact < 1000 and found == 0)


def nothing() -> pl.DataFrame:
    return pl.DataFrame()


def test_too_few_rows_have_no_quantile():
    assert quantile({"3": 19}, 0.5) is None
    assert quantile({}, 0.5) is None
