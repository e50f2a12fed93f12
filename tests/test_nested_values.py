"""Lists, arrays and structs as features of the newest row: stored, joined, read online and over HTTP with the same bits."""

import math
from datetime import UTC, date, datetime
from decimal import Decimal

import msgspec
import polars as pl
import pytest
from conftest import START, at, shop
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from litestar.testing import TestClient

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.storable import require_answerable
from tinymlops.schema import dtype_name, parse_dtype

NAN = float("nan")
DEEP = pl.Struct({"tags": pl.List(pl.String), "at": pl.Array(pl.Float32, 2), "in": pl.Struct({"n": pl.Int64})})
KINDS = {
    "lists": (pl.List(pl.Float64), [[0.1, None, -0.0], [], None, [1e300]]),
    "lists of lists": (pl.List(pl.List(pl.Int64)), [[[1], [], None], [], None, [[2, None]]]),
    "arrays": (pl.Array(pl.Float32, 2), [[0.1, 2.0], None, [None, -0.0], [1e-45, 3.0]]),
    "arrays of arrays": (pl.Array(pl.Int16, (2, 1)), [[[1], [2]], None, [[3], [None]], [[4], [5]]]),
    "structs": (
        pl.Struct({"street": pl.String, "no": pl.UInt32}),
        [{"street": "Größe 1", "no": 2**32 - 1}, None, {"street": None, "no": None}, {"street": "", "no": 0}],
    ),
    "deep": (
        DEEP,
        [
            {"tags": ["a", None], "at": [1.0, None], "in": {"n": 2**60}},
            None,
            {"tags": None, "at": None, "in": None},
            {"tags": [], "at": [0.5, 0.25], "in": {"n": None}},
        ],
    ),
    "lists of structs": (
        pl.List(pl.Struct({"day": pl.Date, "sum": pl.Decimal(10, 2)})),
        [[{"day": date(2024, 1, 1), "sum": Decimal("1.10")}], [], None, [None, {"day": None, "sum": None}]],
    ),
    "enums and moments": (
        pl.Struct({"kind": pl.Enum(["b", "a"]), "at": pl.Datetime("ns", "UTC"), "raw": pl.List(pl.Binary)}),
        [{"kind": "a", "at": datetime(2024, 1, 1, tzinfo=UTC), "raw": [b"\0\xff"]}, None, None, None],
    ),
}


def rows_of(kind):
    dtype, values = KINDS[kind]
    return pl.DataFrame(
        {
            "customer": ["a", "b", "c", "d"],
            "at": [at(1), at(2), at(3), at(4)],
            "order": [1, 2, 3, 4],
            "amount": pl.Series(values, dtype=dtype),
        }
    )


def project_of(orders, **options):
    def features(rows):
        return {
            "newest": rows["amount"].last(),
            "known": rows["amount"].last(skip_nulls=True),
            "kinds": rows["amount"].n_unique(window="9d"),
            "there": rows["amount"].count(window="9d"),
        }

    project = shop(orders, features=features, **options)
    for name in ("visits_to_orders", "buys"):  # whose label is of numbers
        del project.definitions[name]
    return project


def bits(series):
    """Return what must not change: the type, and each value with its bits."""

    def plain(value):
        if isinstance(value, float):
            return value.hex()
        if isinstance(value, list | pl.Series):
            return [plain(one) for one in value]
        return {name: plain(one) for name, one in value.items()} if isinstance(value, dict) else value

    return series.dtype, [plain(value) for value in series.to_list()]


KEYS = pl.DataFrame({"customer": ["d", "x", "a", "b", "c", None]})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ids", [False, True])
def test_a_nested_value_has_the_same_bits_offline_and_online(tmp_path, kind, ids):
    rows = rows_of(kind)
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(9))) as ws:
        ws.apply(project_of(rows, order_options={"id": "order"} if ids else {}))
        assert ws.ingest("orders")[0].rows_new == 4
        assert ws.ingest("orders")[0].rows_known == 4
        offline = ws.get_historical_features(KEYS.with_columns(timestamp=at(9)), ["spending"])
        expected = pl.concat([rows["amount"][3:], rows["amount"].clear(1), rows["amount"][:3], rows["amount"].clear(1)])
        assert bits(offline["newest"]) == bits(expected)
        unwritten = ws.get_online_features(["spending"], KEYS)
        ws.materialize()
        online = ws.get_online_features(["spending"], KEYS, details=True).to_polars()
        for name in ("newest", "known"):
            assert bits(online[name]) == bits(offline[name]) == bits(unwritten.to_polars()[name])
        assert online["newest_status"].to_list()[:3] == [
            "NULL_VALUE" if expected[0] is None else "PRESENT", "NOT_FOUND", "PRESENT",
        ]  # fmt: skip
        assert online.select("kinds", "there").equals(offline.select("kinds", "there"))
        assert ws.get_online_features(["spending"], KEYS).to_dict()["newest"] == offline["newest"].to_list()
        assert ws.sql("select count(*) as n from orders where amount is null")["n"].to_list() == [
            rows["amount"].null_count()
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_correction_of_a_nested_value_is_one(tmp_path, kind):
    rows = rows_of(kind)
    project = project_of(rows, order_options={"id": "order"})
    with tm.connect(tmp_path / "shop.tm", create=True, clock=tm.ReplayClock(at(9))) as ws:
        ws.apply(project)
        ws.ingest("orders")
        ws.materialize()
        project.frames["orders"] = rows.with_columns(amount=rows["amount"][[3, 2, 1, 0]])
        changed = int(rows["amount"].ne_missing(rows["amount"][[3, 2, 1, 0]]).sum())
        assert ws.ingest("orders")[0].rows_corrected == changed
        online = ws.get_online_features(["spending"], KEYS[2:3]).to_polars()
        assert bits(online["newest"]) == bits(rows["amount"][3:])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "enums and moments"])
