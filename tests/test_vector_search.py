"""Search by vectors: as of any moment, as a plain reading of the rule finds it, with images and without."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
import vector_oracle
from conftest import at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import clock_of, context_of, set_clock

import tinymlops as tm
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.intake.compaction import compact
from tinymlops.features.vectors import generation
from tinymlops.features.vectors import image as images
from tinymlops.stores import lance_index

VECTOR = pl.List(pl.Float64)


def defined(frames):
    """Embeddings of pushed rows with ids and without, of ids themselves, of ingested rows and of a row-wise transformation."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id")
    def clicks() -> tm.Schema:
        return {"id": int, "customer": str, "at": datetime, "country": str, "v": VECTOR}

    @project.source(timestamp="at")
    def visits() -> tm.Schema:
        return {"customer": str, "at": datetime, "country": str, "v": VECTOR}

    @project.source(timestamp="at", id="id")
    def orders() -> pl.DataFrame:
        return frames["orders"]

    @project.transformation(row_wise=True)
    def shouted(clicks: pl.LazyFrame) -> pl.LazyFrame:
        return clicks.with_columns(pl.col("country").str.to_uppercase())

    project.embedding("clicked", source=clicks, entity=customer, vector="v", dimension=2)
    project.embedding("each", source=clicks, vector="v", dimension=2, metric="l2")
    project.embedding("visited", source=visits, entity=customer, vector="v", dimension=2, metric="dot")
    project.embedding("ordered", source=orders, entity=customer, vector="v", dimension=2, metric="dot")
    project.embedding("shouting", source=shouted, entity=customer, vector="v", dimension=2)
    return project


FACTS = {
    "clicked": {"source": "clicks", "key": "customer", "ids": "id", "metric": "cosine"},
    "each": {"source": "clicks", "key": "id", "ids": "id", "metric": "l2"},
    "visited": {"source": "visits", "key": "customer", "metric": "dot"},
    "ordered": {"source": "orders", "key": "customer", "ids": "id", "metric": "dot", "observed": True},
    "shouting": {"source": "clicks", "key": "customer", "ids": "id", "metric": "cosine"},
}

numbers = st.integers(-2, 2).map(float)
two = st.lists(numbers, min_size=2, max_size=2)
vectors = st.one_of(two, two, two, st.none(), st.lists(numbers, min_size=1, max_size=3))
countries = st.none() | st.sampled_from(["AT", "DE"])
row = st.tuples(st.integers(0, 5), st.sampled_from("ab"), st.integers(-6, 2), countries, vectors, st.booleans())
rows = st.lists(row, min_size=2, max_size=6)
sent = st.tuples(st.sampled_from(["clicks", "clicks", "visits", "orders"]), rows)
compacted = st.tuples(st.just("compact"), st.sampled_from(["clicks", "visits"]))
everything = st.tuples(*(st.tuples(st.just(name), rows) for name in ("clicks", "visits", "orders"))).map(list)
before = st.builds(list.__add__, everything, st.lists(st.one_of(sent, compacted), max_size=2))
after = everything | st.lists(st.one_of(sent, sent, compacted), min_size=1, max_size=3)
"""What comes before the images are made, and after."""
question = st.tuples(
    st.sampled_from(list(FACTS)),
    st.tuples(numbers, numbers),
    st.integers(1, 4),
    st.sampled_from([None] * 6 + [-4, -1, 0, 1, 2, 4, 6, 8, 10, 12]),
    st.sampled_from([None] * 4 + [0.0, 0.3, 0.6, 0.8, 0.9]),
    st.sampled_from([None, None, None, "AT", "at"]),
    st.sampled_from([True, True, False]),
)


def orders_of(sent):
    columns = {"id": pl.Int64, "customer": pl.String, "at": pl.Datetime("us", "UTC"), "country": pl.String, "v": VECTOR}
    return pl.DataFrame(sent, schema=columns, orient="row")


modes = Counter()

PATIENT = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@examples(12, heavy=False, suppress_health_check=PATIENT)
@given(before=before, after=after, asked=st.lists(question, min_size=12, max_size=12))
def test_a_search_finds_what_a_plain_reading_of_the_rule_finds(tmp_path_factory, before, after, asked):
    compare(tmp_path_factory.mktemp("vectors") / "shop.tm", before, after, asked, indexed=False)


