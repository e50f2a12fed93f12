"""TF-IDF knows words, and so it is read as of a time: a search of the past is by the fit that was in force then."""

import polars as pl
import pytest
from conftest import at
from inside import context_of, database_of, environment_of, set_clock
from test_vectors import holds, keys, review, reviews_project

import tinymlops as tm
from tinymlops.embedders import open_embedder
from tinymlops.features.vectors import fits
from tinymlops.features.vectors import image as images
from tinymlops.records import EmbeddingFit, EmbeddingState, VectorFile

EARLY = ["red wine", "red wine and cheese", "a brown bear", "mugs of tea", "a bear drinks tea"]
LATER = ["zeppelin over the sea", "zeppelin and wine", "a new zeppelin", "cheese from the sea"]


def noted(ws, texts, *, first, hours):
    ws.push("reviews", [review(n, text) | {"at": at(hours)} for n, text in enumerate(texts, first)])


@pytest.fixture
def ws(tmp_path):
    """A workspace with fits at hours 10 and 30, and rows before and after both."""
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(8))) as ws:
        ws.apply(reviews_project())
        noted(ws, EARLY, first=0, hours=5)
        set_clock(ws, tm.ReplayClock(at(10)))
        ws.vectors.follow("bio")
        set_clock(ws, tm.ReplayClock(at(30)))
        noted(ws, LATER, first=10, hours=20)
        ws.vectors.rebuild("bio", anew=True)
        set_clock(ws, tm.ReplayClock(at(40)))
        yield ws


def fitted(ws):
    return [one.fitted_at for one in database_of(ws).list(EmbeddingFit)]


def by_hand(ws, fit, text, query):
    """The score of a text by one fit."""
    model = open_embedder("tfidf", base=context_of(ws).root, state=environment_of(ws).blobs.read(fit.fitted))
    one, other = (answer.vector for answer in model.embed([text, query]))
    return float(one @ other)


def test_a_search_of_the_past_is_by_the_fit_in_force_then(ws):
    early, late = database_of(ws).list(EmbeddingFit)
    assert (early.fitted_at, early.sequence) == (at(10), 5)
    assert (late.fitted_at, late.sequence) == (at(30), 9)
    assert ws.sql("select fitted_at from embedding_fits order by id")["fitted_at"].to_list() == [at(10), at(30)]
    for hours, fit in ((15, early), (29, early), (30, late), (40, late), (None, late)):
        found = ws.vectors.search("bio", "wine tea zeppelin", at=None if hours is None else at(hours))
        assert found.fitted_at == fit.fitted_at
        for one in found.to_dicts():
            assert one["score"] == pytest.approx(by_hand(ws, fit, one["text"], "wine tea zeppelin"), abs=1e-6)


def test_a_word_of_later_changes_no_score_of_the_past(tmp_path):
    """The same past, with another future: the answer of the past is the same."""
    answers = []
    for name, future in (("one", LATER), ("other", ["tea tea", "wine", "a red red bear"])):
        with tm.connect(tmp_path / name, create=True, clock=tm.ReplayClock(at(10))) as ws:
            ws.apply(reviews_project())
            noted(ws, EARLY, first=0, hours=5)
            ws.vectors.follow("bio")
            set_clock(ws, tm.ReplayClock(at(30)))
            noted(ws, future, first=10, hours=20)
            ws.vectors.rebuild("bio", anew=True)
            asked = [
                ws.vectors.search("bio", "wine tea zeppelin", at=at(12), mode=mode) for mode in ("vector", "hybrid")
            ]
            pairs = ws.vectors.duplicates("bio", at=at(12), threshold=0.1)
            answers.append([one.to_dicts() for one in (*asked, pairs)])
    assert answers[0] == answers[1]
    assert all(answers[0])


def test_fits_of_the_same_texts_are_one_model_of_two_times(ws):
    ws.vectors.rebuild("bio", anew=True)
    assert ws.vectors.search("bio", "wine").fitted_at == at(40)
    assert ws.vectors.search("bio", "wine", at=at(35)).fitted_at == at(30)


def test_a_fit_that_read_rows_after_q_is_not_known(ws):
    assert ws.vectors.search("bio", "wine", as_of=9).fitted_at == at(30)
    assert ws.vectors.search("bio", "wine", as_of=8).fitted_at == at(10)
    assert keys(ws.vectors.search("bio", "zeppelin", as_of=7)) == keys(ws.vectors.search("bio", "zeppelin", as_of=7))
    with pytest.raises(tm.DataError, match="no TF-IDF was fitted on rows up to Q=4 alone"):
        ws.vectors.search("bio", "wine", as_of=4)


@pytest.mark.parametrize("verb", ["search", "duplicates", "cluster", "neighbours"])
def test_before_the_first_fit_nothing_is_compared_and_the_way_out_is_told(ws, verb):
    with pytest.raises(tm.DataError, match="was fitted by 2024-01-01T09:59") as refused:
        ask(ws, verb, at(10 - 1 / 60))
    assert "fitted_at=" in refused.value.hint
    assert len(ask(ws, verb, at(10)))


def ask(ws, verb, moment):
    if verb == "search":
        return ws.vectors.search("bio", "wine", at=moment)
    if verb == "duplicates":
        return ws.vectors.duplicates("bio", at=moment, threshold=0.01)
    if verb == "cluster":
        return ws.vectors.cluster("bio", 2, at=moment)
    spine = pl.DataFrame({"n": [1, 0], "timestamp": [at(40), moment]})
    return ws.vectors.neighbours("bio", spine)