@pytest.mark.parametrize("form", ["dicts", "frame"])
def test_a_pushed_nested_value_is_what_was_sent(workspace, kind, form):
    dtype, _ = KINDS[kind]
    rows = rows_of(kind)
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"customer": str, "at": "Datetime[us, UTC]", "order": int, "amount": dtype_name(dtype)}

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"newest": orders["amount"].last()}

    workspace.apply(project)
    workspace.materialize()
    workspace.push("orders", rows if form == "frame" else rows.to_dicts())
    assert workspace.push("orders", rows.to_dicts()).rows_known == 4
    online = workspace.get_online_features(["spending"], rows.select("customer")).to_polars()
    assert bits(online["newest"]) == bits(rows["amount"])
    workspace.compact()
    assert bits(workspace.get_online_features(["spending"], rows.select("customer")).to_polars()["newest"]) == bits(
        rows["amount"]
    )


NUMBERS = st.one_of(st.none(), st.floats(allow_infinity=False))
SINGLES = st.one_of(st.none(), st.floats(width=32, allow_infinity=False))
TEXTS = st.fixed_dictionaries({"t": st.one_of(st.none(), st.text(max_size=2))})
FIELDS = {
    "v": st.one_of(st.none(), st.lists(NUMBERS, max_size=3)),
    "w": st.one_of(st.none(), st.lists(SINGLES, min_size=2, max_size=2)),
    "s": st.one_of(st.none(), TEXTS),
}
VALUES = st.one_of(st.none(), st.fixed_dictionaries(FIELDS))
ANY = pl.Struct({"v": pl.List(pl.Float64), "w": pl.Array(pl.Float32, 2), "s": pl.Struct({"t": pl.String})})


def without_nan(value):
    if isinstance(value, list):
        return [without_nan(one) for one in value]
    if isinstance(value, dict):
        return {name: without_nan(one) for name, one in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.filterwarnings("ignore:.*is not unique")
def test_whatever_is_nested_the_newest_row_is_what_python_says(tmp_path_factory):
    @examples(25, heavy=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(st.sampled_from("ab"), VALUES), min_size=1, max_size=6))
    def check(given_rows):
        frame = pl.DataFrame(
            {
                "customer": [key for key, _ in given_rows],
                "at": [at(number) for number in range(len(given_rows))],
                "amount": pl.Series([value for _, value in given_rows], dtype=ANY),
            }
        )
        with tm.connect(tmp_path_factory.mktemp("ws") / "shop.tm", create=True, clock=tm.ReplayClock(at(99))) as ws:
            ws.apply(project_of(frame))
            ws.ingest("orders")
            keys = pl.DataFrame({"customer": ["a", "b"], "timestamp": [at(50)] * 2})
            offline = ws.get_historical_features(keys, ["spending:newest"])["newest"]
            ws.materialize()
            online = ws.get_online_features(["spending:newest"], keys.drop("timestamp")).to_polars()["newest"]
        newest = dict(given_rows)
        expected = pl.Series([without_nan(newest.get(key)) for key in "ab"], dtype=ANY)
        assert bits(offline) == bits(expected)
        assert bits(online) == bits(expected)

    check()


MIXED = pl.Struct({"x": pl.Float64, "y": pl.List(pl.Float64), "z": pl.String})


def test_nan_within_is_null_and_infinity_is_refused_with_its_row():
    source = SourceSpec(name="orders", via="function", timestamp="at")
    frame = pl.DataFrame(
        {
            "l": pl.Series([[[NAN], None], []], dtype=pl.List(pl.List(pl.Float64))),
            "a": pl.Series([[NAN, 1.0], None], dtype=pl.Array(pl.Float32, 2)),
            "s": pl.Series([{"x": NAN, "y": [NAN], "z": "t"}, None], dtype=MIXED),
        }
    )
    kept = require_answerable(frame, source)
    assert kept.schema == frame.schema
    assert kept.rows() == [([[None], None], [None, 1.0], {"x": None, "y": [None], "z": "t"}), ([], None, None)]
    for column, value in (("l", [[math.inf]]), ("a", [1.0, math.inf]), ("s", {"x": None, "y": [-math.inf], "z": None})):
        bad = pl.concat([frame.select(column), pl.DataFrame({column: [value]}, schema=frame.select(column).schema)])
        with pytest.raises(DataError, match=rf"column '{column}' of source 'orders' is infinite in rows \[2\]"):
            require_answerable(bad, source)


