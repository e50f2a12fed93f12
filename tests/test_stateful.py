"""Rows pushed, ingested, corrected and deleted in any order: offline = online = a plain reading of the rule.

The machine keeps every version of every row that was ever accepted, with its sequence, and answers from that list. After
each step the workspace must give the same answers: at the clock's time from the online store, and at any earlier time and
sequence from history. `TINYMLOPS_FUZZ=50` runs fifty times as many sequences, and longer ones.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import polars as pl
import pytest
from conftest import START, at
from fuzzing import SCALE, count_steps, scaled
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from inside import context_of
from oracle import NEVER, Row, oracle_binary, oracle_latest, oracle_window

import tinymlops as tm
from tinymlops.errors import NotFoundError
from tinymlops.features.intake.compaction import compact_where_needed

HOUR = 3_600_000_000
CUSTOMERS = ["a", "b", "c"]
WINDOW, TTL = 6, 9
VIEWS = {
    view: [f"{view}_{name}" for name in ("last", "n", "sum", "mean", "rises")]
    for view in ("clicking", "cashing", "ordering", "summing", "counting", "totalling")
}
REBUILT = ("summing", "totalling", "counting")


SOURCES = (("sums", "summing"), ("totals", "totalling"), ("counts", "counting"))
"""Transformations in the order in which they are rebuilt, and the views on them."""


class Version(NamedTuple):
    """One version of one row, as it was accepted; times in microseconds. `created` is when a correction was observed."""

    id: int
    customer: str
    event: int
    created: int | None
    n: int
    deleted: bool
    amount: float | None
    moved: bool = False
    """Takes the version before back, as it was, when the next one comes."""


class Rebuild(NamedTuple):
    """The rows of a rebuilt transformation from a sequence on; none once `gc` removed them."""

    sequence: int
    covers: int
    at: int
    rows: list | None


def micros(moment):
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


ORIGIN = micros(START)


def moment(event):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event)


def defined(frames):
    """Pushed and ingested sources; row-wise transformations in a chain; rebuilt ones over both kinds."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id")
    def clicks() -> tm.Schema:
        return {"id": int, "customer": str, "at": datetime, "amount": float}

    @project.source(timestamp="at", id="id")
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.transformation(row_wise=True)
    def cents(clicks: pl.LazyFrame) -> pl.LazyFrame:
        positive = clicks.filter((pl.col("amount") > 0) | pl.col("__deleted"))
        return positive.with_columns(cents=pl.col("amount") * 100)

    @project.transformation(row_wise=True)
    def doubled(cents: tm.Rows) -> str:
        return "select * replace (2 * cents as cents) from cents"

    @project.transformation(timestamp="at")
    def sums(orders: tm.Rows) -> str:
        return 'select customer, "at", sum(amount) as amount from orders group by all'

    @project.transformation(timestamp="at")
    def counts(doubled: tm.Rows, orders: tm.Rows) -> str:
        return """select customer, max("at") as "at", count(*)::double as amount
                  from (select customer, "at" from doubled union all select customer, "at" from orders) group by customer"""

    @project.transformation(timestamp="at", id="customer")
    def totals(orders: tm.Rows) -> str:
        return 'select customer, min("at") as "at", sum(amount) as amount from orders group by customer'

    def features(rows, name, column="amount"):
        return {
            f"{name}_last": rows[column].last(),
            f"{name}_n": rows.count(window=f"{WINDOW}h"),
            f"{name}_sum": rows[column].sum(window=f"{WINDOW}h"),
            f"{name}_mean": rows[column].sum(window=f"{WINDOW}h") / rows.count(window=f"{WINDOW}h"),
            f"{name}_rises": (rows[column].last() > 0) & (rows.count(window=f"{WINDOW}h") > 1),
        }

    @project.feature_view(entity=customer)
    def clicking(clicks: tm.Rows) -> tm.Features:
        return features(clicks, "clicking")

    @project.feature_view(entity=customer, ttl=f"{TTL}h")
    def cashing(doubled: tm.Rows) -> tm.Features:
        return features(doubled, "cashing", "cents")

    @project.feature_view(entity=customer, ttl=f"{TTL}h")
    def ordering(orders: tm.Rows) -> tm.Features:
        return features(orders, "ordering")

    @project.feature_view(entity=customer)
    def summing(sums: tm.Rows) -> tm.Features:
        return features(sums, "summing")

    @project.feature_view(entity=customer)
    def counting(counts: tm.Rows) -> tm.Features:
        return features(counts, "counting")

    @project.feature_view(entity=customer)
    def totalling(totals: tm.Rows) -> tm.Features:
        return features(totals, "totalling")

    return project


