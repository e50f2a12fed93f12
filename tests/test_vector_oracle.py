"""Every kind of search, over histories of every kind, as a plain reading of the rules finds it: rows, scores, fit and all."""

import warnings
from datetime import UTC, datetime, timedelta

import bm25_oracle
import pytest
import vector_oracle
from conftest import at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import clock_of, context_of, database_of, environment_of, set_clock
from test_vector_text_search import FACTS, defined, everything, orders_of, other, sent, take_step

import tinymlops as tm
from tinymlops.embedders import open_embedder
from tinymlops.errors import DataError
from tinymlops.features.history.stored import stored_rows
from tinymlops.features.vectors import image as images
from tinymlops.records import EmbeddingFit, EmbeddingState, Generation

made = st.tuples(st.sampled_from(["anew", "again", "purge"]), st.sampled_from(list(FACTS)))
step = sent | sent | other | made | st.just(("rebuild", None))
history = st.builds(list.__add__, everything, st.lists(step, min_size=1, max_size=4))
conditions = {
    "AT": (tm.col("country") == "AT", lambda row: row["country"] == "AT"),
    "not DE": (tm.col("country") != "DE", lambda row: row["country"] not in (None, "DE")),
    "by dict": ({"country": "DE"}, lambda row: row["country"] == "DE"),
    "none": ({"country": None}, lambda row: row["country"] is None),
    "two": (
        (tm.col("customer") != "a") & (tm.col("country") == "AT"),
        lambda row: row["customer"] != "a" and row["country"] == "AT",
    ),
    "all": ({}, lambda row: True),
}
question = st.fixed_dictionaries(
    {
        "embedding": st.sampled_from(list(FACTS)),
        "query": st.lists(st.sampled_from(["red", "WINE", "old", "new"]), min_size=1, max_size=3).map(" ".join),
        "mode": st.sampled_from(["vector", "vector", "text", "hybrid"]),
        "k": st.sampled_from([1, 2, 3, 10, 10_000]),
        "hours": st.sampled_from([None] * 4 + [-4, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16]),
        "share": st.sampled_from([None] * 3 + [0.0, 0.3, 0.6, 0.8, 0.9, 1.0]),
        "where": st.sampled_from([None, None, None, *conditions]),
        "image": st.booleans(),
    }
)


