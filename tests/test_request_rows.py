"""Rows of a request: each is checked as if it came alone, in every interface; odd values are refused by row, never crash."""

import json
import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import at
from litestar.testing import TestClient
from sklearn.dummy import DummyRegressor
from sklearn.tree import DecisionTreeRegressor

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops_cli.rows import read_file

FIELDS = {
    "f64": (pl.Float64(), 1.5),
    "f32": (pl.Float32(), 1.5),
    "i8": (pl.Int8(), 7),
    "i64": (pl.Int64(), 7),
    "u64": (pl.UInt64(), 7),
    "money": (pl.Decimal(10, 2), Decimal("1.50")),
    "ns": (pl.Datetime("ns", "UTC"), datetime(2024, 1, 1, tzinfo=UTC)),
    "us": (pl.Datetime("us", "Europe/Vienna"), datetime(2024, 1, 1, tzinfo=UTC)),
    "ms": (pl.Datetime("ms", "UTC"), datetime(2024, 1, 1, tzinfo=UTC)),
    "local": (pl.Datetime("ns"), datetime(2024, 1, 1)),
    "day": (pl.Date(), date(2024, 1, 1)),
    "clock": (pl.Time(), time(12)),
    "took": (pl.Duration("ms"), timedelta(seconds=1)),
    "flag": (pl.Boolean(), True),
    "text": (pl.String(), "a"),
    "kind": (pl.Enum(["a", "b"]), "a"),
    "parts": (pl.List(pl.Int64()), [1, 2]),
}
GOOD = {"customer": "a", **dict.fromkeys(FIELDS), "f64": 2.0}


def every(
    spending: tm.Inputs,
    f64: pl.Expr,
    f32: pl.Expr,
    i8: pl.Expr,
    i64: pl.Expr,
    u64: pl.Expr,
    money: pl.Expr,
    ns: pl.Expr,
    us: pl.Expr,
    ms: pl.Expr,
    local: pl.Expr,
    day: pl.Expr,
    clock: pl.Expr,
    took: pl.Expr,
    flag: pl.Expr,
    text: pl.Expr,
    kind: pl.Expr,
    parts: pl.Expr,
) -> dict[str, pl.Expr]:
    """Use every field: the sum of those that are there."""
    fields = [f32, i8, i64, u64, money, ns, us, ms, local, day, clock, took, flag, text, kind, parts]
    return {"left": f64 - spending["amount"], "known": pl.sum_horizontal(field.is_not_null() for field in fields)}


