"""Predictions: the same answer as from history, what is logged, and requests that do not fit."""

import json
from datetime import date, datetime, timedelta

import msgspec
import polars as pl
import pytest
from conftest import START, at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import clock_of, database_of, log_of, set_clock
from shop_views import about, calendar
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeRegressor
from trained import UTC_TIMES, orders_frame, project_of_orders, replay, train, visits_frame

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError
from tinymlops.records import Prediction


@pytest.fixture
def ws(tmp_path):
    with replay(tmp_path) as ws:
        yield ws


def logged(ws, answers):
    log_of(ws).flush()
    return [database_of(ws).get(Prediction, id=answer["id"]) for answer in answers]


@pytest.mark.parametrize("materialized", [True, False])
def test_an_answer_is_the_models_on_the_features_of_history(tmp_path_factory, materialized):
    project = project_of_orders()
    with replay(tmp_path_factory.mktemp("ws")) as ws:
        train(ws, project)
        model = ws.load_model("buyer")

        @examples(20, heavy=True, suppress_health_check=list(HealthCheck))
        @given(st.lists(st.sampled_from(["a", "b", "c", "nobody", None]), min_size=1, max_size=5), st.integers(1, 200))
        def check(customers, minutes):
            clock_of(ws).advance(timedelta(minutes=minutes))
            if minutes % 3 == 0:
                ws.ingest("orders")
                if materialized:
                    ws.materialize()
            answers = ws.predict("buyer", {"customer": customers})
            spine = pl.DataFrame(
                {"customer": customers, "timestamp": [clock_of(ws)()] * len(customers)},
                schema_overrides={"customer": pl.String},
            )
            features = ws.get_historical_features(spine, ["spending"])
            assert answers.to_polars().drop("id").equals(model.predict(features))
            assert answers.timestamp == clock_of(ws)()
            for record, values in zip(logged(ws, answers), features.drop(spine.columns).to_dicts(), strict=True):
                assert record.features == values

        if materialized:
            ws.materialize()
        check()