def test_values_go_over_http_as_json_and_come_back(workspace):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "order": int, "vector": pl.Array(pl.Float64, 2), "deep": DEEP}

    @project.feature_view(entity=customer)
    def newest(orders: tm.Rows) -> tm.Features:
        return {name: orders[name].last() for name in ("vector", "deep")}

    workspace.apply(project)
    workspace.materialize()
    sent = {"vector": [0.1, None], "deep": {"tags": ["é", None], "at": [0.5, 1.0], "in": {"n": -(2**62)}}}
    key = {"customer": "a", "order": 1, "at": "2024-01-01T00:00:00Z"}
    with TestClient(tm.create_app(workspace), base_url="http://127.0.0.1:8000") as client:
        assert client.post("/v1/sources/orders/push", json={"rows": [{**key, **sent}]}).status_code == 200
        read = client.post("/v1/features/online", json={"features": ["newest"], "keys": [{"customer": "a"}]})
        (row,) = msgspec.json.decode(read.content)["rows"]
        assert row == {"customer": "a", **sent}
        none = client.post("/v1/features/online", json={"features": ["newest"], "keys": [{"customer": "b"}]})
        assert none.json()["rows"] == [{"customer": "b", "vector": None, "deep": None}]
        for wrong, names in (
            ({"vector": [1.0]}, "lists of 2 values and got 1"),
            ({"vector": 1.0}, "'vector'"),
            ({"deep": {"tgs": []}}, "has no field 'tgs'"),
            ({"deep": {"in": {"n": 1.5}}}, "'deep'"),
            ({"deep": [1]}, "'deep'"),
            ({"deep": {"in": {"n": 2**63}}}, ""),
        ):
            refused = client.post("/v1/sources/orders/push", json={"rows": [{**key, **sent, **wrong}]})
            assert refused.status_code == 422, refused.text
            assert names in refused.json()["error"]
        part = client.post(
            "/v1/sources/orders/push", json={"rows": [{**key, **sent, "order": 2, "deep": {"tags": []}}]}
        )
        assert part.status_code == 200
        again = client.post("/v1/features/online", json={"features": ["newest:deep"], "keys": [{"customer": "a"}]})
        assert again.json()["rows"][0]["deep"] == {"tags": [], "at": None, "in": None}


def test_types_of_fields_grow_where_every_value_stays_what_it_is(workspace):
    def frame(values, dtype):
        return pl.DataFrame(
            {"customer": ["a"], "at": [START], "order": [len(values)], "amount": pl.Series(values[:1], dtype=dtype)}
        )

    small = pl.Struct({"n": pl.Int32, "v": pl.Array(pl.Float32, 1)})
    large = pl.Struct({"n": pl.Int64, "v": pl.Array(pl.Float64, 1)})
    project = project_of(frame([{"n": 1, "v": [0.5]}], small), order_options={"id": "order"})
    workspace.apply(project)
    workspace.ingest("orders")
    project.frames["orders"] = frame([{"n": 2**40, "v": [0.1]}, None], large).with_columns(at=at(1))
    workspace.ingest("orders")
    spine = pl.DataFrame({"customer": ["a", "a"], "timestamp": [at(0), at(2)]})
    got = workspace.get_historical_features(spine, ["spending:newest"])["newest"]
    assert got.dtype == large
    assert got.to_list() == [{"n": 1, "v": [0.5]}, {"n": 2**40, "v": [0.1]}]
    project.frames["orders"] = frame([{"n": 1}, None, None], pl.Struct({"n": pl.Int64})).with_columns(at=at(2))
    with pytest.raises(DataError, match="amount"):
        workspace.ingest("orders")


@pytest.mark.parametrize(
    "dtype",
    [
        *(dtype for dtype, _ in KINDS.values()),
        pl.Struct({"a], [('b'": pl.Int8, "": pl.List(pl.Enum(["],", "'"]))}),
        pl.Array(pl.Struct({"x": pl.Duration("ms")}), 3),
    ],
)
def test_a_nested_type_survives_its_name(dtype):
    assert parse_dtype(dtype_name(dtype)) == dtype


def test_what_a_model_or_a_key_cannot_be_is_refused(workspace):
    project = project_of(rows_of("structs"))
    workspace.apply(project)
    workspace.ingest("orders")
    with pytest.raises(DataError, match="customer"):
        workspace.get_online_features(["spending"], pl.DataFrame({"customer": [{"a": 1}]}))

    bad = shop(rows_of("structs"), features=lambda rows: {"x": rows["amount"].sum(window="1d")})
    for name in ("visits_to_orders", "buys"):
        del bad.definitions[name]
    with pytest.raises(DefinitionError, match="needs numbers and got Struct"):
        workspace.apply(bad)