amounts = st.none() | st.integers(-3, 9).map(float)
identifiers = st.integers(0, 9)
pushed_rows = st.lists(
    st.tuples(identifiers, st.sampled_from(CUSTOMERS), st.integers(-12, 3), amounts, st.booleans()),
    min_size=1,
    max_size=4,
)


@count_steps
class Shop(RuleBasedStateMachine):
    """A workspace, and the list of everything that was sent to it."""

    @initialize()
    def begin(self):
        self.folder = self.workspaces.mktemp("stateful") / "shop.tm"
        self.clock = tm.ReplayClock(at(0))
        self.frames = {}
        self.clicks, self.orders = [], []
        self.at_source = {}
        self.rebuilds = {view: [] for view in REBUILT}
        self.sequence = 0
        self.ws = tm.connect(self.folder, create=True, clock=self.clock)
        self.ws.apply(defined(self.frames))

    def teardown(self):
        if hasattr(self, "ws"):
            self.ws.close()

    @property
    def now(self):
        return micros(self.clock())

    @rule(rows=pushed_rows)
    def push(self, rows):
        sent, fresh = [], []
        known = {version.id: version for version in self.clicks}
        for identifier, customer, hours, amount, deleted in rows:
            event, amount = self.now + hours * HOUR, None if deleted else amount
            sent.append(
                {"id": identifier, "customer": customer, "at": moment(event), "amount": amount, "deleted": deleted}
            )
            version = Version(identifier, customer, event, self.now, 0, deleted, amount)
            if identifier not in known or content(known[identifier]) != content(version):
                known[identifier] = version
                fresh.append(version)
        pushed = self.ws.push("clicks", sent)
        stored = with_moves(self.clicks, fresh, whole=True)
        self.clicks += numbered(stored, self.sequence)
        self.sequence += len(stored)
        assert (pushed.sequence, pushed.online) == (self.sequence, "current")
        assert pushed.rows_new + pushed.rows_corrected == len(fresh)

    @rule(
        changes=st.dictionaries(
            identifiers, st.none() | st.tuples(st.sampled_from(CUSTOMERS), st.integers(-12, 3), amounts), max_size=4
        )
    )
    def change_the_source(self, changes):
        for identifier, row in changes.items():
            if row is None:
                self.at_source.pop(identifier, None)
            else:
                customer, hours, amount = row
                # No two rows at the same time: a hash would decide which of them came first.
                self.at_source[identifier] = (customer, self.now + hours * HOUR + identifier, amount)

    @rule(full=st.booleans())
    def ingest(self, full):
        rows = [(i, customer, moment(event), amount) for i, (customer, event, amount) in self.at_source.items()]
        columns = {"id": pl.Int64, "customer": pl.String, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64}
        self.frames["orders"] = pl.DataFrame(rows, schema=columns, orient="row")
        reports = {report.source: report for report in self.ws.ingest(*(["orders"] if full else []), full=full)}
        # In the order of their sequence: by event and created time, what is taken back first and deletes last.
        fresh = with_moves(self.orders, self.fresh_orders(full))
        fresh.sort(key=lambda v: (v.event, NEVER if v.created is None else v.created, 0 if v.moved else 1 + v.deleted))
        self.orders += numbered(fresh, self.sequence)
        self.sequence += len(fresh)
        assert reports["orders"].sequence == self.sequence
        for source, view in SOURCES:
            if source in reports:
                self.rebuild(view)
                assert reports[source].sequence == self.sequence
            held = self.rebuilds[view][-1].rows if self.rebuilds[view] else []
            assert (totals_in(held) if view == "totalling" else held) == self.rebuilt(view)

    def fresh_orders(self, full):
        latest = {version.id: version for version in self.orders}
        fresh = []
        for identifier, (customer, event, amount) in self.at_source.items():
            observed = self.now if identifier in latest else None
            version = Version(identifier, customer, event, observed, 0, False, amount)
            if event <= self.now and (identifier not in latest or content(latest[identifier]) != content(version)):
                fresh.append(version)
        gone = [v for v in latest.values() if full and v.id not in self.at_source and not v.deleted]
        return fresh + [version._replace(deleted=True, created=self.now) for version in gone]

    def rebuild(self, view):
        rows = self.rebuilt(view)
        if view == "totalling":
            rows = self.carried(rows)
        self.sequence += max(1, len(rows))
        self.rebuilds[view].append(Rebuild(self.sequence, self.newest_input(view), self.now, rows))

    def carried(self, totals):
        """The earlier versions, then changed or removed ones: the id of a total is its customer."""
        before = self.rebuilds["totalling"][-1].rows if self.rebuilds["totalling"] else []
        latest = {version.customer: version for version in before}
        fresh = []
        for customer, event, amount in totals:
            known = latest.get(customer)
            version = Version(0, customer, event, None if known is None else self.now, 0, False, amount)
            if known is None or content(known) != content(version):
                fresh.append(version)
        here = {customer for customer, _, _ in totals}
        gone = [version for version in latest.values() if version.customer not in here and not version.deleted]
        fresh += [version._replace(deleted=True, created=self.now) for version in gone]
        return before + sorted(fresh, key=lambda v: (v.event, NEVER if v.created is None else v.created, v.deleted))

    def newest_input(self, view):
        return max((version.n for version in self.orders + (self.clicks if view == "counting" else [])), default=0)

    def rebuilt(self, view):
        """Compute a rebuilt transformation over the rows that are the facts by now, as (customer, event, amount)."""
        orders = [(v.customer, v.event, v.amount) for v in facts(self.orders)]
        if view == "totalling":
            found = {}
            for customer, event, amount in orders:
                first, total = found.get(customer, (event, None))
                total = total if amount is None else amount + (total or 0.0)
                found[customer] = (min(first, event), total)
            return sorted((customer, first, total) for customer, (first, total) in found.items())
        if view == "summing":
            return sorted(orders)  # each at an instant of its own
        clicks = [(v.customer, v.event, v.amount) for v in facts(transformed(self.clicks))]
        found = {}
        for customer, event, _ in orders + clicks:
            newest, count = found.get(customer, (NEVER, 0))
            found[customer] = (max(newest, event), count + 1)
        return sorted((customer, newest, float(count)) for customer, (newest, count) in found.items())

    @rule(hours=st.sampled_from([0.25, 1, 2, 5, 11, 30]))
    def time_passes(self, hours):
        self.clock.advance(timedelta(hours=hours))

    @rule(view=st.none() | st.sampled_from(sorted(VIEWS)))
    @precondition(lambda self: self.rebuilds["counting"])
    def materialize(self, view):
        self.ws.materialize(*([] if view is None else [view]))
        for one in REBUILT if view is None else {view} & set(REBUILT):
            if self.newest_input(one) > self.rebuilds[one][-1].covers:
                self.rebuild(one)

    @rule(everything=st.booleans())
    def compact(self, everything):
        self.ws.compact() if everything else compact_where_needed(context_of(self.ws))

    @rule()
    def collect_garbage(self):
        self.ws.gc(grace="1us")
        for rebuilds in self.rebuilds.values():
            for i, after in enumerate(rebuilds[1:]):
                if after.at < self.now:
                    rebuilds[i] = rebuilds[i]._replace(rows=None)

    @rule()
    def repair(self):
        self.ws.repair()

    @rule()
    def reopen(self):
        self.ws.close()
        self.ws = tm.connect(self.folder, clock=self.clock)
        self.ws.apply(defined(self.frames))

    @rule(hours=st.lists(st.integers(-40, 4), min_size=1, max_size=3), cut=st.floats(0, 1))
    @precondition(lambda self: self.rebuilds["counting"])
    def look_back(self, hours, cut):
        sequence = round(self.sequence * cut)
        times = [self.now + hour * HOUR for hour in hours]
        for view in VIEWS:
            self.check_history(view, times, sequence)

    @invariant()
    def offline_and_online_are_what_the_rule_says(self):
        if not hasattr(self, "ws") or not self.rebuilds["counting"]:
            return
        online = self.ws.get_online_features(list(VIEWS), {"customer": CUSTOMERS})
        assert micros(online.timestamp) == self.now
        assert online.rebuilt == {
            view: (rebuilds[-1].covers, timedelta(microseconds=self.now - rebuilds[-1].at))
            for view, rebuilds in self.rebuilds.items()
        }
        answered = online.to_polars()
        for view, names in VIEWS.items():
            expected = [self.answer(view, customer, self.now, self.sequence) for customer in CUSTOMERS]
            assert answered.select(names).rows() == expected, view
            self.check_history(view, [self.now], self.sequence)

    @rule(view=st.sampled_from(sorted(VIEWS)))
    @precondition(lambda self: self.rebuilds["counting"])
    def read_online(self, view):
        online = self.ws.get_online_features([view], {"customer": CUSTOMERS})
        expected = [self.answer(view, customer, self.now, online.sequence) for customer in CUSTOMERS]
        assert online.to_polars().select(VIEWS[view]).rows() == expected

    def check_history(self, view, times, sequence):
        pairs = [(customer, time) for time in times for customer in CUSTOMERS]
        spine = pl.DataFrame(
            {"customer": [customer for customer, _ in pairs], "timestamp": [moment(time) for _, time in pairs]}
        )
        if self.is_gone(view, sequence):
            with pytest.raises(NotFoundError, match="no longer kept"):
                self.ws.get_historical_features(spine, [view], as_of=sequence)
            return
        read = self.ws.get_historical_features(spine, [view], as_of=sequence).select(VIEWS[view]).rows()
        assert read == [self.answer(view, customer, time, sequence) for customer, time in pairs], view

    def is_gone(self, view, sequence):
        stood = [one for one in self.rebuilds.get(view, []) if one.sequence <= sequence]
        return bool(stood) and stood[-1].rows is None

    def answer(self, view, customer, time, sequence):
        rows = self.rows_of(view, sequence)
        ttl = TTL * HOUR if view in ("cashing", "ordering") else None
        newest = oracle_latest(rows, customer, time, strict=False, ttl=ttl)
        ones = [Row(r.key, r.id, r.e, r.available, r.c, r.n, r.deleted, 1) for r in rows]
        last = None if newest is None or newest.deleted else newest.value
        count = oracle_window("count", ones, customer, time, WINDOW * HOUR)
        total = float(oracle_window("sum", rows, customer, time, WINDOW * HOUR))
        rises = oracle_binary("&", None if last is None else last > 0, count > 1)
        return last, count, total, total / count if count else None, rises

    def rows_of(self, view, sequence):
        if view in REBUILT:
            stood = [one for one in self.rebuilds[view] if one.sequence <= sequence]
            rows = stood[-1].rows if stood else []
            if view == "totalling":
                return [row_of(version._replace(id=version.customer, n=n)) for n, version in enumerate(rows)]
            return [Row(customer, None, e, e, NEVER, i, False, amount) for i, (customer, e, amount) in enumerate(rows)]
        versions = {"clicking": self.clicks, "cashing": transformed(self.clicks), "ordering": self.orders}[view]
        return [row_of(version) for version in versions if version.n <= sequence]


