"""Neighbours of the rows of a spine: what a search at each row's time finds, without the row's own key."""

from datetime import datetime

import polars as pl
import pytest
from conftest import at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import set_clock

import tinymlops as tm
from tinymlops.features.vectors import compared as module

NAMES = "abcde"


def defined():
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id")
    def clicks() -> tm.Schema:
        return {"id": int, "customer": str, "at": datetime, "n": int, "text": str, "v": pl.List(pl.Float64)}

    @project.feature_view(entity=customer)
    def last(clicks: tm.Rows) -> tm.Features:
        return {"n": clicks["n"].last(), "own": clicks["v"].last().embedded("cosine")}

    for metric in ("cosine", "dot", "l2"):
        project.embedding(metric, source=clicks, entity=customer, vector="v", dimension=2, metric=metric)
    project.embedding("each", source=clicks, vector="v", dimension=2)
    project.embedding("texts", source=clicks, entity=customer, text="text", model="tfidf", dimension=3)
    return project


def spine_of(asked, key="customer"):
    frame = pl.DataFrame(asked, schema={key: pl.String, "hours": pl.Int64, "query": pl.List(pl.Float64)}, orient="row")
    times = pl.Series("timestamp", [at(hours) for hours in frame["hours"]], pl.Datetime("us", "UTC"))
    return frame.with_columns(times).drop("hours")


def click(id_, name, hours, *, v=None, text=None, n=None, **more):
    return {"id": id_, "customer": name, "at": at(hours), "n": n, "text": text, "v": v, **more}


numbers = st.integers(-2, 2).map(float)
vectors = st.none() | st.lists(numbers, min_size=2, max_size=2)
row = st.tuples(st.integers(0, 6), st.sampled_from(NAMES), st.integers(-5, 2), vectors, st.booleans())
batches = st.lists(st.lists(row, min_size=2, max_size=6), min_size=1, max_size=4)
asked = st.lists(st.tuples(st.sampled_from([*NAMES, "zz", None]), st.integers(-7, 9), vectors), min_size=1, max_size=8)


@examples(8, heavy=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    batches=batches,
    asked=asked,
    k=st.integers(1, 6),
    metric=st.sampled_from(["cosine", "dot", "l2"]),
    of=st.sampled_from([None, "query"]),
)
def test_neighbours_are_those_of_a_search_at_each_time(tmp_path_factory, batches, asked, k, metric, of):
    folder = tmp_path_factory.mktemp("near") / "shop.tm"
    with tm.connect(folder, create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined())
        for place, batch in enumerate(batches):
            set_clock(ws, tm.ReplayClock(at(2 * place)))
            sent = [click(id_, name, 2 * place + hours, v=v, deleted=deleted) for id_, name, hours, v, deleted in batch]
            ws.push("clicks", sent)
        spine = spine_of(asked)
        found = ws.vectors.neighbours(metric, spine, k=k, of=of)
        assert found.columns == ["row", "customer", "timestamp", "score"]
        own = ws.get_historical_features(spine, ["last:own"])["own"].to_list()
        expected = []
        for number, (name, hours, query) in enumerate(asked):
            query = own[number] if of is None else query
            if query is None:
                continue
            near = [
                one
                for one in ws.vectors.search(metric, query, k=100, at=at(hours)).to_dicts()
                if one["customer"] != name
            ]
            expected += [(number, one["customer"], at(hours), one["score"]) for one in near[:k]]
        assert found.rows() == expected


def test_features_of_neighbours_are_those_known_at_the_rows_time(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined())
        for hour in range(3):
            set_clock(ws, tm.ReplayClock(at(hour)))
            rows = [("a", [1.0, 0.0]), ("b", [1.0, 0.1]), ("c", [0.0, 1.0]), ("d", None)]
            ws.push(
                "clicks",
                [click(place, name, hour, n=10 * hour + place, v=v) for place, (name, v) in enumerate(rows)],
            )
        spine = spine_of([("a", 0, None), ("a", 1, None), ("d", 1, None), ("b", 2, None)])
        near = ws.vectors.neighbours("cosine", spine, k=2)
        assert near["customer"].to_list() == ["b", "c", "b", "c", "a", "c"]
        known = ws.get_historical_features(near, ["last:n"])
        assert known["n"].to_list() == [1, 2, 11, 12, 20, 22]
        counted = known.group_by("row", maintain_order=True).agg(pl.col("n").mean(), pl.len())
        assert counted.rows() == [(0, 1.5, 2), (1, 11.5, 2), (3, 21.0, 2)]  # the row without a vector has none


def test_texts_of_the_spine_have_neighbours(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined())
        spine = spine_of([("a", 0, None)]).with_columns(text=pl.lit("red tea"))
        with pytest.raises(tm.DataError, match="has no vectors yet"):
            ws.vectors.neighbours("texts", spine, of="text")
        texts = ["red tea", "blue tea", "green candles"]
        ws.push("clicks", [click(n, NAMES[n], 0, text=text) for n, text in enumerate(texts)])
        ws.vectors.follow()
        assert ws.vectors.neighbours("texts", spine, k=1, of="text")["customer"].to_list() == ["b"]
        without = spine.drop("customer")  # nobody is left out
        assert ws.vectors.neighbours("texts", without, k=1, of="text")["customer"].to_list() == ["a"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k=0 is not a number of neighbours"),
        ({"k": 10**6}, "k=1000000 is not"),
        ({"of": "nothing"}, "no column 'nothing'"),
        ({"of": "customer"}, "has vectors of its own"),
        ({"timestamp": "when"}, "no time column 'when'"),
    ],
)
def test_what_cannot_be_asked_is_refused(tmp_path, options, said):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined())
        with pytest.raises(tm.DataError, match=said):
            ws.vectors.neighbours("cosine", spine_of([("a", 0, None)]), **options)


def test_more_than_can_be_waited_for_is_refused_with_an_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PRODUCTS", 10)
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined())
        ws.push("clicks", [click(n, NAMES[n], 0, v=[1.0, n]) for n in range(5)])
        with pytest.raises(tm.DataError, match="3 rows by 5 vectors of 2 numbers would take about") as caught:
            ws.vectors.neighbours("cosine", spine_of([(name, 0, None) for name in "abc"]))
        assert "ask for 1 rows at a time" in caught.value.hint