@examples(4, heavy=False, suppress_health_check=PATIENT)
@given(before=before, after=after, asked=st.lists(question, min_size=24, max_size=24))
def test_so_does_a_search_by_an_index_that_reads_all_its_parts(tmp_path_factory, before, after, asked):
    lance_index.load()
    compare(tmp_path_factory.mktemp("vectors") / "shop.tm", before, after, asked, indexed=True)


def compare(folder, before, after, asked, *, indexed):
    frames = {"orders": orders_of([])}
    with tm.connect(folder, create=True, clock=tm.ReplayClock(at(0))) as ws, pytest.MonkeyPatch.context() as patched:
        if indexed:
            for name in ("MANY_SPANS", "FEW_KNOWN", "LEAST_RECALL"):
                patched.setattr(generation, name, 0)
            patched.setattr(generation, "_ENOUGH", 0)  # it has all candidates, and later rows leave few
        ws.apply(defined(frames))
        ws.ingest()
        at_source = {}
        for hour, (what, given_) in enumerate([*before, ("index" if indexed else "look", None), *after]):
            set_clock(ws, tm.ReplayClock(at(2 * hour)))
            patched.setattr(images, "MANY_ROWS", 0)
            patched.setattr(images, "MANY_LATE_ROWS", 10**9)
            take_step(ws, frames, at_source, what, given_, 2 * hour)
        history = {name: versions(ws, name) for name in ("clicks", "visits", "orders")}
        newest = context_of(ws).environment.database.sequence()
        for embedding, query, k, hours, share, country, with_image in asked:
            patched.setattr(images, "MANY_ROWS", 0 if with_image else 10**9)
            as_of = None if share is None else round(share * newest)
            check(ws, history, embedding, query, k=k, hours=hours, as_of=as_of, newest=newest, country=country)


def take_step(ws, frames, at_source, what, given_, now):
    if what == "compact":
        compact(context_of(ws), [given_])
    elif what == "look":
        for embedding in FACTS:
            ws.vectors.search(embedding, [1, 0])
    elif what == "index":
        ws.vectors.follow()
    elif what == "orders":
        for id_, customer, hours, country, vector, deleted in given_:
            at_source.pop(id_, None)
            if not deleted:
                at_source[id_] = (id_, customer, at(now + hours) + timedelta(minutes=id_), country, vector)
        frames["orders"] = orders_of(list(at_source.values()))
        ws.ingest("orders", full=True)
    else:
        sent = []
        for id_, customer, hours, country, vector, deleted in given_:
            one = {"customer": customer, "at": at(now + hours), "country": country, "v": vector, "deleted": deleted}
            sent.append(one | ({"id": id_} if what == "clicks" else {}))
        ws.push(what, sent)


def versions(ws, source):
    return stored_rows(context_of(ws), source).to_dicts()


def check(ws, history, embedding, query, *, k, hours, as_of, newest, country):
    facts = dict(FACTS[embedding])
    moment = at(hours) if hours is not None else clock_of(ws)()
    t = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    shouts = embedding == "shouting"

    def where(row):
        value = row["country"] if row["country"] is None or not shouts else row["country"].upper()
        return value == country

    source = facts.pop("source")
    expected = vector_oracle.nearest(
        history[source],
        query,
        vector="v",
        k=k,
        t=t,
        sequence=newest if as_of is None else as_of,
        where=where if country is not None else None,
        **facts,
    )
    found = ws.vectors.search(
        embedding,
        query,
        k=k,
        at=moment if hours is not None else None,
        as_of=as_of,
        where=None if country is None else tm.col("country") == country,
    )
    assert found.to_polars().select("score", facts["key"]).rows() == expected
    modes[found.mode] += 1
    assert found.sequence == (newest if as_of is None else as_of)
    assert all(row["at"] <= moment for row in found.to_dicts())


def test_the_searches_above_were_of_both_kinds():
    if not modes:
        pytest.skip("they did not run in this process")
    assert modes["exact"] > 20
    assert modes["index"] > 2
