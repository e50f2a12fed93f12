"""Embeddings beside what else a workspace does: sinks, sources that are read in place, backups, moves, providers that fail."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from conftest import at
from embedding_provider import answer, item, running, said
from inside import database_of, environment_of, set_clock
from test_vectors import review, reviews_project

import tinymlops as tm
from tinymlops.features.vectors import image as images
from tinymlops.records import EmbeddingFit
from tinymlops.stores.doctor import check

TEXTS = ["red tea", "old wine", "honey bear", "mugs of tea"]


def rows(texts=TEXTS, first=0):
    return [
        {"n": n, "customer": f"c{n}", "at": at(n % 20), "text": text, "v": [1.0, float(n)]}
        for n, text in enumerate(texts, first)
    ]


def shop(model="tfidf", *, sunk=False):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="n")
    def docs() -> tm.Schema:
        return {"n": int, "customer": str, "at": datetime, "text": str, "v": pl.List(pl.Float32)}

    bio = project.embedding("bio", source=docs, text="text", model=model, dimension=4)
    near = project.embedding("near", source=docs, vector="v", dimension=2)

    @project.feature_view(entity=customer)
    def told(docs: tm.Rows) -> tm.Features:
        return {"review": docs["text"].last().embedded(bio), "place": docs["v"].last().embedded(near)}

    if sunk:
        project.sink("out", connection="out", table="told", create=True, features="told")
    return project


@pytest.fixture
def provider():
    with running() as provider:
        yield provider


def opened(tmp_path, project):
    ws = tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(50)))
    ws.apply(project)
    return ws


def test_a_sink_writes_vectors_and_those_that_waited_when_they_are_made(tmp_path, provider):
    file = tmp_path / "out.db"
    with closing(sqlite3.connect(file)) as out:
        out.execute("create table other (n)")
    (tmp_path / "tinymlops.toml").write_text(f'[connections.out]\nurl = "sqlite:///{str(file).lstrip("/")}"\n')

    def written():
        with closing(sqlite3.connect(file)) as out:
            found = out.execute("select customer, review, place from told").fetchall()
        return {customer: [json.loads(one) if one else None for one in vectors] for customer, *vectors in sorted(found)}

    def read(ws, customers):
        online = ws.get_online_features(["told"], [{"customer": one} for one in customers]).to_polars().to_dicts()
        return {one["customer"]: [one["review"], one["place"]] for one in online}

    with opened(tmp_path, shop(provider.address(), sunk=True)) as ws:
        ws.push("docs", rows())
        ws.vectors.follow()
        ws.materialize()
        ws.sinks.run()
        assert written() == read(ws, [f"c{n}" for n in range(4)])
        ws.push("docs", rows(["a zeppelin"], first=9))
        ws.sinks.run()
        assert written()["c9"] == [None, [1.0, 9.0]]
        ws.vectors.follow()
        ws.sinks.run()
        assert written() == read(ws, [*(f"c{n}" for n in range(4)), "c9"])
        assert len(written()["c9"][0]) == 4


@pytest.mark.parametrize(
    ("respond", "error", "failed"),
    [
        (lambda texts: said(429, "slow down", Retry_After="9999"), tm.UnavailableError, 0),
        (lambda _texts: answer(b"{not json"), tm.UnavailableError, 0),
        (
            lambda texts: answer([{"index": n, "embedding": [1.0] * 7} for n, _ in enumerate(texts)]),
            tm.IntegrityError,
            0,
        ),
        (lambda texts: answer([item(text, 0) for text in texts]), tm.UnavailableError, 0),
        (lambda texts: answer([item(text, n) for n, text in enumerate(texts)][:-1]), None, 1),
        (lambda texts: answer([{"index": n, "embedding": ["a"] * 4} for n, _ in enumerate(texts)]), None, 2),
    ],
)
def test_a_provider_that_fails_loses_nothing_and_is_asked_again(tmp_path, provider, respond, error, failed):
    with opened(tmp_path, shop(provider.address())) as ws:
        ws.push("docs", rows())
        ws.vectors.follow("bio")
        ws.push("docs", rows(["a zeppelin", "candles", "red tea"], first=10))
        well, provider.respond = provider.respond, respond
        if error is not None:
            with pytest.raises(error):
                ws.vectors.follow("bio")
        else:
            assert ws.vectors.follow("bio")[0].failed == failed
        found = ws.vectors.search("bio", [1.0] * 4)
        assert {one["n"] for one in found.to_dicts()} >= {0, 1, 2, 3, 12}
        assert found.waiting + len(ws.vectors.failures("bio")) + len(found) == 7
        provider.respond = well
        assert ws.vectors.rebuild("bio").failed == 0
        assert len(ws.vectors.search("bio", "tea")) == 7


def test_an_embedding_that_fails_keeps_no_other_from_its_vectors(tmp_path, provider):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def docs() -> tm.Schema:
        return {"n": int, "at": datetime, "text": str}

    project.embedding("a_down", source=docs, text="text", model=provider.address(), dimension=4)
    project.embedding("well", source=docs, text="text", model="tfidf", dimension=4)
    provider.respond = lambda _texts: answer(b"{not json")
    with opened(tmp_path, project) as ws:
        ws.push("docs", [{name: row[name] for name in ("n", "at", "text")} for row in rows()])
        with pytest.raises(tm.UnavailableError, match="something else than vectors"):
            ws.vectors.follow()
        assert len(ws.vectors.search("well", "tea")) == 4


OF_VECTORS = {
    "text": pl.Series(["a", "b"]),
    "binary": pl.Series([b"ab", b"cd"]),
    "a matrix": pl.Series([[[1.0, 2.0]], [[1.0, 2.0]]], dtype=pl.List(pl.Array(pl.Float32, 2))),
    "a struct": pl.Series([{"a": 1}, {"a": 2}]),
}
OF_TEXTS = {"numbers": pl.Series([1, 2]), "lists": pl.Series([["tea"], ["wine"]]), "missing": None}


@pytest.mark.parametrize(
    ("made_of", "kind"), [("vector", one) for one in OF_VECTORS] + [("text", one) for one in OF_TEXTS]
)
def test_a_function_whose_column_is_of_another_type_is_told_and_no_other_embedding_fails(tmp_path, made_of, kind):
    column = (OF_VECTORS | OF_TEXTS)[kind]
    frame = pl.DataFrame({"n": [0, 1], "at": [at(0), at(1)], "good": ["red tea", "old wine"]})
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def docs() -> pl.DataFrame:
        return frame if column is None else frame.with_columns(column.alias("made_of"))

    model = {} if made_of == "vector" else {"model": "tfidf"}
    project.embedding("bad", source=docs, **{made_of: "made_of"}, **model)
    project.embedding("good", source=docs, text="good", model="tfidf", dimension=4)
    said = "has no column 'made_of'" if column is None else "the column is .*, not lists|the column is .* and not text"
    with opened(tmp_path, project) as ws:
        ws.ingest()
        if made_of == "text":
            with pytest.raises(tm.DefinitionError, match=said):
                ws.vectors.follow()
        for ask in (
            lambda: ws.vectors.search("bad", "tea" if made_of == "text" else [1.0, 0.0]),
            lambda: ws.vectors.cluster("bad", 2),
            lambda: ws.vectors.neighbours("bad", pl.DataFrame({"n": [1], "timestamp": [at(40)]})),
        ):
            with pytest.raises(tm.DefinitionError, match=said):
                ask()
        ws.vectors.follow("good")
        ws.vectors.rebuild("good", purge=True)
        assert len(ws.vectors.search("good", "tea")) == 2
        assert [one.embedding for one in ws.vectors.list()] == ["bad", "good"]


def test_a_crash_while_an_image_is_removed_leaves_nothing_that_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MANY_ROWS", 0)

    def dying(path, **_):
        for file in sorted(path.iterdir())[:3] if path.exists() else ():
            file.unlink()

    with opened(tmp_path, shop()) as ws:
        ws.push("docs", rows())
        ws.vectors.follow()
        ws.push("docs", rows(["a zeppelin of tea"], first=9))
        for make in (ws.vectors.follow, lambda: ws.vectors.rebuild("bio", purge=True)):
            with monkeypatch.context() as patched:
                patched.setattr("tinymlops.stores.images.shutil.rmtree", dying)
                make()
            assert [one for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"] == []
            assert len(ws.vectors.search("bio", "tea")) == 5
        ws.push("docs", rows(["more tea"], first=20))
        ws.vectors.follow()
        left = [path.name for path in (environment_of(ws).path / "images").glob("*/*/*")]
        assert not [name for name in left if name.startswith(".")]


def test_a_source_that_was_never_ingested_keeps_no_other_embedding_from_a_purge(tmp_path):
    project = shop()

    @project.source(timestamp="at", id="n")
    def later() -> pl.DataFrame:
        return pl.DataFrame({"n": [1], "at": [at(0)], "text": ["tea"]})

    project.embedding("of_later", source=later, text="text", model="tfidf", dimension=4)
    with opened(tmp_path, project) as ws:
        ws.push("docs", rows())
        ws.vectors.follow("bio")
        set_clock(ws, tm.ReplayClock(at(60)))
        ws.push("docs", rows(["a zeppelin of tea"], first=9))
        ws.vectors.rebuild("bio", anew=True)
        ws.vectors.rebuild("bio", purge=True)
        assert len(ws.vectors.search("bio", "tea", at=at(55))) == 4


@pytest.mark.parametrize("dtype", [pl.Null, pl.Categorical, pl.Enum(["red tea", "old wine"])])
def test_columns_without_a_value_or_with_categories_are_texts(tmp_path, dtype):
    texts = [None, None] if dtype == pl.Null else ["red tea", "old wine"]
    frame = pl.DataFrame({"n": [0, 1], "at": [at(0), at(1)]}).with_columns(
        pl.Series("text", texts, dtype=dtype), pl.Series("v", [None, None])
    )
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def docs() -> pl.DataFrame:
        return frame

    project.embedding("bio", source=docs, text="text", model="tfidf", dimension=4)
    project.embedding("near", source=docs, vector="v")
    with opened(tmp_path, project) as ws:
        ws.ingest()
        ws.vectors.follow()
        for mode in ("vector", "text", "hybrid"):
            assert bool(len(ws.vectors.search("bio", "tea", mode=mode))) == (dtype != pl.Null)
        assert len(ws.vectors.search("near", [1.0, 0.0])) == 0
        assert ws.vectors.failures("near").height == 0


@pytest.mark.parametrize("many", [0, 10**9])
def test_a_backup_and_a_moved_workspace_search_alike(tmp_path, monkeypatch, many):
    monkeypatch.setattr(images, "MANY_ROWS", many)

    def answers(ws):
        asked = [
            ("bio", "tea", {}),
            ("bio", "tea", {"at": at(50)}),
            ("bio", "red tea", {"mode": "hybrid"}),
            ("near", [1, 0], {}),
        ]
        return [ws.vectors.search(name, query, **options).to_dicts() for name, query, options in asked]

    with opened(tmp_path, shop()) as ws:
        ws.push("docs", rows())
        ws.vectors.follow()
        set_clock(ws, tm.ReplayClock(at(60)))
        ws.push("docs", rows(["a zeppelin of tea"], first=9))
        ws.vectors.rebuild("bio", anew=True)
        right = answers(ws)
        kept = {file.path for file in ws.backup(tmp_path / "copy").files}
        assert not [path for path in kept if path.startswith(("images", "vectors"))]
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    shutil.move(tmp_path / "shop.tm", tmp_path / "moved.tm")
    for name in ("again.tm", "moved.tm"):
        with tm.connect(tmp_path / name, clock=tm.ReplayClock(at(60))) as ws:
            assert answers(ws) == right
            ws.vectors.rebuild("bio", purge=True)
            assert answers(ws) == right
            assert [one.detail for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"] == []


def test_a_fit_of_before_fits_were_kept_is_in_force_from_its_time(tmp_path):
    with opened(tmp_path, shop()) as ws:
        ws.push("docs", rows())
        ws.vectors.follow("bio")
        with database_of(ws).write(actor=None) as tx:
            for fit in tx.list(EmbeddingFit):
                tx.delete(EmbeddingFit, id=fit.id)
        assert ws.vectors.search("bio", "tea", at=at(50)).fitted_at == at(50)
        assert ws.vectors.search("bio", "tea", as_of=4).fitted_at == at(50)
        with pytest.raises(tm.DataError, match="no TF-IDF was fitted"):
            ws.vectors.search("bio", "tea", at=at(49))
        with pytest.raises(tm.DataError, match="no TF-IDF was fitted"):
            ws.vectors.search("bio", "tea", as_of=3)


def test_a_workspace_that_was_moved_is_told_and_no_lock_is_made_elsewhere(tmp_path):
    with opened(tmp_path, reviews_project()) as ws:
        (tmp_path / "shop.tm").rename(tmp_path / "moved.tm")
        for make in (
            lambda: ws.vectors.follow("bio"),
            lambda: ws.vectors.rebuild("near"),
            lambda: ws.vectors.rebuild("bio"),
        ):
            with pytest.raises(tm.IntegrityError, match="was moved, removed or replaced"):
                make()
        (tmp_path / "shop.tm").mkdir()  # another one
        with pytest.raises(tm.IntegrityError, match="was moved, removed or replaced"):
            ws.vectors.follow("near")
        assert list((tmp_path / "shop.tm").iterdir()) == []
        (tmp_path / "shop.tm").rmdir()
        (tmp_path / "moved.tm").rename(tmp_path / "shop.tm")
        assert ws.vectors.follow("bio")[0].embedded == 0


def test_vectors_are_pushed_as_numpy_has_them(tmp_path):
    with opened(tmp_path, reviews_project()) as ws:
        vectors = [
            np.array([1.0, 0.25]),
            np.array([0.1, 1.0], np.float32),
            np.array([1, 2], np.uint8),
            np.array([0.5, 1], np.float16),
        ]
        ws.push("reviews", [review(n, v=vector) for n, vector in enumerate(vectors)])
        stored = ws.sql("select v from reviews order by n")["v"].to_list()
        assert stored == [[float(one) for one in vector] for vector in vectors]
        same = [review(n, v=[float(one) for one in vector]) for n, vector in enumerate(vectors)]
        assert ws.push("reviews", same).rows_known == 4
        assert len(ws.vectors.search("near", np.array([1, 0], np.int8))) == 4
        for wrong in (
            np.ones((1, 2)),
            np.array(["a"]),
            np.ma.array([1.0, 2.0], mask=[0, 1]),
            np.array([True, False]),
            {1.0},
        ):
            with pytest.raises(tm.DataError, match="column 'v' of source 'reviews'"):
                ws.push("reviews", [review(9, v=wrong)])


def test_rows_of_before_a_rebuild_whose_vectors_were_purged_are_counted(tmp_path, provider):
    frame = pl.DataFrame({"n": [0, 1], "at": [at(0), at(1)], "text": ["red tea", "old wine"]})
    project = tm.Project("shop")

    @project.source(timestamp="at", id="n")
    def notes() -> pl.DataFrame:
        return frame

    project.embedding("bio", source=notes, text="text", model=provider.address())
    with opened(tmp_path, project) as ws:
        ws.ingest("notes")
        ws.vectors.follow()
        before = database_of(ws).sequence()
        frame = frame[:1]
        with pytest.warns(UserWarning, match="1 stored events are not in it"):
            ws.ingest("notes", rebuild=True, drop_missing=True)
        ws.vectors.follow()
        then = ws.vectors.search("bio", "tea", as_of=before)
        assert (len(then), then.waiting) == (2, 0)
        ws.vectors.rebuild("bio", purge=True)
        then = ws.vectors.search("bio", "tea", as_of=before)
        assert (len(then), then.waiting) == (1, 1), "it has no vector any more, and that is told"
        assert ws.vectors.search("bio", "tea").waiting == 0
