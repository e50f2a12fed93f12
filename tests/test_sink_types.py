"""Every kind of column in a table of a sink: written, read back, and refused with its row where there is no room for it."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tinymlops.connectors.addresses import Address
from tinymlops.connectors.opening import writing_to
from tinymlops.connectors.writing import Column, Target
from tinymlops.errors import DataError, DefinitionError
from tinymlops.secrets import Secret

NAN, INFINITY = float("nan"), float("inf")
VALUES = {
    "boolean": pl.Series([True, False, None]),
    "int8": pl.Series([-128, 127, None], dtype=pl.Int8),
    "int16": pl.Series([-(2**15), 2**15 - 1, None], dtype=pl.Int16),
    "int32": pl.Series([-(2**31), 2**31 - 1, None], dtype=pl.Int32),
    "int64": pl.Series([-(2**63), 2**63 - 1, None], dtype=pl.Int64),
    "uint8": pl.Series([0, 255, None], dtype=pl.UInt8),
    "uint16": pl.Series([0, 2**16 - 1, None], dtype=pl.UInt16),
    "uint32": pl.Series([0, 2**32 - 1, None], dtype=pl.UInt32),
    "uint64": pl.Series([0, 2**64 - 1, None], dtype=pl.UInt64),
    "float32": pl.Series([1.5, INFINITY, None], dtype=pl.Float32),
    "float64": pl.Series([0.1, -INFINITY, None]),
    "decimal": pl.Series(
        [Decimal("12.30"), Decimal("-99999999999999999999999999999999.123456"), None], dtype=pl.Decimal(38, 6)
    ),
    "text": pl.Series(['Zoë\'s "日本" \\ \n\t', "", None]),
    "enum": pl.Series(["low", "high", None], dtype=pl.Enum(["low", "high"])),
    "categorical": pl.Series(["a", "b", None], dtype=pl.Categorical),
    "binary": pl.Series([b"\x00\xff", b"", None]),
    "date": pl.Series([date(1, 1, 1), date(9999, 12, 31), None]),
    "naive": pl.Series([datetime(1900, 1, 1), datetime(2262, 1, 1, 1, 2, 3, 4), None]),
    "utc": pl.Series([datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC), None]),
    "vienna": pl.Series(
        [datetime(2024, 10, 27, 0, 30, tzinfo=UTC), datetime(2024, 10, 27, 1, 30, tzinfo=UTC), None]
    ).dt.convert_time_zone("Europe/Vienna"),
    "nanoseconds": pl.Series([datetime(2024, 1, 1), datetime(2024, 1, 2), None], dtype=pl.Datetime("ns")),
    "time": pl.Series([time(0), time(23, 59, 59, 999_999), None]),
    "duration": pl.Series([timedelta(days=-40), timedelta(microseconds=1), None]),
    "floats": pl.Series([[1.5, None], [], None], dtype=pl.List(pl.Float64)),
    "embedding": pl.Series([[1.0, 2.0], [0.1, -0.5], None], dtype=pl.Array(pl.Float32, 2)),
    "integers": pl.Series([[2**63 - 1], [None, -1], None], dtype=pl.List(pl.Int64)),
    "large": pl.Series([[2**64 - 1], [0], None], dtype=pl.List(pl.UInt64)),
    "texts": pl.Series([["a,b", '"{}', None], [""], None], dtype=pl.List(pl.String)),
}
ODD = {"nan": pl.Series([NAN]), "nan32": pl.Series([NAN], dtype=pl.Float32)}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """An address, and a function that asks the database."""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres")
        server.sql("drop schema if exists types cascade", "create schema types")
        yield Address("shop", "postgresql", "here", Secret(server.url("owner", ""))), server.sql
        return
    path = tmp_path / "types.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma user_version = 1")
        yield (
            Address("shop", "sqlite", str(path), Secret("sqlite:"), Path(path)),
            lambda sql: connection.execute(sql).fetchall(),
        )


def write(address, frame, *, keys=("id",), create=True, table="t", is_json=()):
    place = ("types", table) if address.kind == "postgresql" else (table,)
    columns = tuple(Column(name, dtype, is_json=name in is_json) for name, dtype in frame.schema.items())
    target = Target("s", "me", place, columns, keys, "rows", create)
    with writing_to(address, target, timeout=60_000_000) as writing:
        before = writing.position()
        with writing.batch(before) as batch:
            batch.stage(frame)
            changed = batch.upsert()
            batch.note(before.position + 1, "", frame.height)
    return changed


def expected(kind, dtype, value):
    """Return what the database gives back for a value, from the words of the guide."""
    if value is None:
        return None
    if isinstance(dtype, pl.List | pl.Array):
        return list(value) if kind == "postgresql" else json.dumps(list(value), ensure_ascii=False)
    if kind == "postgresql":
        return value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo is not None else value
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00:00")
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.isoformat("microseconds")
    if isinstance(value, Decimal) or dtype == pl.UInt64:
        return str(value)
    return value


def seen(kind, dtype, value):
    """Return a value that the driver gave as `expected` writes it: exact numbers come as text, intervals in parts."""
    if kind == "sqlite" or value is None:
        return value
    if isinstance(dtype, pl.Decimal):
        return Decimal(value)
    if dtype == pl.UInt64:
        return int(value)
    if isinstance(dtype, pl.Duration):
        return value if isinstance(value, timedelta) else timedelta(days=value[1], microseconds=value[2] // 1000)
    return value


@pytest.mark.parametrize("name", VALUES)
def test_every_kind_of_column_comes_back_as_it_was(database, name):
    address, ask = database
    values = VALUES[name]
    frame = pl.DataFrame({"id": [1, 2, 3], "value": values})
    assert write(address, frame) == 3
    assert write(address, frame) == 0
    table = "types.t" if address.kind == "postgresql" else "t"
    shown = "value" if name != "large" or address.kind == "sqlite" else "value::text[] as value"
    found = [seen(address.kind, values.dtype, value) for (value,) in ask(f"select {shown} from {table} order by id")]
    wanted = [expected(address.kind, values.dtype, value) for value in values.to_list()]
    if name == "large" and address.kind == "postgresql":
        found = [None if one is None else [int(item) for item in one] for one in found]
    if name == "float32":
        assert [one if one is None else pytest.approx(one) for one in wanted] == found
    else:
        assert found == wanted
    # another value of each is a change, and null is one too
    assert write(address, frame.with_columns(pl.col("value").reverse())) == 2


@pytest.mark.parametrize("name", ["int64", "uint64", "text", "binary", "date", "utc", "boolean", "decimal"])
def test_what_a_key_may_be_is_known_again(database, name):
    address, _ = database
    frame = pl.DataFrame({"id": VALUES[name], "value": [1, 2, 3]}).drop_nulls()
    assert write(address, frame) == 2
    assert write(address, frame.with_columns(value=pl.Series([1, 5]))) == 1


@pytest.mark.parametrize("name", ODD)
def test_postgresql_takes_nan_and_sqlite_refuses_it_with_its_row(database, name):
    address, ask = database
    frame = pl.DataFrame({"id": ["x"], "value": ODD[name]})
    if address.kind == "postgresql":
        assert write(address, frame) == 1
        assert write(address, frame) == 0
        assert ask("select value::text from types.t") == [("NaN",)]
        return
    with pytest.raises(
        DataError, match="column 'value' holds NaN, of which SQLite makes a null, in the row with id='x'"
    ):
        write(address, frame)
    assert ask("select count(*) from t") == [(0,)]


def test_a_text_with_a_zero_character_goes_to_sqlite_and_is_refused_for_postgresql(database):
    address, ask = database
    for values in (["a", "b\0c"], [["a"], ["b\0c"]]):
        frame = pl.DataFrame({"id": [1, 2], "value": values})
        if address.kind == "sqlite" and isinstance(values[0], str):
            assert write(address, frame) == 2
            assert ask("select value from t where id = 2") == [("b\0c",)]
        elif address.kind == "postgresql":
            with pytest.raises(
                DataError, match="a character of number 0, which PostgreSQL does not store, in the row with id=2"
            ):
                write(address, frame, table="a" if isinstance(values[0], str) else "b")


def test_json_is_json_in_postgresql_and_is_not_written_again_where_it_is_the_same(database):
    address, ask = database
    frame = pl.DataFrame({"id": [1], "value": ['{"b": [1, null], "a": "\\u0000"}']})
    assert write(address, frame, is_json=("value",)) == 1
    assert write(address, frame, is_json=("value",)) == 0
    shown, table = ("value::text", "types.t") if address.kind == "postgresql" else ("value", "t")
    assert ask(f"select {shown} from {table}") == [(frame["value"][0],)]


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([{"a": 1}]),
        pl.Series([[[1.0]]]),
        pl.Series([None]),
        pl.Series([[b"x"]]),
    ],
    ids=["struct", "lists of lists", "no type", "list of bytes"],
)
def test_what_has_no_type_there_is_refused_by_name(database, values):
    address, _ = database
    if address.kind == "postgresql" and values.dtype == pl.List(pl.Binary):
        assert write(address, pl.DataFrame({"id": [1], "value": values})) == 1
        return
    with pytest.raises(DataError, match="column 'value' has"):
        write(address, pl.DataFrame({"id": [1], "value": values}))


FRAME = pl.DataFrame({"id": [1], "value": ["x"]})


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("id bigint primary key", "has no column 'value'"),
        ("id bigint primary key, value integer", "column 'value' of .* is of type (integer|INTEGER)"),
        ("id bigint, value text", 'has no primary key or unique index on "id"'),
        ("id bigint primary key, value text, more text not null", "needs a value for 'more'"),
    ],
)
def test_a_table_that_is_otherwise_is_refused_before_a_row_is_written(database, made, said):
    address, ask = database
    table = "types.t" if address.kind == "postgresql" else "t"
    ask(f"create table {table} ({made})")
    with pytest.raises(DefinitionError, match=said):
        write(address, FRAME)
    assert ask(f"select count(*) from {table}") == [(0,)]


@pytest.mark.parametrize(
    "made",
    [
        "id bigint, value text, primary key (id)",
        "id bigint not null unique, value varchar",
        "value text, note text, at text default 'now' not null, id bigint primary key",
    ],
)
def test_a_table_of_ones_own_that_fits_is_written_to(database, made):
    address, ask = database
    table = "types.t" if address.kind == "postgresql" else "t"
    ask(f"create table {table} ({made})")
    assert write(address, FRAME, create=False) == 1
    assert ask(f"select id, value from {table}") == [(1, "x")]


def test_a_table_that_is_not_there_is_made_only_if_that_is_said(database):
    address, _ = database
    with pytest.raises(DefinitionError, match="has no table '.*t', which sink 's' writes to") as raised:
        write(address, FRAME, create=False)
    assert "create=True" in raised.value.hint
    assert "create table" in raised.value.hint
