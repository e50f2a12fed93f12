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
