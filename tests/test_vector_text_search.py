"""Search by words, and by words and vectors together: as of any moment, as a plain reading of the rule finds it."""

import unicodedata
from datetime import UTC, datetime, timedelta

import bm25_oracle
import polars as pl
import pytest
from conftest import at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import clock_of, context_of, database_of, environment_of, set_clock

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.intake.compaction import compact
from tinymlops.features.vectors import bm25
from tinymlops.features.vectors import image as images
from tinymlops.features.vectors.words import words_of, words_to_find
from tinymlops.records import EmbeddingFit


def defined(frames):
    """Texts of pushed rows with ids and without, of ids themselves, and of ingested rows."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id")
    def clicks() -> tm.Schema:
        return {"id": int, "customer": str, "at": datetime, "country": str, "text": str}

    @project.source(timestamp="at")
    def visits() -> tm.Schema:
        return {"customer": str, "at": datetime, "country": str, "text": str}

    @project.source(timestamp="at", id="id")
    def orders() -> pl.DataFrame:
        return frames["orders"]

    project.embedding("clicked", source=clicks, entity=customer, text="text", model="tfidf")
    project.embedding("each", source=clicks, text="text", model="tfidf")
    project.embedding("visited", source=visits, entity=customer, text="text", model="tfidf")
    project.embedding("ordered", source=orders, entity=customer, text="text", model="tfidf")
    return project


FACTS = {
    "clicked": ("clicks", {"key": "customer", "ids": "id"}),
    "each": ("clicks", {"key": "id", "ids": "id"}),
    "visited": ("visits", {"key": "customer"}),
    "ordered": ("orders", {"key": "customer", "ids": "id", "observed": True}),
}
WORDS = ["Red", "red", "wine", "wine,", "old", "-", "Old."]
texts = st.none() | st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
countries = st.none() | st.sampled_from(["AT", "DE"])
row = st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.integers(-6, 2), countries, texts, st.booleans())
rows = st.lists(row, min_size=2, max_size=6)
sent = st.tuples(st.sampled_from(["clicks", "clicks", "visits", "orders"]), rows)
other = st.tuples(st.just("compact"), st.sampled_from(["clicks", "visits"])) | st.just(("follow", None))
everything = st.tuples(*(st.tuples(st.just(name), rows) for name in ("clicks", "visits", "orders"))).map(list)
before = st.builds(list.__add__, everything, st.lists(sent | other, max_size=2))
after = everything | st.lists(sent | sent | other, min_size=1, max_size=3)
question = st.tuples(
    st.sampled_from(list(FACTS)),
    st.lists(st.sampled_from(["red", "WINE", "old", "new"]), min_size=1, max_size=3).map(" ".join),
    st.integers(1, 4),
    st.sampled_from([None] * 6 + [-4, -1, 0, 1, 2, 4, 6, 8, 10, 12]),
    st.sampled_from([None] * 4 + [0.0, 0.3, 0.6, 0.8, 0.9]),
    st.sampled_from([None, None, None, "AT"]),
    st.sampled_from([True, True, False]),
    st.sampled_from(["text", "text", "hybrid"]),
)
COLUMNS = {
    "id": pl.Int64,
    "customer": pl.String,
    "at": pl.Datetime("us", "UTC"),
    "country": pl.String,
    "text": pl.String,
}


def orders_of(rows):
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


@examples(6, heavy=False, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(before=before, after=after, asked=st.lists(question, min_size=12, max_size=12))
def test_words_are_found_and_scored_as_a_plain_reading_of_the_rule_does(tmp_path_factory, before, after, asked):
    frames = {"orders": orders_of([])}
    folder = tmp_path_factory.mktemp("words") / "shop.tm"
    with tm.connect(folder, create=True, clock=tm.ReplayClock(at(0))) as ws, pytest.MonkeyPatch.context() as patched:
        ws.apply(defined(frames))
        ws.ingest()
        at_source = {}
        for source in ("clicks", "visits", "orders"):  # TF-IDF is fitted on a word at least
            take_step(ws, frames, at_source, source, [(9, "z", -6, "AT", "red wine", False)], 0)
        patched.setattr(images, "MANY_LATE_ROWS", 10**9)
        patched.setattr(images, "MANY_ROWS", 0)
        for hour, (what, given_) in enumerate([*before, ("follow", None), *after]):
            set_clock(ws, tm.ReplayClock(at(2 * hour)))
            take_step(ws, frames, at_source, what, given_, 2 * hour)
        history = {name: stored_rows(context_of(ws), name).to_dicts() for name in ("clicks", "visits", "orders")}
        for embedding, query, k, hours, share, country, with_image, mode in asked:
            patched.setattr(images, "MANY_ROWS", 0 if with_image else 10**9)
            check(ws, history, embedding, query, k=k, hours=hours, share=share, country=country, mode=mode)


def take_step(ws, frames, at_source, what, given_, now):
    if what == "compact":
        compact(context_of(ws), [given_])
    elif what == "follow":
        ws.vectors.follow()
        for embedding in FACTS:
            ws.vectors.search(embedding, "red", mode="text")  # makes the index
    elif what == "orders":
        for id_, customer, hours, country, text, deleted in given_:
            at_source.pop(id_, None)
            if not deleted:
                at_source[id_] = (id_, customer, at(now + hours) + timedelta(minutes=id_), country, text)
        frames["orders"] = orders_of(list(at_source.values()))
        ws.ingest("orders", full=True)
    else:
        ws.push(
            what,
            [
                {"customer": customer, "at": at(now + hours), "country": country, "text": text, "deleted": deleted}
                | ({"id": id_} if what == "clicks" else {})
                for id_, customer, hours, country, text, deleted in given_
            ],
        )


def check(ws, history, embedding, query, *, k, hours, share, country, mode):
    source, facts = FACTS[embedding]
    newest = context_of(ws).environment.database.sequence()
    as_of = None if share is None else round(share * newest)
    moment = at(hours) if hours is not None else clock_of(ws)()
    asked = {
        "at": moment if hours is not None else None,
        "as_of": as_of,
        "where": None if country is None else tm.col("country") == country,
    }

    def by_words(count):
        return bm25_oracle.search(
            history[source],
            query,
            text="text",
            k=count,
            t=(moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
            sequence=newest if as_of is None else as_of,
            where=None if country is None else lambda row: row["country"] == country,
            **facts,
        )

    if mode == "hybrid" and not was_fitted(ws, embedding, asked["at"], as_of):
        with pytest.raises(DataError, match="no TF-IDF was fitted"):
            ws.vectors.search(embedding, query, k=k, mode=mode, **asked)
        return
    found = ws.vectors.search(embedding, query, k=k, mode=mode, **asked).to_polars()
    assert all(time <= moment for time in found["at"])
    if mode == "text":
        expected = by_words(k)
    else:
        near = ws.vectors.search(embedding, query, k=100, **asked).to_polars()[facts["key"]].to_list()
        expected = bm25_oracle.fused([near, [key for _, key in by_words(100)]], k)
    assert found.select("score", facts["key"]).rows() == expected


def was_fitted(ws, embedding, moment, as_of):
    fits = database_of(ws).list(EmbeddingFit, where={"embedding": embedding})
    known = [fit for fit in fits if as_of is None or fit.sequence <= as_of]
    return any(moment is None or fit.fitted_at <= moment for fit in known)


@pytest.fixture
def ws(tmp_path):
    project = tm.Project("shop")

    @project.source(timestamp="at", id="id")
    def notes() -> tm.Schema:
        return {"id": int, "at": datetime, "text": str, "score": float, "v": pl.List(pl.Float64)}

    project.embedding("texts", source=notes, text="text", model="tfidf")
    project.embedding("own", source=notes, vector="v", dimension=2)
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(100))) as ws:
        ws.apply(project)
        yield ws


def put(ws, *given, start=0):
    ws.push(
        "notes", [{"id": n, "at": at(n), "text": text, "score": -1.0, "v": None} for n, text in enumerate(given, start)]
    )


def ids(found):
    return found.to_polars()["id"].to_list()


def test_words_are_runs_of_letters_digits_and_marks_without_regard_to_case():
    assert words_of("Don't SHOUT: a_b, 3.14!") == ["don", "t", "shout", "a", "b", "3", "14"]
    assert words_of("Straße STRASSE strasse") == ["strasse"] * 3
    assert words_of("İstanbul") == words_of("i\u0307stanbul")
    cafe = unicodedata.normalize("NFD", "Café")
    assert words_of(cafe) == words_of("CAFÉ") == ["café"]
    assert words_of("cafe") != words_of("café")
    assert words_of("हिन्दी में") == ["हिन्दी", "में"]
    assert words_of("Donau\u00addampfer") == ["donaudampfer"]
    assert words_of("한국어 단어") == ["한국어", "단어"]
    assert words_of("مرحبا بالعالم") == ["مرحبا", "بالعالم"]
    assert words_of("🙂👍🏽 \x00 \u200b…") == words_of("") == []


def test_scripts_without_spaces_give_characters_and_pairs():
    assert words_of("Python言語") == ["python", "言", "語", "言語"]
    assert words_to_find("日本語") == ["日本", "本語"]
    assert words_to_find("語") == ["語"]
    assert words_to_find("สวัสดี")[:2] == ["สว", "วั"]


def test_a_text_in_any_script_is_found_by_its_words(ws):
    put(ws, "ein Fluß", "東京タワー", "हिन्दी में", "emoji 🙂", "ภาษาไทย")
    for query, expected in [("FLUSS", 0), ("東京", 1), ("京", 1), ("हिन्दी", 2), ("Emoji 🙂", 3), ("ไทย", 4)]:
        assert ids(ws.vectors.search("texts", query, mode="text")) == [expected], query
    for query in ("🙂", "", "   ", "unheard"):
        assert ids(ws.vectors.search("texts", query, mode="text")) == []


def test_words_are_found_before_their_vectors_are_made(ws):
    put(ws, "red wine", "old wine")
    found = ws.vectors.search("texts", "wine", mode="text")
    assert ids(found) == [0, 1]
    assert found.waiting == 2
    ws.vectors.follow()
    assert ws.vectors.search("texts", "wine", mode="text").waiting == 0


def test_a_past_search_scores_by_what_was_known_then(ws):
    put(ws, "red wine", "white wine", "red beer")
    earlier = ws.vectors.search("texts", "red wine", mode="text", at=at(100)).to_polars()
    assert earlier["id"].to_list() == [0, 1, 2]
    set_clock(ws, tm.ReplayClock(at(200)))
    put(ws, *["red red red"] * 20, start=3)
    assert ws.vectors.search("texts", "red wine", mode="text", at=at(100)).to_polars().equals(earlier)
    assert (
        not ws.vectors.search("texts", "red wine", mode="text", k=100, where=tm.col("id") < 3)
        .to_polars()
        .equals(earlier)
    )
    sequence = ws.vectors.search("texts", "red", mode="text").sequence
    put(ws, *["red and more"] * 20, start=30)
    then = ws.vectors.search("texts", "red", mode="text", as_of=sequence, k=100)
    assert len(then) == 22
    assert len(ws.vectors.search("texts", "red", mode="text", k=100)) == 42
    assert len(ws.vectors.search("texts", "red", mode="text", at="2000-01-01T00:00Z")) == 0


def test_deleted_words_leave_search_statistics_and_files(ws, monkeypatch):
    monkeypatch.setattr(images, "MANY_ROWS", 0)
    put(ws, "plantedsecret wine", "red wine", "red beer")
    ws.vectors.follow()
    assert ids(ws.vectors.search("texts", "plantedsecret", mode="text")) == [0]
    with_it = ws.vectors.search("texts", "wine", mode="text", where=tm.col("id") == 1).to_polars()["score"][0]
    ws.push("notes", [{"id": 0, "at": at(0), "deleted": True}])
    assert ids(ws.vectors.search("texts", "plantedsecret", mode="text")) == []
    assert ws.vectors.search("texts", "wine", mode="text").to_polars()["score"][0] > with_it
    assert any(b"plantedsecret" in path.read_bytes() for path in index_files(ws))
    ws.vectors.rebuild("texts", purge=True)
    assert not index_files(ws)


def index_files(ws):
    return list((environment_of(ws).path / "images").glob("*/*/*/words.arrow"))


def test_a_damaged_index_is_made_anew(ws, monkeypatch):
    monkeypatch.setattr(images, "MANY_ROWS", 0)
    put(ws, "red wine", "old wine")
    ws.vectors.follow()
    before = ws.vectors.search("texts", "old wine", mode="text").to_polars()
    (path,) = index_files(ws)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert ws.vectors.search("texts", "old wine", mode="text").to_polars().equals(before)


def test_an_index_of_many_texts_is_that_of_each(monkeypatch):
    given_ = ["red wine", None, "", "wine wine", "old red"] * 3
    whole = bm25.made(pl.Series(given_, dtype=pl.String))
    monkeypatch.setattr(bm25, "_TEXTS_AT_ONCE", 2)
    parts = bm25.made(pl.Series(given_, dtype=pl.String))
    for one, two in zip(whole, parts, strict=True):
        assert list(one) == list(two)
    only = bm25.made(pl.Series(given_, dtype=pl.String), only=["wine", "beer"])
    assert only.words.to_list() == ["wine"]
    assert list(only.lengths) == list(whole.lengths)
    assert whole.places(["wine", "beer", ""])[1:] == [slice(0, 0)] * 2
    assert bm25.made(pl.Series([], dtype=pl.String)).places(["wine"]) == [slice(0, 0)]


def test_equal_scores_come_in_the_order_of_their_keys(ws):
    put(ws, *["same words"] * 30)
    assert ids(ws.vectors.search("texts", "words", mode="text", k=7)) == list(range(7))
    ws.vectors.follow()
    assert ids(ws.vectors.search("texts", "words", mode="hybrid", k=7)) == list(range(7))


def test_a_query_of_a_megabyte_is_answered(ws):
    put(ws, "red wine", "old wine")
    assert ids(ws.vectors.search("texts", "wine " + "x" * 2**20, mode="text")) == [0, 1]
    assert ids(ws.vectors.search("texts", " ".join(f"w{n}" for n in range(30_000)) + " red", mode="text")) == [0]


def test_what_cannot_be_searched_by_words_is_said(ws):
    put(ws, "red wine")
    with pytest.raises(DataError, match="no text, which words could be found in"):
        ws.vectors.search("own", "red", mode="text")
    with pytest.raises(DataError, match="no text"):
        ws.vectors.search("own", [1.0, 0.0], mode="hybrid")
    for mode in ("text", "hybrid"):
        with pytest.raises(DataError, match="is not a text, which a search by words needs"):
            ws.vectors.search("texts", [1.0, 0.0], mode=mode)
    for mode in ("fuzzy", None, ["text"]):
        with pytest.raises(DataError, match="is not a way to search"):
            ws.vectors.search("texts", "red", mode=mode)
    for k in (0, -1, 10**6, True, 1.5):
        with pytest.raises(DataError, match="is not a number of rows that a search returns"):
            ws.vectors.search("texts", "red", mode="text", k=k)
    with pytest.raises(DataError, match="has no column 'colour'"):
        ws.vectors.search("texts", "red", mode="text", where=tm.col("colour") == "red")
    with pytest.raises(DataError, match="has no vector"):
        ws.vectors.follow()
        ws.vectors.search("texts", "", mode="hybrid")


def test_a_function_gives_the_best_rows_another_order(ws):
    put(ws, "red wine", "old wine", "new wine", "beer")
    seen = []

    def rerank(query, rows):
        seen.append((query, rows.columns, rows["id"].to_list()))
        return rows["id"] % 2

    found = ws.vectors.search("texts", "wine", mode="text", rerank=rerank, k=2)
    assert found.to_polars().select("score", "id").rows() == [(1.0, 1), (0.0, 0)]
    assert seen == [("wine", ["score", "id", "at", "text", "score_of_row", "v"], [0, 1, 2])]
    assert len(ws.vectors.search("texts", "unheard", mode="text", rerank=rerank)) == 0
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ([1.0], "returned 1 scores for 2 rows"),
        ([1.0, float("nan")], "returned nan for row 1"),
        ([float("inf"), 1.0], "returned inf for row 0"),
        (None, "returned a NoneType and not a number for each row"),
        (["a", "b"], "returned a list and not a number"),
        ([[1.0], [2.0]], "returned a list and not a number"),
        ([None, 1.0], "returned a list and not a number"),
        ([[1], [1, 2]], "returned a list and not a number"),
    ],
)
def test_scores_that_are_not_numbers_are_refused(ws, given_, message):
    put(ws, "red wine", "old wine")
    with pytest.raises(DataError, match=message):
        ws.vectors.search("texts", "wine", mode="text", rerank=lambda _query, _rows: given_)


def test_a_rerank_that_fails_is_named(ws):
    put(ws, "red wine")
    with pytest.raises(DataError, match="rerank failed: ZeroDivisionError") as caught:
        ws.vectors.search("texts", "wine", mode="text", rerank=lambda _query, _rows: 1 / 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(DataError, match="cannot be called"):
        ws.vectors.search("texts", "wine", mode="text", rerank="cross-encoder")
