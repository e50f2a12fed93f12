"""Searches after something else changed: a function, a rebuild, a text that failed, another fit; by an image and without."""

from datetime import datetime

import polars as pl
import pytest
from conftest import at
from embedding_provider import running, said, well
from inside import set_clock

import tinymlops as tm
from tinymlops.features.vectors import image as images

ANY = [1.0, 1.0, 1.0, 1.0]


@pytest.fixture
def provider():
    with running() as provider:
        yield provider


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(50))) as ws:
        yield ws


def docs_of(project, name="docs"):
    def docs() -> tm.Schema:
        return {"n": int, "at": datetime, "text": str}

    docs.__name__ = name
    return project.source(timestamp="at", id="n")(docs)


def texts(count, first=0):
    return [{"n": n, "at": at(n), "text": f"tea t{n}"} for n in range(first, first + count)]


def found(ws, monkeypatch, query=ANY, name="bio", **options):
    """The ids that a search finds by an image, which must be those that it finds without."""
    both = []
    for many in (1, 10**9):
        monkeypatch.setattr(images, "MANY_ROWS", many)
        answer = ws.vectors.search(name, query, **options)
        both.append((sorted(answer.to_polars()["n"]), answer.waiting, answer.failed))
    assert both[0] == both[1]
    return both[0]


def told_by(provider, how):
    project = tm.Project("shop")
    docs_of(project)
    if how == "upper":

        @project.transformation(row_wise=True)
        def told(docs: pl.LazyFrame) -> pl.LazyFrame:
            return docs.with_columns(said=pl.col("text").str.to_uppercase())
    else:

        @project.transformation(row_wise=True)
        def told(docs: pl.LazyFrame) -> pl.LazyFrame:
            return docs.with_columns(said=pl.col("text") + " cup")

    project.embedding("bio", source=told, text="said", model=provider.address())
    return project


def test_texts_that_a_changed_function_makes_are_embedded(ws, provider, monkeypatch):
    ws.apply(told_by(provider, "upper"))
    ws.push("docs", texts(4))
    ws.vectors.follow()
    assert found(ws, monkeypatch) == ([0, 1, 2, 3], 0, 0)
    ws.apply(told_by(provider, "cup"))
    assert found(ws, monkeypatch) == ([], 4, 0)
    assert ws.vectors.follow()[0].embedded == 4
    assert found(ws, monkeypatch) == ([0, 1, 2, 3], 0, 0)


def test_a_failed_text_that_another_embedding_has_is_failed_until_a_rebuild(ws, provider, monkeypatch):
    project = tm.Project("shop")
    for name, source in (("bio", docs_of(project)), ("bio2", docs_of(project, "others"))):
        project.embedding(name, source=source, text="text", model=provider.address())
    ws.apply(project)
    provider.respond = lambda asked: said(400, "too long") if "tea t2" in asked else well(asked)
    ws.push("docs", texts(4))
    monkeypatch.setattr(images, "MANY_ROWS", 1)
    ws.vectors.follow()
    provider.respond = well
    ws.push("others", texts(1, first=2))
    ws.vectors.follow()
    assert found(ws, monkeypatch) == ([0, 1, 3], 0, 1)
    monkeypatch.setattr(images, "MANY_ROWS", 1)
    ws.vectors.rebuild("bio")
    assert found(ws, monkeypatch) == ([0, 1, 2, 3], 0, 0)


def test_rows_without_a_time_are_found_by_an_earlier_fit(ws, monkeypatch):
    project = tm.Project("shop")

    @project.source(id="n", static=True)
    def docs() -> tm.Schema:
        return {"n": int, "text": str}

    project.embedding("bio", source=docs, text="text", model="tfidf", dimension=4)
    ws.apply(project)
    ws.push("docs", [{"n": n, "text": f"red tea {n}"} for n in range(4)])
    ws.vectors.follow()
    set_clock(ws, tm.ReplayClock(at(80)))
    ws.vectors.rebuild("bio", anew=True)
    for moment in (at(60), at(80)):
        assert found(ws, monkeypatch, "red tea", at=moment)[0] == [0, 1, 2, 3]


def test_rows_of_before_a_recomputation_are_those_of_their_sequence(ws, provider, monkeypatch):
    frame = pl.DataFrame(texts(2))
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def docs() -> pl.DataFrame:
        return frame

    @project.transformation(timestamp="at", id="n")
    def told(docs: pl.LazyFrame) -> pl.LazyFrame:
        return docs.with_columns(k=pl.len())

    project.embedding("bio", source=told, text="text", model=provider.address())
    ws.apply(project)
    counts = {}
    for count in (2, 4):
        frame = pl.DataFrame(texts(count))
        ws.ingest()
        counts[count] = max(one.sequence for one in [ws.vectors.search("bio", "tea", mode="text")])
    provider.respond = lambda _asked: said(500, "down", **{"Retry-After": "999"})
    with pytest.raises(tm.UnavailableError):
        ws.vectors.follow()
    for sequence in (counts[4], counts[2], 1, counts[2], counts[4]):
        expected = 4 if sequence == counts[4] else 2 if sequence == counts[2] else 0
        assert len(found(ws, monkeypatch, "tea", mode="text", as_of=sequence)[0]) == expected