def test_words_are_searched_before_the_first_fit(ws):
    found = ws.vectors.search("bio", "wine", mode="text", at=at(9))
    assert (keys(found), found.fitted_at) == ([0, 1], None)
    with pytest.raises(tm.DataError, match="was fitted by"):
        ws.vectors.search("bio", "wine", mode="hybrid", at=at(9))


def test_neighbours_are_by_the_fit_of_each_rows_time(ws):
    moments = [35, 12, 35, 20, 12]
    spine = pl.DataFrame({"n": [0, 1, 10, 1, 3], "timestamp": [at(hours) for hours in moments]})
    found = ws.vectors.neighbours("bio", spine, k=3)
    for row, (n, hours) in enumerate(zip(spine["n"], moments, strict=True)):
        text = (EARLY + [""] * 5 + LATER)[n]
        near = ws.vectors.search("bio", text, at=at(hours), k=9).to_polars()
        near = near.filter(pl.col("n") != n).head(3).select("n", "score").rows()
        assert found.filter(row=row).select("n", "score").rows() == near
    by_text = ws.vectors.neighbours("bio", spine.with_columns(q=pl.lit("wine tea")), of="q", k=2)
    assert (
        by_text.filter(row=1)["score"].to_list()
        == [one["score"] for one in ws.vectors.search("bio", "wine tea", at=at(12), k=9).to_dicts() if one["n"] != 1][
            :2
        ]
    )


def test_rows_that_came_after_a_fit_was_replaced_are_found_by_it(ws, monkeypatch):
    noted(ws, ["tea of late"], first=90, hours=8)  # pushed now, so it is not known before now
    assert 90 not in keys(ws.vectors.search("bio", "tea", at=at(15)))
    early = database_of(ws).list(EmbeddingFit)[0]
    for file in database_of(ws).list(VectorFile):
        if file.model == early.model:
            with database_of(ws).write(actor=None) as tx:
                tx.delete(VectorFile, id=file.id)
    right = ws.vectors.search("bio", "tea", at=at(15)).to_dicts()
    assert len(right) == 5
    assert ws.vectors.search("bio", "tea", at=at(15)).waiting == 0
    monkeypatch.setattr(fits, "MOST_MADE", 4)
    with pytest.raises(tm.DataError, match="6 texts have no vector by the TF-IDF") as refused:
        ws.vectors.search("bio", "tea", at=at(15))
    assert "ws.vectors.rebuild('bio')" in refused.value.hint
    ws.vectors.rebuild("bio")
    assert ws.vectors.search("bio", "tea", at=at(15)).to_dicts() == right


def test_an_image_of_now_is_neither_used_nor_replaced_by_a_search_of_then(ws, monkeypatch):
    plain = {hours: ws.vectors.search("bio", "wine sea", at=at(hours)).to_dicts() for hours in (20, 40)}
    monkeypatch.setattr(images, "MANY_ROWS", 0)
    ws.vectors.follow("bio")
    folder = environment_of(ws).path / "images" / "reviews"
    made = sorted(folder.rglob("*-*"))
    assert made
    for hours, right in plain.items():
        assert ws.vectors.search("bio", "wine sea", at=at(hours)).to_dicts() == right
    assert sorted(folder.rglob("*-*")) == made


def test_fitted_at_is_one_fit_for_all_times(ws):
    ws.apply(reviews_project(fitted_at=at(25)))
    ws.vectors.follow("bio")
    for moment in (at(2), at(12), at(40), None):
        assert ws.vectors.search("bio", "wine", at=moment).fitted_at == at(25)
    assert len(fitted(ws)) == 2, "no other fit of it is ever asked for"


def test_fits_of_another_definition_are_not_those_of_this_one(ws):
    ws.apply(reviews_project(dimension=4))
    ws.vectors.follow("bio")
    with pytest.raises(tm.DataError, match="was fitted by"):
        ws.vectors.search("bio", "wine", at=at(20))
    ws.vectors.rebuild("bio", purge=True)
    assert fitted(ws) == [at(40)]


def test_a_clock_that_is_set_back_still_searches_now(ws):
    set_clock(ws, tm.ReplayClock(at(29)))
    assert ws.vectors.search("bio", "wine").fitted_at == at(30)
    assert ws.vectors.search("bio", "wine", at=at(29)).fitted_at == at(10)


def test_a_purge_keeps_earlier_fits_and_one_with_anew_forgets_them(ws, tmp_path):
    early, late = database_of(ws).list(EmbeddingFit)
    right = ws.vectors.search("bio", "wine", at=at(20)).to_dicts()
    ws.vectors.rebuild("bio", purge=True)
    ws.gc(grace="1ms")
    assert ws.vectors.search("bio", "wine", at=at(20)).to_dicts() == right
    assert {one.model for one in database_of(ws).list(VectorFile)} == {early.model, late.model}
    ws.backup(tmp_path / "copy")
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    with tm.connect(tmp_path / "again.tm", clock=tm.ReplayClock(at(40))) as again:
        assert again.vectors.search("bio", "wine", at=at(20)).to_dicts() == right
    state = environment_of(ws).blobs.read(early.fitted)
    noted(ws, ["another word"], first=50, hours=35)
    ws.vectors.rebuild("bio", purge=True, anew=True)
    assert fitted(ws) == [at(40)]
    assert not holds(ws, state[:200])
    (now,) = database_of(ws).list(EmbeddingState)
    assert {one.model for one in database_of(ws).list(VectorFile)} == {now.model}
    with pytest.raises(tm.DataError, match="was fitted by"):
        ws.vectors.search("bio", "wine", at=at(20))