@examples(2, heavy=False, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(steps=history, later=st.lists(step, max_size=2), asked=st.lists(question, min_size=16, max_size=16))
def test_a_search_finds_what_a_plain_reading_of_all_rules_finds(tmp_path_factory, steps, later, asked):
    frames, at_source = {"orders": orders_of([])}, {}
    folder = tmp_path_factory.mktemp("oracle") / "shop.tm"
    with tm.connect(folder, create=True, clock=tm.ReplayClock(at(0))) as ws, pytest.MonkeyPatch.context() as patched:
        patched.setattr(images, "MANY_ROWS", 0)
        patched.setattr(images, "MANY_LATE_ROWS", 10**9)
        ws.apply(defined(frames))
        ws.ingest()
        for source in ("clicks", "visits", "orders"):  # TF-IDF is fitted on a word at least
            take_step(ws, frames, at_source, source, [(9, "z", -6, "AT", "red wine", False)], 0)
        for hour, (what, given_) in enumerate([*steps, ("follow", None), *later], 1):
            set_clock(ws, tm.ReplayClock(at(2 * hour)))
            act(ws, frames, at_source, what, given_, 2 * hour)
        truth = Truth(ws)
        for one in asked:
            patched.setattr(images, "MANY_ROWS", 0 if one["image"] else 10**9)
            truth.compare(**one)


def act(ws, frames, at_source, what, given_, now):
    if what == "anew":
        ws.vectors.rebuild(given_, anew=True)
    elif what == "again":
        ws.vectors.rebuild(given_)
    elif what == "purge":
        ws.vectors.rebuild(given_, purge=True)
    elif what == "rebuild":
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of events that are not in it any more
            ws.ingest("orders", rebuild=True, drop_missing=True)
    else:
        take_step(ws, frames, at_source, what, given_, now)


class Truth:
    """What the rules say of a workspace, read row by row."""

    def __init__(self, ws):
        self.ws, self.database = ws, database_of(ws)
        self.rows = {}
        self.newest = self.database.sequence()
        self.vectors = {}

    def rows_at(self, source, as_of):
        """Every version of every row; a rebuild has other rows than before it."""
        if (source, as_of) not in self.rows:
            self.rows[source, as_of] = stored_rows(context_of(self.ws), source, as_of=as_of).to_dicts()
        return self.rows[source, as_of]

    def compare(self, *, embedding, query, mode, k, hours, share, where, image):
        source, facts = FACTS[embedding]
        moment = clock_of(self.ws)() if hours is None else at(hours)
        as_of = None if share is None else round(share * self.newest)
        condition, fulfils = conditions[where] if where else (None, None)
        asked = {"at": None if hours is None else moment, "as_of": as_of, "where": condition, "mode": mode, "k": k}
        fit = self.fit(embedding, asked["at"], as_of)
        if fit is None and mode != "text":
            with pytest.raises(DataError, match="no TF-IDF was fitted"):
                self.ws.vectors.search(embedding, query, **asked)
            return
        found = self.ws.vectors.search(embedding, query, **asked)
        about = facts | {
            "t": (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
            "sequence": self.newest if as_of is None else as_of,
            "where": fulfils,
        }
        expected = self.expected(embedding, self.rows_at(source, as_of), query, mode, k, fit, about)
        assert found.to_polars().select("score", facts["key"]).rows() == expected
        assert found.fitted_at == (None if mode == "text" else fit.fitted_at)
        assert found.sequence == about["sequence"]
        assert all(row["at"] <= moment for row in found.to_dicts())

    def expected(self, embedding, rows, query, mode, k, fit, about):
        deep = k if mode != "hybrid" else max(k, 100)
        words = bm25_oracle.search(rows, query, text="text", k=deep, **about) if mode != "vector" else []
        if mode == "text":
            return words
        replaced = any(
            one.source == FACTS[embedding][0] and one.begins > about["sequence"]
            for one in self.database.list(Generation)
        )
        with_vectors = [{**row, "v": self.vector(embedding, fit, row, waits=not replaced)} for row in rows]
        near = vector_oracle.nearest(
            with_vectors, self.made(fit, query), vector="v", k=deep, metric="exact cosine", **about
        )
        if mode == "vector":
            return near
        return bm25_oracle.fused([[key for _, key in near], [key for _, key in words]], k)

    def fit(self, embedding, moment, as_of):
        """The last one that was made of rows known by then."""
        fits = self.database.list(EmbeddingFit, where={"embedding": embedding}, order="id")
        if moment is None and as_of is None:
            return fits[-1]
        known = [fit for fit in fits if as_of is None or fit.sequence <= as_of]
        then = [fit for fit in known if moment is None or fit.fitted_at <= moment]
        return then[-1] if then else None

    def vector(self, embedding, fit, row, *, waits):
        """The numbers of a row's text; none for one that waits for the model of now."""
        state = self.database.get(EmbeddingState, embedding=embedding)
        if waits and fit.model == state.model and not self.is_followed(fit, row["text"]):
            return None
        return None if row["text"] is None else self.made(fit, row["text"])

    def is_followed(self, fit, text):
        """Whether an embedding with this model has come to a row with the text, also to one that was rebuilt since."""
        for state in self.database.list(EmbeddingState, where={"model": fit.model}):
            source = FACTS[state.embedding][0]
            for rows in (self.rows_at(source, None), self.rows_at(source, state.covered)):
                for row in rows:
                    if row["text"] == text and row["__sequence"] <= state.covered and not row["__deleted"]:
                        return True
        return False

    def made(self, fit, text):
        if (fit.fitted, text) not in self.vectors:
            state = environment_of(self.ws).blobs.read(fit.fitted)
            (answer,) = open_embedder("tfidf", base=context_of(self.ws).root, state=state).embed([text])
            self.vectors[fit.fitted, text] = None if answer.vector is None else answer.vector.tolist()
        return self.vectors[fit.fitted, text]