@pytest.fixture(scope="module")
def ws(tmp_path_factory):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    number = pl.int_range(200, eager=True)

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return pl.DataFrame(
            {"customer": pl.Series(["a", "b"]).gather((number % 2).cast(pl.UInt32)), "amount": (number % 2) * 10.0}
        ).with_columns(at=pl.Series([at(hour) for hour in range(200)]))

    @project.source(timestamp="at")
    def visits() -> pl.DataFrame:
        fields = {name: pl.Series(name, [value] * 50, dtype=dtype) for name, (dtype, value) in FIELDS.items()}
        fields["f64"] = (pl.int_range(50, eager=True) % 7).cast(pl.Float64)
        return pl.DataFrame({"customer": ["a", "b"] * 25, "at": [at(20 + hour) for hour in range(50)], **fields})

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"amount": orders["amount"].last()}

    @project.label(entity=customer, horizon="1d")
    def total(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("totals", spine=visits, label=total, features=[spending, project.on_demand(every)])
    path = tmp_path_factory.mktemp("requests") / "shop.tm"
    with tm.connect(path, create=True, clock=tm.ReplayClock(at(200))) as workspace:
        workspace.apply(project)
        workspace.ingest()
        workspace.materialize()
        data = workspace.get_training_data("totals")
        with workspace.start_run("fit", data=data) as run:
            run.log_model(DecisionTreeRegressor(random_state=0).fit(data.train.X, data.train.y))
            run.log_model(DummyRegressor(strategy="constant", constant=1.0).fit(data.train.X, data.train.y), "constant")
        workspace.register_model("total", run=run)
        workspace.register_model("constant", run=run, logged_name="constant")
        yield workspace


@pytest.fixture(scope="module")
def client(ws):
    with TestClient(tm.create_app(ws), base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client:
        yield client


# Presence


def without(name):
    return {column: value for column, value in GOOD.items() if column != name}


FULL = {"amount": 1.0, "left": 2.0, "known": 3}
LACKING = {
    "a key": ([GOOD, GOOD, without("customer")], "row 2: there is no column 'customer', an entity key"),
    "a misspelt key": ([GOOD, {**without("customer"), "custmer": "a"}], "row 1: there is no column 'customer'"),
    "a request field": ([GOOD, without("money"), GOOD], "row 1: there is no column 'money', a request field"),
    "a field of the first row": ([without("f64"), GOOD], "row 0: there is no column 'f64', a request field"),
    "everything": ([GOOD, {}], "row 1: there is no column 'customer'"),
    "a feature": ([FULL, {"amount": 1.0, "left": 2.0}], "row 1: there is no column 'known', which model total:1 takes"),
    "a feature beside keys": ([GOOD, {**GOOD, "amount": 1.0}], "row 1: column 'amount' is a feature"),
    "keys after features": ([FULL, GOOD], "row 1 holds entity keys and request fields, and row 0 holds full features"),
    "features after keys": ([GOOD, FULL], "row 1 holds full features, and row 0 holds entity keys"),
}


@pytest.mark.parametrize("case", LACKING)
@pytest.mark.parametrize("door", ["predict", "batch", "http", "json lines"])
def test_a_row_that_lacks_a_column_is_refused_as_it_is_alone(ws, client, tmp_path, door, case):
    rows, message = LACKING[case]
    if door == "http":
        response = client.post("/v1/models/total/predict", json={"rows": rows})
        assert response.status_code == 422
        assert message in response.json()["error"]
        return
    with pytest.raises(DataError, match=message):
        if door == "predict":
            ws.predict("total", rows)
        elif door == "batch":
            ws.predict_batch("total", rows, tmp_path / "out.parquet")
        else:
            ws.predict("total", [json.loads(json.dumps(row)) for row in rows])
    assert list(tmp_path.iterdir()) == []


def test_a_loaded_model_refuses_a_row_that_lacks_a_feature(ws):
    model = ws.load_model("total")
    with pytest.raises(DataError, match="row 1: there is no column 'known', which model total:1 takes"):
        model.predict([FULL, {"amount": 1.0, "left": 2.0}])
    assert model.predict([FULL, FULL]).height == 2


def test_a_null_that_is_said_and_a_column_of_the_callers_own_may_differ_from_row_to_row(ws):
    rows = [GOOD, {**GOOD, "note": "mine"}, {**GOOD, "other": 7, "customer": None}]
    alone = [ws.predict("total", [row])[0]["prediction"] for row in rows]
    assert [row["prediction"] for row in ws.predict("total", rows)] == alone
    assert len(ws.predict("total", [FULL, {**FULL, "note": "mine"}])) == 2


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow", "dict"])
def test_a_table_has_every_column_in_every_row(ws, kind):
    frame = pl.DataFrame([GOOD, {**GOOD, "customer": None}], schema_overrides={"customer": pl.String})
    table = {
        "polars": lambda: frame,
        "pandas": lambda: pd.DataFrame([GOOD, {**GOOD, "customer": None}]),
        "arrow": lambda: pa.Table.from_pylist([GOOD, {**GOOD, "customer": None}]),
        "dict": lambda: frame.to_dict(as_series=False),
    }[kind]()
    assert [row["prediction"] for row in ws.predict("total", table)] == [
        row["prediction"] for row in ws.predict("total", frame)
    ]


@pytest.mark.parametrize(
    ("features", "rows", "message"),
    [
        (["spending"], [{"customer": "a"}, {"custmer": "a"}], "row 1 has no column 'customer', the key of 'spending'"),
        (["spending"], [{}, {"customer": "a"}], "row 0 has no column 'customer'"),
        (["spending", "every"], [GOOD, GOOD, without("i8")], "row 2 has no column 'i8', a request field"),
    ],
)
def test_an_online_read_refuses_a_row_that_lacks_a_key_or_request_field(ws, client, features, rows, message):
    with pytest.raises(DataError, match=message):
        ws.get_online_features(features, rows)
    response = client.post("/v1/features/online", json={"features": features, "keys": rows})
    assert response.status_code == 422
    assert message in response.json()["error"]


def test_history_refuses_a_spine_row_that_lacks_a_key(ws):
    spine = [{"customer": "a", "timestamp": at(50)}, {"custmer": "a", "timestamp": at(50), "note": "mine"}]
    with pytest.raises(DataError, match="row 1 has no column 'customer', the key of 'spending'"):
        ws.get_historical_features(spine, ["spending"])
    found = ws.get_historical_features([spine[0], {**spine[0], "note": "mine"}], ["spending"])
    assert found["amount"].to_list() == [0.0, 0.0]


def test_an_online_read_keeps_a_column_of_the_callers_own(ws):
    found = ws.get_online_features(["spending"], [{"customer": "a"}, {"customer": "b", "note": "mine"}]).to_dict()
    assert found == {"customer": ["a", "b"], "note": [None, "mine"], "amount": [0.0, 10.0]}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("customer,note,f64\na,x,1.0\nb,x\na,x,2.0\n", "line 3: 2 fields, and the header has 3"),
        ('customer,note,f64\n"a","x\ny",1.0\n\na,x,2.0\n', "line 4: 0 fields"),
    ],
)
def test_a_line_of_a_csv_file_that_lacks_a_field_is_refused_with_its_number(ws, tmp_path, text, line):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(DataError, match=line):
        ws.predict_batch("total", tmp_path / "rows.csv", tmp_path / "out.parquet")
    with pytest.raises(DataError, match=line):
        read_file(tmp_path / "rows.csv")
    assert not (tmp_path / "out.parquet").exists()


