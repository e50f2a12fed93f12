"""A request of one row takes a path without frames: the same bits, log and errors as the path with frames."""

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from conftest import START, at
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from inside import database_of, set_clock
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tinymlops as tm
from tinymlops.errors import TinyMLOpsError
from tinymlops.records import Prediction
from tinymlops.serving import prediction as module

NUMBER = pl.int_range(400, eager=True)
KEYS = {
    "word": (pl.String, ["a", "b", "c"]),
    "number": (pl.Int32, [1, 2, 3]),
    "kind": (pl.Enum(["x", "y", "z"]), ["x", "y", "z"]),
    "yes": (pl.Boolean, [True, False, True]),
    "day": (pl.Date, [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)]),
}
CHANCE = np.random.default_rng(5)
AMOUNTS = pl.Series("amount", CHANCE.normal(size=400)).round(2)


def keys_of(numbers):
    return [
        pl.Series(name, [values[place] for place in numbers], dtype=dtype) for name, (dtype, values) in KEYS.items()
    ]


def asked(state: tm.Inputs, weight: pl.Expr, count: pl.Expr, timestamp: pl.Expr) -> dict[str, pl.Expr]:
    """Compute with what is stored, what is sent and the time; some of it is infinite, and one is a constant."""
    return {
        "share": state["amount"] / weight,
        "more": state["items"] + count,
        "hour": timestamp.dt.hour(),
        "is_red": state["colour"] == "red",
        "one": pl.lit(1.0),
    }


def long(note: pl.Expr) -> dict[str, pl.Expr]:
    """Compute with a text that was sent."""
    return {"length": note.str.len_chars().cast(pl.Int64)}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    project = tm.Project("rows")
    entities = {name: project.entity(name, key=name) for name in KEYS}
    everyone = project.entity("everyone", key=["word", "number"])

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        colours = pl.Series("colour", ["red", "blue", None, "green"])
        return pl.DataFrame(
            [
                *keys_of(NUMBER % 3),
                AMOUNTS,
                (NUMBER % 7).alias("items"),
                (NUMBER % 5 > 1).alias("flag"),
                colours.gather((NUMBER % 4).cast(pl.UInt32)),
                AMOUNTS.cast(pl.Float32).alias("single"),
            ]
        ).with_columns(at=pl.Series([at(hour) for hour in range(400)]))

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        number = NUMBER.head(200)
        return pl.DataFrame(
            [
                *keys_of(number % 3),
                number.alias("visit"),
                (number % 4 * 0.5).alias("weight"),
                (number % 3).alias("count"),
            ]
        ).with_columns(
            at=pl.Series([at(hour + 20.5) for hour in range(200)]), note=pl.Series(["so", "long", None, ""] * 50)
        )

    @project.feature_view(entity=entities["word"], ttl="2d")
    def state(orders: tm.Rows) -> tm.Features:
        return {name: orders[name].last() for name in ("amount", "items", "flag", "colour", "single")}

    @project.feature_view(entity=entities["number"])
    def windows(orders: tm.Rows) -> tm.Features:
        amount = orders["amount"]
        return {
            "sum_1d": amount.sum(window="1d"),
            "count_1d": orders.count(window="1d"),
            "mean_3d": amount.mean(window="3d"),
            "any_1d": orders["flag"].any(window="1d"),
            "part": amount.sum(window="1d") / orders.count(window="3d"),
        }

    def lasting(name, entity):
        def view(orders: tm.Rows) -> tm.Features:
            return {f"by_{name}": orders["amount"].last()}

        view.__name__ = view.__qualname__ = f"of_{name}"
        return project.feature_view(entity=entity)(view)

    lone = [lasting(name, entities[name]) for name in ("kind", "yes", "day")]
    lone.append(lasting("everyone", everyone))

    @project.label(entity=entities["word"], horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    @project.label(entity=entities["word"], horizon="1d")
    def worth(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    both = [project.on_demand(asked), project.on_demand(long)]
    project.training_set("all", spine=visits, label=buys, features=[state, windows, *lone, *both])
    project.training_set("some", spine=visits, label=buys, features=[windows, *lone])
    project.training_set("worth_of", spine=visits, label=worth, features=[windows, *lone])
    path = tmp_path_factory.mktemp("one") / "shop.tm"
    with tm.connect(path, create=True, clock=tm.ReplayClock(at(399.9))) as ws:
        ws.apply(project)
        ws.ingest()
        ws.materialize()
        fit(ws)
        yield ws


def fit(ws):
    def log(name, data, model):
        with ws.start_run(name, data=data) as run:
            run.log_model(model)
        ws.register_model(name, run=run)

    data = ws.get_training_data("all")
    X, y = data.train.X, data.train.y
    log("trees", data, HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=5).fit(X, y))
    data = ws.get_training_data("some")
    X, y = data.train.X, data.train.y
    linear = [SimpleImputer(), StandardScaler(), LogisticRegression()]
    log("linear", data, make_pipeline(*linear).fit(X.cast(pl.Float64), y))
    log("array", data, make_pipeline(*linear).fit(X.cast(pl.Float64).to_numpy(), y))
    log("pandas", data, make_pipeline(*linear).fit(X.cast(pl.Float64).to_pandas(), y))
    data = ws.get_training_data("worth_of")
    log("number", data, HistGradientBoostingRegressor(max_iter=5).fit(data.train.X, data.train.y))


MODELS = ["trees", "linear", "array", "pandas", "number"]
GOOD = {
    **{name: values[0] for name, (_, values) in KEYS.items()},
    "day": None,
    "visit": 7,
    "weight": 0.5,
    "count": 2,
    "note": "so",
}


def told(ws, model, rows):
    """Return the whole answer, its log included, or the error."""
    try:
        answers = ws.predict(model, rows)
    except TinyMLOpsError as error:
        return type(error), error.message, error.hint
    ws.flush()
    (record,) = database_of(ws).list(Prediction, where={"id": [answers[0]["id"]]})
    rest = [{name: value for name, value in answer.items() if name != "id"} for answer in answers]
    kept = (record.request, record.features, record.output, record.at, record.sequence, record.version)
    return repr((rest, list(answers[0]), answers.timestamp, answers.sequence, kept))


SCALARS = [
    *(None, True, False, 0, 1, 2, 3, -1, 2**31, 2**53, 2**53 + 1, 2**63, -(2**63), 10**30),
    *(0.0, -0.0, 0.5, 1.0, 2.0, 1e300, 5e-324, math.inf, -math.inf, math.nan, 2.0**53),
    *("a", "b", "c", "x", "so", "", "ü", "\ud800", "2024-01-01", "2024-13-01", "1.0"),
    *(date(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), timedelta(1), [1], [], {"a": 1}, b"a", np.float64(0.5)),
    *(np.int64(1), object()),
]


@pytest.mark.parametrize("model", MODELS)
def test_one_row_is_answered_logged_and_refused_as_a_frame_of_it(ws, model):
    names = [*GOOD, "note", "more", "amount", "spend", "status", "sum_1d", "ü"]

    @examples(25, heavy=True, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from(names), st.sampled_from(SCALARS), max_size=3), st.sampled_from([0, 1, 200]))
    def check(changed, hours):
        set_clock(ws, tm.ReplayClock(at(399.9 + hours)))
        row = {**GOOD, **changed}
        assert told(ws, model, [row]) == told(ws, model, (row,))

    check()
    set_clock(ws, tm.ReplayClock(at(399.9)))


