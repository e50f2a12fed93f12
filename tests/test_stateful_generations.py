"""A source whose rows and whose timestamp change in any order, with clocks set back: offline = online = a list of versions.

The machine keeps every version that the source was ever read in, by generation, and answers from these lists.
`TINYMLOPS_FUZZ=50` runs fifty times as many sequences, and longer ones.
"""

import warnings
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl
import pytest
from conftest import START
from fuzzing import SCALE, count_steps, scaled
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tinymlops as tm
from tinymlops.errors import NotFoundError

HOUR = 3_600_000_000
SITES, CUSTOMERS = [1, 2], ["a", "b"]
KEYS = [(site, customer) for site in SITES for customer in CUSTOMERS]
WINDOW = 30 * HOUR
FIRST = -(2**63)


class Version(NamedTuple):
    """One version of one event; times in microseconds. `created` is when a change was observed."""

    id: int | None
    key: tuple
    at: int
    paid: int
    amount: float | None
    created: int | None = None
    deleted: bool = False
    n: int = 0
    moved: bool = False


class Generation(NamedTuple):
    """Versions that are dated alike."""

    dated_by: str
    begins: int
    versions: list


def micros(moment):
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def moment(event):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event)


def defined(frames, timestamp):
    project = tm.Project("shop")
    customer = project.entity("customer", key=["site", "customer"])

    @project.source(timestamp=timestamp, id="id", keys={"customer": "buyer"})
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.transformation(row_wise=True, keys={"customer": "buyer"})
    def doubled(orders: tm.Rows) -> str:
        return "select * replace (2 * amount as amount) from orders"

    def features(rows):
        return {"last": rows["amount"].last(), "n": rows.count(window="30h"), "sum": rows["amount"].sum(window="30h")}

    @project.feature_view(entity=customer)
    def ordering(orders: tm.Rows) -> tm.Features:
        return features(orders)

    @project.feature_view(entity=customer)
    def doubling(doubled: tm.Rows) -> tm.Features:
        return {f"twice_{name}": feature for name, feature in features(doubled).items()}

    return project


rows = st.tuples(
    st.sampled_from(KEYS), st.integers(-40, 4), st.integers(-40, 4), st.none() | st.integers(-3, 9).map(float)
)