def row_of(version):
    """A version as the oracle reads it: known from its event on, or from when it was observed."""
    created = NEVER if version.created is None else version.created
    available = max(version.event, created)
    return Row(
        version.customer, version.id, version.event, available, created, version.n, version.deleted, version.amount
    )


def totals_in(versions):
    """The facts among the versions of totals, as (customer, event, amount)."""
    final = {version.customer: version for version in versions}
    return sorted((v.customer, v.event, v.amount) for v in final.values() if not v.deleted)


def with_moves(known, fresh, *, whole=False):
    """The new versions, each after the one before it taken back if its key changed, or if `whole` whatever changed."""
    latest = {version.id: version for version in known}
    stored = []
    for version in fresh:
        before = latest.get(version.id)
        ends = before is not None and not before.deleted
        if ends and (whole or before.customer != version.customer):
            stored.append(before._replace(event=version.event, created=version.created, deleted=True, moved=True))
        latest[version.id] = version
        stored.append(version)
    return stored


def numbered(versions, sequence):
    return [version._replace(n=n) for n, version in enumerate(versions, start=sequence + 1)]


def content(version):
    return version.customer, version.event, version.deleted, version.amount


def transformed(versions):
    """Return the result of the chain of row-wise transformations for pushed rows."""
    return [
        version._replace(amount=None if version.amount is None else 2 * (version.amount * 100))
        for version in versions
        if version.deleted or (version.amount is not None and version.amount > 0)
    ]


def facts(versions):
    """The final version of each event, without what was deleted."""
    order = sorted(versions, key=lambda v: (NEVER if v.created is None else v.created, v.n))
    final = {version.id: version for version in order}
    return [version for version in final.values() if not version.deleted]


@pytest.fixture(autouse=True)
def _workspaces(tmp_path_factory):
    Shop.workspaces = tmp_path_factory


TestShop = Shop.TestCase
TestShop.settings = settings(
    max_examples=scaled(6),
    stateful_step_count=50 if SCALE else 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