def test_an_answer_is_what_training_saw_of_a_spine_that_shares_the_source(tmp_path):
    """The order at exactly this time is not a feature of itself, neither in training nor now."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    frame = orders_frame(range(1, 400)).with_row_index("order").cast({"order": pl.Int64})

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        return frame

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last_amount": orders["amount"].last(), "spent_1d": orders["amount"].sum(window="1d")}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    project.training_set("visits_to_orders", spine=orders, label=buys, features=[spending])
    with replay(tmp_path) as ws:
        data = train(ws, project, test_from=None)
        row = data.train.spine.height - 1
        moment, customer_of = data.train.spine["timestamp"][row], data.train.spine["customer"][row]
        set_clock(ws, tm.ReplayClock(moment))
        answers = ws.predict("buyer", [{"customer": customer_of}])
        assert logged(ws, answers)[0].features == data.train.X.row(row, named=True)
        path = tmp_path / "out.parquet"
        ws.predict_batch("buyer", data.train.spine, path, timestamp="timestamp")
        expected = ws.load_model("buyer").predict(data.train.X)
        assert pl.read_parquet(path).select(expected.columns).equals(expected)


def test_full_rows_of_features_are_answered_as_they_are(ws):
    data = train(ws, project_of_orders())
    rows = data.test.X.with_columns(flight=pl.int_range(pl.len()))
    answers = ws.predict("buyer@champion", rows)
    assert answers.to_polars().drop("id").equals(ws.load_model("buyer").predict(data.test.X))
    assert answers.sequence is None
    record = logged(ws, answers)[3]
    assert record.features == data.test.X.row(3, named=True)
    assert record.request == {"flight": 3}
    assert record.sequence is None


def test_answers_are_a_list_with_what_they_stand_on(ws):
    train(ws, project_of_orders())
    answers = ws.predict(
        "buyer@champion", [{"customer": "a"}, {"customer": None}, {"customer": "nobody"}], details=True
    )
    assert (answers.model, answers.version, answers.timestamp) == ("buyer", 1, clock_of(ws)())
    assert answers.sequence == database_of(ws).sequence()
    assert len(answers) == 3
    assert [answer["id"] for answer in answers] == sorted({answer["id"] for answer in answers})
    assert set(answers[0]) == {"id", "prediction", "probability", "status"}
    assert answers[0]["status"] == {"last_amount": "PRESENT", "spent_1d": "PRESENT"}
    assert answers[1]["status"] == {"last_amount": "NULL_KEY", "spent_1d": "NULL_KEY"}
    assert answers[2]["status"]["last_amount"] == "NOT_FOUND"
    assert json.loads(json.dumps(answers.to_dict(), allow_nan=False))["predictions"] == answers.to_rows()
    assert repr(answers).startswith("<3 predictions of buyer:1 at 2024-01-11T00:00:00+00:00, Q=")
    assert "3 predictions of buyer:1" in answers._repr_html_()
    assert answers[1:] == answers.to_rows()[1:]
    assert "status" not in ws.predict("buyer", [{"customer": "a"}])[0]


def test_full_rows_have_no_status_to_tell(ws):
    data = train(ws, project_of_orders())
    assert ws.predict("buyer", data.test.X.head(1), details=True)[0]["status"] == {}


def test_ids_sort_by_time_and_row(ws):
    train(ws, project_of_orders())
    ids = [answer["id"] for _ in range(3) for answer in ws.predict("buyer", {"customer": ["a"] * 40})]
    assert ids == sorted(ids)
    assert len(set(ids)) == 120
    assert {len(identifier) for identifier in ids} == {32}


def test_the_whole_request_is_logged_and_is_exact(ws):
    train(ws, project_of_orders())
    row = {
        "customer": "a",
        "flight": 2**60 + 1,
        "when": datetime(2024, 5, 1, 12, 30, tzinfo=START.tzinfo),
        "day": date(2024, 5, 1),
        "ratio": float("nan"),
        "parts": [1, 2],
        "is_new": True,
    }
    answers = ws.predict("buyer", [row], sync=True)
    (record,) = database_of(ws).list(Prediction)
    assert record.id == answers[0]["id"]
    assert record.request == {
        **row,
        "when": "2024-05-01T12:30:00Z",
        "day": "2024-05-01",
        "ratio": None,
    }
    assert (record.model, record.version, record.at) == ("buyer", 1, clock_of(ws)())
    assert record.output == {name: answers[0][name] for name in ("prediction", "probability")}


def test_no_rows_are_no_predictions(ws):
    data = train(ws, project_of_orders())
    for rows in ([], data.test.X.head(0), pl.DataFrame(schema={"customer": pl.String})):
        answers = ws.predict("buyer", rows)
        assert len(answers) == 0
        assert answers.to_dict()["predictions"] == []
        assert "0 predictions" in repr(answers)


@pytest.mark.parametrize(
    ("rows", "message", "hint"),
    [
        ([{"custmer": "a"}], "no column 'customer', an entity key that model buyer:1 needs", "did you mean 'custmer'"),
        ([{}], "no column 'customer'", "send customer and the features are read, or send all 2 features"),
        ([{"flight": 1}], "no column 'customer'", "send customer"),
        (
            [{"customer": 7}],
            "column 'customer' is Int64 and was String in training: 7 in row 0",
            "send String values, or null",
        ),
        ([{"last_amount": 1.0, "spnt_1d": 2.0}], "no column 'spent_1d', which model buyer:1 takes", "mean 'spnt_1d'"),
        (
            [{"customer": "a", "spent_1d": 1.0}],
            "'spent_1d' is a feature that model buyer:1 reads itself",
            "leave it out",
        ),
        (
            [{"last_amount": "x", "spent_1d": 1.0}],
            "column 'last_amount' is String and the model takes Float64",
            "cast it",
        ),
        ([{"customer": "a", "x": object()}], "'x' holds Python objects", "leave it out"),
        (7, "a int is not a table", "list of dicts"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_by_name_and_not_logged(ws, rows, message, hint):
    train(ws, project_of_orders())
    with pytest.raises(DataError, match=message) as caught:
        ws.predict("buyer", rows)
    assert hint in caught.value.hint
    log_of(ws).flush()
    assert database_of(ws).count(Prediction) == 0


DTYPES = {
    "number": pl.Int32,
    "day": pl.Date,
    "moment": pl.Datetime("us", "Europe/Vienna"),
    "flag": pl.Boolean,
    "weight": pl.Float64,
}
SENT = {"number": 1, "day": "2024-01-01", "moment": "2024-06-01T12:00:00Z", "flag": True, "weight": 2}
"""A request as JSON brings it."""


@pytest.fixture
def typed(ws):
    """A workspace whose model has keys and request fields of several types."""
    rows = pl.DataFrame(
        {
            "number": [1, 2, 1, 2],
            "day": [date(2024, 1, 1)] * 4,
            "moment": [START] * 4,
            "flag": [True, False, None, True],
            "weight": [0.5, 1.0, 2.0, None],
            "at": [at(1), at(2), at(30), at(60)],
            "score": [3.0, 4.0, 1.0, 2.0],
        }
    ).cast({**DTYPES, "at": UTC_TIMES})
    project = tm.Project("shop")
    thing = project.entity("thing", key=["number", "day"])

    @project.source(timestamp="at")
    def scores() -> pl.DataFrame:
        return rows.select("number", "day", "at", "score")

    @project.source(timestamp="at")
    def asked() -> pl.DataFrame:
        return rows.drop("score").with_columns(pl.col("at") + timedelta(minutes=5))

    @project.feature_view(entity=thing)
    def latest(scores: tm.Rows) -> tm.Features:
        return {"score": scores["score"].last()}

    @project.label(entity=thing, horizon="3d")
    def next_score(scores: tm.Rows) -> tm.Label:
        return scores["score"].last()

    views = [latest, project.on_demand(about), project.on_demand(calendar)]
    project.training_set("next", spine=asked, label=next_score, features=views)
    ws.apply(project)
    ws.ingest(complete_until=at(240))
    data = ws.get_training_data("next")
    with ws.start_run("baseline", data=data) as run:
        run.log_model(DecisionTreeRegressor().fit(data.train.X, data.train.y))
    ws.register_model("typed", run=run)
    assert next((field.name, field.dtype) for field in data.signature.request) == ("number", "Int32")
    return ws


def test_request_fields_are_cast_to_what_they_were_in_training(typed):
    answers = typed.predict("typed", [SENT, {**SENT, "number": 1.0, "flag": None, "moment": None, "weight": None}])
    first, second = logged(typed, answers)
    assert first.features == {"score": 1.0, "share": 0.5, "hour": 14, "flagged": False, "hour_of_day": 0, "weekday": 4}
    assert first.request == {**SENT, "moment": "2024-06-01T14:00:00+02:00", "weight": 2.0}
    assert second.request == {"number": 1, "day": "2024-01-01", "moment": None, "flag": None, "weight": None}
    assert second.features["score"] == 1.0
    assert second.features["share"] is None
    exact = {"number": [1], "day": [date(2024, 1, 1)], "moment": [SENT["moment"]], "flag": [True], "weight": [2.0]}
    frame = pl.DataFrame(exact).with_columns(pl.col("moment").str.to_datetime(time_zone="UTC", time_unit="ns"))
    assert logged(typed, typed.predict("typed", frame))[0].features == first.features


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", "1"),
        ("number", 1.5),
        ("number", 2**31),
        ("number", True),
        ("number", float("inf")),
        ("day", "2024-13-01"),
        ("day", "yesterday"),
        ("day", 7),
        ("moment", "2024-06-01T12:00:00"),
        ("moment", datetime(2024, 6, 1, 12)),
        ("moment", 1717243200),
        ("flag", 1),
        ("flag", "true"),
        ("weight", 2**53 + 1),
        ("weight", "heavy"),
        ("weight", [1.0]),
        ("weight", object()),
    ],
)
def test_a_mistyped_request_field_is_named(typed, field, value):
    with pytest.raises(DataError, match=f"column '{field}' is .* and was .* in training"):
        typed.predict("typed", [{**SENT, field: value}])
    assert database_of(typed).count(Prediction) == 0


def test_a_string_that_training_had_not_is_logged_as_it_was_sent(ws):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    colours = pl.DataFrame(
        {"customer": ["a", "b"] * 20, "at": [at(n) for n in range(40)], "colour": ["red", "blue", "red", "red"] * 10}
    )
    colours = colours.vstack(pl.DataFrame({"customer": ["c"], "at": [at(100)], "colour": ["green"]}))

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return colours

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return visits_frame(range(2, 30), customers="ab")

    @project.feature_view(entity=customer)
    def taste(orders: tm.Rows) -> tm.Features:
        return {"colour": orders["colour"].last()}

    @project.label(entity=customer, horizon="8h")
    def next_colour(orders: tm.Rows) -> tm.Label:
        return orders["colour"].last()

    project.training_set("visits_to_orders", spine=visits, label=next_colour, features=[taste])
    train(ws, project, model=HistGradientBoostingClassifier(categorical_features="from_dtype"), test_from=None)
    (record,) = logged(ws, ws.predict("buyer", [{"customer": "c"}]))
    assert record.features == {"colour": "green"}
    assert record.output["prediction"] in ("red", "blue")


def test_several_classes_have_probabilities(tmp_path):
    with replay(tmp_path) as ws:
        project = project_of_orders()
        data = train(ws, project)
        labels = pl.Series("y", ["low", "mid", "high"] * 50)[: data.train.X.height]
        data.signature = msgspec.structs.replace(data.signature, task="multiclass", classes=["high", "low", "mid"])
        data.train, data.test = data.train._replace(y=labels), None
        with ws.start_run("three", data=data) as run:
            run.log_model(DummyClassifier(strategy="prior").fit(data.train.X, labels))
        ws.register_model("three", run=run)
        answers = ws.predict("three", [{"customer": "a"}])
        assert set(answers[0]) == {"id", "prediction", "probabilities"}
        assert sum(answers[0]["probabilities"]) == pytest.approx(1)
        ws.log_outcomes([{"prediction_id": answers[0]["id"], "value": "mid"}])
        report = ws.monitor("three")
        assert report.with_outcome == 1
        assert set(report.live.metrics) == {"accuracy", "f1_macro", "log_loss"}


def test_a_model_that_takes_no_nulls_says_which_feature_is_null(ws):
    data = train(ws, project_of_orders())
    with ws.start_run("linear", data=data) as run:
        run.log_model(LogisticRegression().fit(data.train.X.fill_null(0), data.train.y))
    ws.register_model("linear", run=run)
    with pytest.raises(DataError, match="takes no nulls, and these features have some: last_amount"):
        ws.predict("linear", [{"customer": "nobody"}])


def test_a_closed_workspace_takes_no_predictions(tmp_path):
    with replay(tmp_path) as ws:
        train(ws, project_of_orders())
        model = ws.load_model("buyer")
        ws.predict("buyer", [{"customer": "a"}])
    with pytest.raises(ConflictError, match="closed"):
        ws.predict("buyer", [{"customer": "a"}])
    assert model.version == 1
    with tm.connect(tmp_path / "shop.tm") as again:
        assert database_of(again).count(Prediction) == 1