@count_steps
class Shop(RuleBasedStateMachine):
    """A workspace, and the list of all versions of its orders."""

    @initialize()
    def begin(self):
        warnings.simplefilter("ignore")
        self.folder = self.workspaces.mktemp("generations") / "shop.tm"
        self.now = self.greatest = micros(START)
        self.frames, self.at_source, self.sequence = {}, {}, 0
        self.generations, self.gone = [Generation("at", 0, [])], set()
        self.ws = tm.connect(self.folder, create=True, clock=lambda: moment(self.now))
        self.ws.apply(defined(self.frames, "at"))

    def teardown(self):
        if hasattr(self, "ws"):
            self.ws.close()

    @property
    def live(self):
        return self.generations[-1]

    @rule(changes=st.dictionaries(st.integers(0, 5), st.none() | rows, max_size=4))
    def change_the_source(self, changes):
        for identifier, row in changes.items():
            if row is None:
                self.at_source.pop(identifier, None)
            else:
                key, at, paid, amount = row
                # No two rows at the same time: a hash would decide which of them came first.
                times = (self.now + hours * HOUR + identifier for hours in (at, paid))
                self.at_source[identifier] = Version(identifier, key, *times, amount)

    def read(self):
        columns = {"id": pl.Int64, "site": pl.Int64, "buyer": pl.String, "amount": pl.Float64}
        columns |= dict.fromkeys(("at", "paid"), pl.Datetime("us", "UTC"))
        found = [(v.id, *v.key, v.amount, moment(v.at), moment(v.paid)) for v in self.at_source.values()]
        self.frames["orders"] = pl.DataFrame(found, schema=columns, orient="row")

    @rule(full=st.booleans())
    def ingest(self, full):
        self.read()
        (report,) = self.ws.ingest("orders", full=full)
        fresh = self.in_order(self.fresh(self.live.versions, full=full))
        self.store(self.live, fresh)
        assert report.sequence == self.sequence, (report, fresh)
        assert report.rows_corrected + report.rows_new + report.rows_deleted == sum(not v.moved for v in fresh)

    @rule(timestamp=st.sampled_from(["at", "paid"]), drop=st.booleans())
    @precondition(lambda self: self.live.versions)
    def rebuild(self, timestamp, drop):
        self.read()
        self.ws.apply(defined(self.frames, timestamp))
        self.ws.ingest("orders", rebuild=True, drop_missing=drop)
        begun = Generation(timestamp, self.sequence, [])
        known = self.live.versions
        self.generations.append(begun)
        carried = [v for v in known if not drop or v.id in self.at_source]
        self.store(begun, carried + self.in_order(self.fresh(carried)))
        if self.sequence == begun.begins:
            self.sequence += 1  # no two stand at one
        self.generations[-1] = begun._replace(begins=self.sequence)

    def fresh(self, known, *, full=False):
        latest, greatest = {}, {}
        for v in known:
            latest[v.id] = v
            greatest[v.id] = max(greatest.get(v.id, FIRST), FIRST if v.created is None else v.created)
        found = []
        for v in self.available().values():
            before = latest.get(v.id)
            if before is None:
                found.append(v)
            elif before[:5] != v[:5] or before.deleted:
                created = max(self.now, greatest[v.id])
                if not before.deleted:  # a row-wise transformation may leave the new version out
                    dated = {self.dated_by: getattr(v, self.dated_by)}
                    found.append(before._replace(deleted=True, created=created, moved=True, **dated))
                found.append(v._replace(created=created))
        gone = [v for v in latest.values() if full and v.id not in self.at_source and not v.deleted]
        return found + [v._replace(deleted=True, created=max(self.now, greatest[v.id])) for v in gone]

    def available(self):
        """The rows at the source that are not held back."""
        return {v.id: v for v in self.at_source.values() if getattr(v, self.dated_by) <= self.now}

    @property
    def dated_by(self):
        return self.live.dated_by

    def in_order(self, fresh):
        def order(v):
            return getattr(v, self.dated_by), FIRST if v.created is None else v.created, 0 if v.moved else 1 + v.deleted

        return sorted(fresh, key=order)

    def store(self, generation, versions):
        for v in versions:
            self.sequence += 1
            generation.versions.append(v._replace(n=self.sequence, moved=False))

    @rule(hours=st.sampled_from([0.25, 1, 5, 11, 30]))
    def time_passes(self, hours):
        self.now += int(hours * HOUR)
        self.greatest = max(self.greatest, self.now)

    @rule(hours=st.sampled_from([0.5, 7]))
    @precondition(lambda self: self.greatest - self.now < 14 * HOUR)
    def clock_is_set_back(self, hours):
        self.now -= int(hours * HOUR)

    @rule()
    @precondition(lambda self: self.live.versions)
    def materialize(self):
        self.ws.materialize()

    @rule()
    def compact(self):
        self.ws.compact()

    @rule()
    def collect_garbage(self):
        self.now += 1  # a generation that ended at this time has ended before it
        self.ws.gc(grace="1us")
        if self.now > self.greatest:
            self.gone |= set(range(len(self.generations) - 1))

    @rule()
    def repair(self):
        self.ws.repair()

    @rule()
    def reopen(self):
        self.ws.close()
        self.ws = tm.connect(self.folder, clock=lambda: moment(self.now))
        self.ws.apply(defined(self.frames, self.dated_by))

    @rule(hours=st.lists(st.integers(-60, 6), min_size=1, max_size=3), cut=st.floats(0, 1))
    @precondition(lambda self: self.live.versions)
    def look_back(self, hours, cut):
        sequence = round(self.sequence * cut)
        self.check_history([self.now + hour * HOUR for hour in hours], sequence)

    @invariant()
    def offline_and_online_are_what_the_rule_says(self):
        if not hasattr(self, "ws") or not self.live.versions:
            return
        asked = {"site": [site for site, _ in KEYS], "customer": [customer for _, customer in KEYS]}
        online = self.ws.get_online_features(["ordering", "doubling"], asked).to_polars()
        expected = [self.answer(self.live.versions, key, self.now) for key in KEYS]
        assert online.select("last", "n", "sum", "twice_last", "twice_n", "twice_sum").rows() == expected
        self.check_history([self.now], self.sequence)
        current = {row[0]: row[1:] for row in self.ws.sql("select id, site, buyer, amount from orders").rows()}
        latest = {v.id: v for v in self.live.versions}
        assert current == {v.id: (*v.key, v.amount) for v in latest.values() if not v.deleted}

    def check_history(self, times, sequence):
        pairs = [(key, time) for time in times for key in KEYS]
        columns = {"site": [k[0] for k, _ in pairs], "customer": [k[1] for k, _ in pairs]}
        spine = pl.DataFrame({**columns, "timestamp": [moment(time) for _, time in pairs]})
        stood = [i for i, one in enumerate(self.generations) if one.begins <= sequence]
        alike = [i for i in stood if self.generations[i].dated_by == self.dated_by]
        chosen = (alike or stood)[-1]
        if chosen in self.gone:
            with pytest.raises(NotFoundError, match="no longer kept"):
                self.ws.get_historical_features(spine, ["ordering"], as_of=sequence)
            return
        versions = [v for v in self.generations[chosen].versions if v.n <= sequence]
        dated_by = self.generations[chosen].dated_by
        read = self.ws.get_historical_features(spine, ["ordering", "doubling"], as_of=sequence)
        read = read.select("last", "n", "sum", "twice_last", "twice_n", "twice_sum").rows()
        assert read == [self.answer(versions, key, time, dated_by) for key, time in pairs]

    def answer(self, versions, key, time, dated_by=None):
        event = lambda v: getattr(v, dated_by or self.dated_by)  # noqa: E731
        created = lambda v: FIRST if v.created is None else v.created  # noqa: E731

        def visible(*, strict):
            def by(moment):
                return moment < time if strict else moment <= time

            ours = [v for v in versions if v.key == key]
            return [
                v
                for v in ours
                if by(max(event(v), created(v)))
                and not v.deleted
                and not any(
                    o.id == v.id
                    and (created(o), o.n) > (created(v), v.n)
                    and by(created(o) if o.created is not None else event(o))
                    for o in ours
                )
            ]

        newest = max(visible(strict=False), key=lambda v: (event(v), created(v), v.n), default=None)
        last = None if newest is None else newest.amount
        seen = [v for v in visible(strict=True) if time - WINDOW <= event(v) < time]
        total = sum((v.amount for v in seen if v.amount is not None), 0.0)
        return last, len(seen), total, None if last is None else 2 * last, len(seen), 2 * total


@pytest.fixture(autouse=True)
def _workspaces(tmp_path_factory):
    Shop.workspaces = tmp_path_factory


TestShop = Shop.TestCase
TestShop.settings = settings(
    max_examples=scaled(5),
    stateful_step_count=50 if SCALE else 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
