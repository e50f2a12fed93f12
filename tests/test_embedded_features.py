"""Vectors as features: as of each row's time, offline as online, and by the model that a build was made with."""

from datetime import UTC, datetime, timedelta

import embedding_models
import polars as pl
import pytest
import vector_oracle
from conftest import at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import context_of, database_of, environment_of, set_clock
from litestar.testing import TestClient
from mlflow_calls import LOCAL
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import tinymlops as tm
from tinymlops.embedders import fit_tfidf, open_embedder
from tinymlops.features.history.stored import stored_rows
from tinymlops.flat import flat
from tinymlops.records import FittedModel

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLY = ["red candles", "blue candles", "red tea", "brown bear", "green tea in mugs"]
LATE = ["honey for bears", "war and peace", "peace and honey", "war of bears"]


def defined(*, made=None, feature=None):
    """Texts and vectors of customers, pushed with ids; visits that buy."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id")
    def bios() -> tm.Schema:
        return {"id": int, "customer": str, "at": datetime, "text": str, "v": pl.List(pl.Float64)}

    @project.source(timestamp="at", id="visit")
    def visits() -> tm.Schema:
        return {"visit": int, "customer": str, "at": datetime}

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": str, "at": datetime, "amount": float}

    texts = project.embedding("texts", source=bios, text="text", **({"model": "tfidf", "dimension": 3} | (made or {})))
    own = project.embedding("own", source=bios, vector="v", dimension=2)

    project.embedding("loose", source=bios, vector="v")

    @project.feature_view(entity=customer)
    def profile(bios: tm.Rows) -> tm.Features:
        return {
            "bio": bios["text"].last().embedded(texts),
            "last_words": bios["text"].last(skip_nulls=True).embedded("texts"),
            "own": bios["v"].last().embedded(own),
        }

    if feature is not None:

        @project.feature_view(entity=customer)
        def other(bios: tm.Rows) -> tm.Features:
            return {"x": feature(bios)}

    @project.label(entity=customer, horizon="5h")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).any()

    project.training_set("sales", spine=visits, label=buys, features=[profile["bio"], profile["own"]])
    return project


def bio(id_, text, customer="a", *, hours, v=None, **more):
    return {"id": id_, "customer": customer, "at": at(hours), "text": text, "v": v, **more}


@pytest.fixture
def ws(tmp_path):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        yield ws


def told(ws, hours, source, rows):
    """Push rows at a time."""
    set_clock(ws, tm.ReplayClock(at(hours)))
    return ws.push(source, rows)


texts = st.none() | st.sampled_from([*EARLY, "", "  ", "words that nobody knows"])
vectors = st.none() | st.lists(st.integers(-2, 2).map(float), min_size=1, max_size=3)
row = st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.integers(-5, 2), texts, vectors, st.booleans())
batches = st.lists(st.lists(row, min_size=1, max_size=5), min_size=1, max_size=4)
moments = st.lists(st.tuples(st.sampled_from(["a", "b", "nobody", None]), st.integers(-7, 10)), min_size=1, max_size=8)


@examples(12, heavy=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batches=batches, asked=moments, share=st.none() | st.floats(0, 1), followed=st.integers(0, 4))
def test_a_vector_is_that_of_the_text_known_at_each_time(tmp_path_factory, batches, asked, share, followed):
    folder = tmp_path_factory.mktemp("embedded") / "shop.tm"
    with tm.connect(folder, create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined())
        ws.push("bios", [bio(100 + place, text, "c", hours=-9) for place, text in enumerate(EARLY)])
        ws.vectors.follow()
        ws.materialize()
        for place, batch in enumerate(batches):
            sent = [
                bio(id_, text, customer, hours=2 * place + hours, v=v, deleted=deleted)
                for id_, customer, hours, text, v, deleted in batch
            ]
            told(ws, 2 * place, "bios", sent)
            if place == followed:
                ws.vectors.follow()
        newest = database_of(ws).sequence()
        sequence = None if share is None else round(share * newest)
        spine = pl.DataFrame(
            {"customer": [one for one, _ in asked], "timestamp": [at(hours) for _, hours in asked]},
            schema={"customer": pl.String, "timestamp": pl.Datetime("us", "UTC")},
        )
        found = ws.get_historical_features(spine, ["profile"], details=True, as_of=sequence)
        rows = stored_rows(context_of(ws), "bios").to_dicts()
        for values, (customer, hours) in zip(found.to_dicts(), asked, strict=True):
            known = known_row(rows, customer, at(hours), newest if sequence is None else sequence)
            check(ws, values, known)
        online_is_offline(ws)


def known_row(rows, customer, moment, sequence):
    """Return the row of a customer that is known, by the plain reading of the rule in `vector_oracle`."""
    t = (moment - EPOCH) // timedelta(microseconds=1)
    numbered = [{**row, "__place": [float(place)]} for place, row in enumerate(rows) if row["customer"] == customer]
    facts = {"key": "customer", "ids": "id", "vector": "__place", "k": 1, "t": t, "sequence": sequence, "metric": "dot"}
    found = vector_oracle.nearest(numbered, [1.0], **facts) if customer is not None else []
    mine = [one for one in numbered if one["__place"] == [found[0][0]]] if found else []
    return mine[0] if mine else None


def check(ws, values, known):
    vector = None if known is None or known["text"] is None else vector_of(ws, known["text"])
    assert values["bio"] == vector
    numbers = None if known is None else known["v"]
    assert values["own"] == (numbers if vector_oracle.is_vector(numbers, 2) else None)
    if known is not None:
        expected = "NULL_VALUE" if known["text"] is None else "PRESENT" if vector is not None else "NOT_EMBEDDED"
        assert values["bio_status"] == expected
        assert values["bio_event_time"] == known["at"]
    else:
        assert values["bio_status"] in ("NULL_KEY", "DELETED", "NOT_YET_AVAILABLE", "NOT_FOUND")


def vector_of(ws, text):
    """Return the vector of one text alone, by the model in force."""
    (state,) = ws.sql("select fitted, model from embedding_states where embedding = 'texts'").rows()
    fitted = environment_of(ws).blobs.read(state[0])
    (answer,) = open_embedder("tfidf", base=environment_of(ws).path, state=fitted).embed([text])
    return None if answer.vector is None else answer.vector.tolist()


def online_is_offline(ws):
    keys = {"customer": ["a", "b", "c", "nobody", None]}
    online = ws.get_online_features(["profile"], keys, details=True)
    spine = pl.DataFrame(keys).with_columns(timestamp=pl.lit(online.timestamp).cast(pl.Datetime("us", "UTC")))
    offline = ws.get_historical_features(spine, ["profile"], details=True, as_of=online.sequence)
    assert online.to_polars().equals(offline.drop("timestamp"), null_equal=True)
    assert online.to_polars().schema["bio"] == pl.Array(pl.Float32, 3)
    alone = ws.get_online_features(["profile"], [{"customer": "a"}])  # as among others
    assert alone.to_polars()["bio"].equals(online.to_polars()["bio"][:1], null_equal=True)


def filled(ws, *, made=None):
    """Early texts and late ones, visits and orders; the model is fitted at hour 60."""
    ws.apply(defined(made=made))
    for hour, text in enumerate(EARLY * 2):
        told(ws, hour, "bios", [bio(hour, text, f"c{hour % 4}", hours=hour, v=[float(hour % 3), 1.0])])
        told(ws, hour, "visits", [{"visit": hour, "customer": f"c{hour % 5}", "at": at(hour)}])
        told(ws, hour, "orders", [{"order": hour, "customer": f"c{hour % 3}", "at": at(hour), "amount": 1.0}])
    for hour, text in enumerate(LATE, 40):
        told(ws, hour, "bios", [bio(hour, text, f"c{hour % 7}", hours=hour)])
    set_clock(ws, tm.ReplayClock(at(60)))
    ws.vectors.follow()
    ws.materialize()


def trained(ws, name="sale"):
    data = ws.get_training_data("sales")
    with ws.start_run("linear", data=data) as run:
        model = make_pipeline(SimpleImputer(keep_empty_features=True), LogisticRegression())
        run.log_model(model.fit(data.train.X, data.train.y))
    ws.register_model(name, run=run, alias="champion")
    return data


def test_a_training_set_has_a_column_for_each_number(ws):
    filled(ws)
    data = trained(ws)
    assert data.train.X.columns == ["bio_0", "bio_1", "bio_2", "own_0", "own_1"]
    assert [field.source for field in data.signature.features[:4]] == ["profile:bio"] * 3 + ["profile:own"]
    spine = data.train.spine.select("customer", "timestamp")
    read = ws.get_historical_features(spine, ["profile:bio", "profile:own"]).drop("customer", "timestamp")
    assert flat(read).equals(data.train.X, null_equal=True)
    assert ws.verify(data.build_id).same
    with pytest.raises(tm.DataError, match="two features are called 'v_0'"):
        flat(pl.DataFrame({"v": [[1.0]], "v_0": [1.0]}, schema_overrides={"v": pl.Array(pl.Float64, 1)}))


def test_a_served_model_keeps_the_model_of_its_texts(ws):
    filled(ws)
    data = trained(ws)
    asked = [{"customer": f"c{n}"} for n in (*range(4), 99)]
    before = ws.predict("sale", asked, details=True).to_rows()
    kept = ws.sql("select model, dimension from fitted_models").rows()
    told(ws, 70, "bios", [bio(50 + n, text, f"c{n}", hours=61) for n, text in enumerate([*LATE, "quite new words"])])
    set_clock(ws, tm.ReplayClock(at(70)))
    after = ws.predict("sale", asked).to_rows()
    ws.vectors.rebuild("texts", anew=True, purge=True)
    assert ws.sql("select model from embedding_states").rows() != [(kept[0][0],)]
    assert [one["probability"] for one in ws.predict("sale", asked).to_rows()] == [one["probability"] for one in after]
    assert {one["status"]["bio"] for one in before} == {"PRESENT", "NOT_FOUND"}
    assert ws.verify_online().same
    assert ws.verify(data.build_id).same
    assert ws.reproduce(data.build_id).train.X.equals(data.train.X)
    ws.gc(grace="1us")
    assert ws.verify(data.build_id).same
    newer = ws.get_training_data("sales")  # by the model of now
    assert newer.fingerprint != data.fingerprint
    told_apart = ws.diff(data.build_id, newer.build_id)
    assert [*told_apart.counts] == ["bio"]
    assert told_apart.by_cause == {"definition": told_apart.changed}
    assert [one.startswith("embedding texts: vectors by model") for one in told_apart.definitions] == [True]


def test_predictions_over_http_are_those_of_the_workspace(ws):
    filled(ws)
    trained(ws)
    asked = [{"customer": "c1"}, {"customer": "c3"}, {"customer": "nobody"}]
    expected = [one["probability"] for one in ws.predict("sale", asked).to_rows()]
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        many = client.post("/v1/models/sale/predict", json={"rows": asked}).json()["predictions"]
        single = [
            client.post("/v1/models/sale/predict", json={"rows": [one]}).json()["predictions"][0] for one in asked
        ]
    assert [one["probability"] for one in many] == [one["probability"] for one in single] == expected


def test_a_fit_that_knows_later_words_is_told_and_fitted_at_is_the_cure(ws):
    filled(ws)
    data = ws.get_training_data("sales")
    (finding,) = [one for one in data.findings if one.rule == "fitted-later"]
    assert finding.rows == data.report.train_rows
    assert "fitted-later:sales.texts" in [one.name for one in ws.lint().findings]
    ws.apply(defined(made={"fitted_at": at(0)}))
    with pytest.raises(tm.DataError, match="has no vectors yet"):  # of this definition
        ws.get_training_data("sales")
    ws.vectors.follow()
    honest = ws.get_training_data("sales")
    assert "fitted-later" not in [one.rule for one in honest.findings]
    (kept,) = database_of(ws).list(FittedModel, where={"model": honest.embeddings["texts"].model})
    # Who fits it later, when more is known, fits the same.
    fitted = environment_of(ws).blobs.read(kept.fitted)
    assert fitted == fit_tfidf([EARLY[0]], dimension=3)
    assert ws.verify(data.build_id).same


def test_a_model_that_reads_do_not_ask_leaves_a_text_without_a_vector(tmp_path):
    directory = embedding_models.tiny(tmp_path / "model")
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(0))) as ws:
        ws.apply(defined(made={"model": str(directory), "dimension": None}))
        told(ws, 0, "bios", [bio(1, "red", "a", hours=0)])
        ws.vectors.follow()
        told(ws, 1, "bios", [bio(2, "blue", "b", hours=1)])
        ws.materialize()
        keys = [{"customer": "a"}, {"customer": "b"}]
        waiting = ws.get_online_features(["profile:bio"], keys, details=True).to_polars()
        assert waiting["bio_status"].to_list() == ["PRESENT", "NOT_EMBEDDED"]
        assert waiting["bio"].null_count() == 1
        ws.vectors.follow()
        done = ws.get_online_features(["profile:bio"], keys, details=True).to_polars()
        assert done["bio_status"].to_list() == ["PRESENT", "PRESENT"]
        assert done["bio"][0].to_list() == waiting["bio"][0].to_list()


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        (lambda rows: rows["text"].first().embedded("nothing"), "no embedding 'nothing'"),
        (lambda rows: rows["customer"].last().embedded("texts"), "makes vectors of 'text' of 'bios'"),
        (lambda rows: rows["text"].n_unique(window="1d").embedded("texts"), "cannot be embedded"),
        (lambda rows: rows["text"].fill_null("").last().embedded("texts"), "cannot be embedded"),
        (lambda rows: rows["text"].last().embedded(3), "3 is not an embedding"),
        (lambda rows: rows["text"].last().embedded("texts") == "red", "is a vector and cannot be combined"),
        (lambda rows: rows["v"].last().embedded("loose"), "does not say how many numbers"),
    ],
)
def test_what_is_not_embedded_is_refused(ws, feature, said):
    with pytest.raises(tm.TinyMLOpsError, match=said):
        ws.apply(defined(feature=feature))