def test_an_empty_field_at_the_end_of_a_line_is_a_null(ws, tmp_path):
    (tmp_path / "rows.csv").write_text("note,customer\nx,a\ny,\n")
    assert read_file(tmp_path / "rows.csv").rows() == [("x", "a"), ("y", None)]
    (tmp_path / "rows.csv").write_text("left,known,amount\n1.0,3,2.0\n1.0,3,\n")
    assert ws.predict_batch("total", tmp_path / "rows.csv", tmp_path / "out.parquet").rows == 2


# Values


ODD = [
    *(2**63 - 1, 2**63 - 512, 2**63 - 513, -(2**63), 2**53 + 1, 2**53, 2**24 + 1, 128, -1, 0),
    *(0.5, 1e300, 1e-400, -0.0, 3.4e38, 1e39, 1e18, 9.3e18, True),
    *("", "a", "nan", "NaN", "-Infinity", "1e-400", "1e40", "0x10", "٣", "a\u0000b", "\ud800"),
    *("2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00.123456789Z"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59Z", "0001-01-01", "9999-12-31"),
    *("1600-01-01T00:00:00Z", "2400-01-01T00:00:00Z", "1600-01-01T00:00:00", "2400-01-01T00:00:00"),
    *("12:00:00", "24:00", "P1D", "2024-02-30", "20240101", "2024-W01-1", "2024-01-01T00:00:60Z"),
    *([], [1], [1.5], ["a"], [None], [2**53 + 1, 0.5], [True]),
]


@pytest.mark.parametrize("name", FIELDS)
def test_an_odd_value_in_json_is_answered_or_refused_by_field_and_row_and_never_a_failure_of_the_server(client, name):
    for value in ODD:
        for rows in ([{**GOOD, name: value}], [GOOD, {**GOOD, name: value}]):
            try:
                body = json.dumps({"rows": rows}).encode()
            except UnicodeEncodeError:
                continue
            response = client.post(
                "/v1/models/constant/predict", content=body, headers={"content-type": "application/json"}
            )
            assert response.status_code in (200, 400, 422), (value, response.text)
            if response.status_code == 422 and f"column '{name}' is" in response.json()["error"]:
                assert f"in row {len(rows) - 1}" in response.json()["error"]


PYTHON = [
    *(
        math.nan,
        math.inf,
        -math.inf,
        2**64,
        -(2**127),
        Decimal("1e-30"),
        Decimal("1e30"),
        Decimal("1.005"),
        b"\xff",
        datetime.min,
        datetime.max,
        datetime.max.replace(tzinfo=UTC),
    ),
    *(
        date.min,
        date.max,
        time.max,
        timedelta.max,
        timedelta.min,
        timedelta(microseconds=1),
        object(),
        {"a": 1},
        (1, 2),
    ),
    *(complex(1, 2), pd.NaT, pd.Timestamp("2024-01-01", tz="UTC"), [[1]], [object()]),
]


@pytest.mark.parametrize("name", FIELDS)
def test_an_odd_value_of_python_is_answered_or_refused(ws, name):
    for value in PYTHON:
        for rows in ([{**GOOD, name: value}], [GOOD, {**GOOD, name: value}]):
            try:
                answers = ws.predict("constant", rows)
            except DataError as error:
                assert error.hint is not None
            else:
                assert [row["prediction"] for row in answers] == [1.0] * len(rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("f64", 2**53 + 1), ("f64", 2**63 - 1), ("f32", 2**24 + 1), ("i8", 128), ("i64", 1.5), ("u64", -1)),
        *(("money", 1.005), ("ns", "2400-01-01T00:00:00Z"), ("ns", "1600-01-01T00:00:00Z")),
        *(("ms", "2024-01-01T00:00:00.000001Z"), ("us", "0001-01-01T00:00:00+14:00"), ("local", "2400-01-01T00:00:00")),
    ],
)
def test_a_value_that_the_fields_type_cannot_say_is_named_with_its_row(ws, name, value):
    with pytest.raises(DataError, match=rf"column '{name}' (is .* in training: .*|holds .*) in row 1"):
        ws.predict("total", [{**GOOD, name: None}, {**GOOD, name: value}])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("f64", 2**63 - 1024),
        ("f64", 2**53),
        ("f32", 2**24),
        ("i64", 2.0**62),
        ("u64", 2**63 - 1),
        ("ns", "2262-01-01T00:00:00Z"),
    ],
)
def test_a_large_value_that_its_type_can_say_is_taken(ws, name, value):
    assert len(ws.predict("constant", [{**GOOD, name: None}, {**GOOD, name: value}])) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("amount", 2**53 + 1),
        ("left", 2**63 - 1),
        ("known", 2**63),
        ("known", 1.5),
        ("known", math.inf),
        ("amount", "1"),
    ],
)
def test_a_feature_that_its_type_cannot_say_is_named_with_its_row(ws, name, value):
    rows = {"amount": [1.0, 1.0], "left": [1.0, 1.0], "known": [1, 1]}
    other = {str: "0"}.get(type(value), type(value)(0))
    with pytest.raises(DataError, match=rf"column '{name}' is .* and the model takes .* in row"):
        ws.predict("total", {**rows, name: [other, value]})


def test_a_later_chunk_of_a_batch_says_its_row_of_the_whole(ws, tmp_path, monkeypatch):
    monkeypatch.setattr("tinymlops.serving.batch._CHUNK", 2)
    frame = pl.DataFrame([GOOD] * 5, infer_schema_length=None).with_columns(
        customer=pl.Series(["a"] * 5), i8=pl.Series([1, 1, 1, 1, 300])
    )
    with pytest.raises(DataError, match="column 'i8' is Int64 and was Int8 in training: 300 in row 4"):
        ws.predict_batch("total", frame, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []
