"""Reads, releases and drops in any order, beside the same told in plain Python: no row counts twice, and none is lost."""

import tempfile
import warnings
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from conftest import at
from hypothesis import given, settings
from hypothesis import strategies as st

import tinymlops as tm

BATCH = st.dictionaries(st.integers(0, 3), st.integers(-2, 2), max_size=4)
"""Order to amount; an amount below zero does not pass."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), BATCH),
        st.tuples(st.just("release"), st.tuples(st.integers(0, 5), st.sets(st.integers(0, 3), min_size=1))),
        st.tuples(st.just("drop"), st.tuples(st.integers(0, 5), st.sets(st.integers(0, 3), min_size=1))),
    ),
    min_size=1,
    max_size=7,
)


class Told:
    """What should be stored."""

    def __init__(self):
        self.history, self.waiting, self.changed = {}, [], {}
        self.released, self.dropped = set(), set()
        self.batches = 0

    def come(self, batch):
        bad = []
        self.batches += 1
        for row in batch.items():
            order, amount = row
            waits = any(row in kept.values() for _, kept in self.waiting) or row in self.dropped
            if self.history.get(order) == amount or waits:
                continue
            if amount >= 0 or row in self.released:
                self.store(row)
            else:
                bad.append(row)
        self.waiting += [(self.batches, dict(enumerate(bad)))] if bad else []

    def store(self, row):
        order, amount = row
        if self.history.get(order) != amount:
            self.history[order], self.changed[order] = amount, self.batches

    def chosen(self, place, numbers):
        """Numbers of rows that are there, of those that were asked for; all where none is."""
        kept = self.waiting[place][1]
        return sorted(numbers & kept.keys()) or sorted(kept)

    def is_newer(self, place, numbers):
        """Whether a row would take the place of a version that came with it or since."""
        batch, kept = self.waiting[place]
        rows = [kept[number] for number in numbers]
        return any(self.history.get(o, a) != a and self.changed[o] >= batch for o, a in rows)

    def release(self, place, numbers):
        rows = self._taken(place, numbers)
        self.batches += 1
        for row in rows:
            self.store(row)
        self.released.update(rows)

    def drop(self, place, numbers):
        self.dropped.update(self._taken(place, numbers))

    def _taken(self, place, numbers):
        kept = self.waiting[place][1]
        rows = [kept.pop(number) for number in numbers]
        if not kept:
            self.waiting.pop(place)
        return rows


def ingested(batch):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        schema = {"order": pl.Int64, "amount": pl.Int64, "at": pl.Datetime("us", "UTC")}
        return pl.DataFrame(
            [(order, amount, at(order)) for order, amount in batch.items()], schema=schema, orient="row"
        )

    project.check(orders, tm.between("amount", 0), action="quarantine")
    return project


def pushed():
    project = tm.Project("shop")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "amount": int, "at": datetime}

    project.check(orders, tm.between("amount", 0), action="quarantine")
    return project


@pytest.mark.parametrize("via", ["ingest", "push"])
@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_a_story_ends_as_it_is_told(via, steps):
    told, batch = Told(), {}
    project = pushed() if via == "push" else ingested(batch)
    with (
        warnings.catch_warnings(action="ignore"),
        tempfile.TemporaryDirectory() as folder,
        tm.connect(Path(folder) / "shop.tm", create=True) as ws,
    ):
        ws.apply(project)
        for step, given_ in steps:
            if step == "come":
                told.come(given_)
                batch.clear()
                batch.update(given_)
                if via == "push":
                    ws.push("orders", [{"order": o, "amount": a, "at": at(o)} for o, a in given_.items()])
                else:
                    ws.ingest()
            elif told.waiting:
                place = given_[0] % len(told.waiting)
                chosen, kept = told.chosen(place, given_[1]), ws.checks.quarantined()[place]
                if step == "release" and told.is_newer(place, chosen):
                    with pytest.raises(tm.ConflictError, match="would take the place"):
                        ws.checks.release(kept.id, rows=chosen)
                    ws.checks.release(kept.id, rows=chosen, replace_newer=True)
                else:
                    getattr(ws.checks, step)(kept.id, rows=chosen)
                getattr(told, step)(place, chosen)
            assert [one.rows for one in ws.checks.quarantined()] == [len(kept) for _, kept in told.waiting]
        if via == "push" or any(step == "come" for step, _ in steps):
            found = ws.sql('select "order", amount from orders order by 1').rows()
            assert found == sorted(told.history.items())