@pytest.mark.parametrize("model", ["trees", "array"])
@pytest.mark.parametrize("name", [*GOOD, "other"])
def test_every_value_of_every_field_is_taken_or_refused_alike(ws, model, name):
    for value in SCALARS:
        row = {**GOOD, name: value}
        assert told(ws, model, [row]) == told(ws, model, (row,)), value


@pytest.mark.parametrize("model", MODELS)
def test_a_plain_row_goes_through_no_frame_of_requests(ws, model, monkeypatch):
    def fails(*_, **__):
        raise AssertionError("through frames")

    monkeypatch.setattr(module, "read_rows", fails)
    rows = [GOOD, {**GOOD, "note": None, "weight": None}, {**GOOD, "word": "nobody"}, {**GOOD, "number": None}]
    for row in [*rows, {**GOOD, "weight": 0.0}, {**GOOD, "count": 3.0}, {**GOOD, "other": "x"}]:
        assert len(ws.predict(model, [row])) == 1
    for other in ([GOOD, GOOD], (GOOD,), [{**GOOD, "day": "2024-01-01"}], [{"amount": 1.0}], [{}], []):
        with pytest.raises(AssertionError):
            ws.predict(model, other)
    with pytest.raises(AssertionError):
        ws.predict(model, [GOOD], details=True)


def test_what_is_not_covered_online_is_read_from_history(tmp_path):
    project = tm.Project("late")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return pl.DataFrame({"customer": [n % 3 for n in range(100)], "at": [at(n) for n in range(100)]}).with_columns(
            amount=pl.Series([float(n % 7 - 3) for n in range(100)])
        )

    @project.source(timestamp="at", id="visit")
    def visits() -> pl.DataFrame:
        return orders.function().select("customer", "at").with_columns(visit=pl.int_range(100))

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last": orders["amount"].last(), "sum": orders["amount"].sum(window="1d")}

    @project.label(entity=customer, horizon="1d")
    def buys(orders: tm.Rows) -> tm.Label:
        return (orders["amount"] > 0).last()

    project.training_set("all", spine=visits, label=buys, features=[spending])
    clock = tm.ReplayClock(START + timedelta(hours=90))
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        ws.apply(project)
        ws.ingest()
        data = ws.get_training_data("all")
        with ws.start_run("fit", data=data) as run:
            run.log_model(HistGradientBoostingClassifier(max_iter=3).fit(data.train.X, data.train.y))
        ws.register_model("late", run=run)
        before = told(ws, "late", [{"customer": 1}])
        assert before == told(ws, "late", ({"customer": 1},))
        ws.materialize()
        assert told(ws, "late", [{"customer": 1}]) == before
        set_clock(ws, tm.ReplayClock(START + timedelta(hours=50)))  # before what the online store covers
        assert told(ws, "late", [{"customer": 1}]) == told(ws, "late", ({"customer": 1},))
