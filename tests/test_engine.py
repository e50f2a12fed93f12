"""DuckDB over frames and files: one SELECT, no way out of its directories."""

from __future__ import annotations

import os
from datetime import UTC

import polars as pl
import pytest

from tinymlops.errors import AccessError, DataError, DefinitionError, TinyMLOpsError
from tinymlops.stores.engine import query, relation_columns


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "project"
    (root / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    pl.DataFrame({"a": [1, 2]}).write_parquet(root / "a.parquet")
    pl.DataFrame({"a": [3]}).write_csv(root / "data" / "it's.csv")
    pl.DataFrame({"a": [9]}).write_parquet(tmp_path / "elsewhere" / "o.parquet")
    (root / "link.parquet").symlink_to(tmp_path / "elsewhere" / "o.parquet")
    (root / "passwd").symlink_to("/etc/passwd")
    return root


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("select a from 'a.parquet'", [1, 2]),
        ('select a from "a.parquet"', [1, 2]),
        ("from read_parquet('a.parquet');", [1, 2]),
        ("from read_parquet($$a.parquet$$) -- the end", [1, 2]),
        ("select a from read_csv('data/it''s.csv', header = true)", [3]),
        ("select a from 'data/it''s.csv'", [3]),
        ("from read_parquet(['a.parquet', 'a.parquet'])", [1, 2, 1, 2]),
        ("with ä as (select a, 'ü' from 'a.parquet') select max(a) from ä", [2]),
        ("from read_csv('data/*.csv')", [3]),
        ("select count(*) from read_parquet('a.parquet') x join 'a.parquet' y using (a) where 'a.parquet' = 'a'", [0]),
    ],
)
def test_relative_names_mean_the_root_wherever_the_process_stands(root, tmp_path, monkeypatch, sql, values):
    for place in (tmp_path, root / "data"):
        monkeypatch.chdir(place)
        assert query(sql, root=root).to_series().to_list() == values


def test_frames_are_tables(root):
    frame = pl.DataFrame({"a": [1, 2], "t": pl.Series([0, 1]).cast(pl.Datetime("us", "UTC"))})
    tables = {"left": frame, "x/y.parquet": frame.to_arrow()}
    found = query('select l.* from "left" l join "x/y.parquet" using (a) order by a', tables=tables, root=root)
    assert found.rows() == frame.rows()


def test_python_variables_are_not_seen(root):
    secret = pl.DataFrame({"a": [1]})
    with pytest.raises(DefinitionError, match="secret does not exist"):
        query("from secret", root=root)
    assert secret.height == 1


@pytest.mark.parametrize(
    "sql",
    [
        "from read_text('/etc/passwd')",
        "from read_text('passwd')",
        "from 'link.parquet'",
        "from read_parquet('../elsewhere/o.parquet')",
        "from read_parquet('data/../../elsewhere/o.parquet')",
        "from glob('/etc/*')",
        "from glob('../elsewhere/*')",
        "from sniff_csv('/etc/passwd')",
        "from read_csv('file:///etc/passwd')",
        "from read_csv('https://example.com/x.csv')",
        "from read_parquet('s3://bucket/x.parquet')",
        "from read_text('/proc/self/environ')",
        "from read_text('/etc/' || 'passwd')",
        "from read_text(['a.parquet', '/etc/passwd'])",
        "from query('from read_text(''/etc/passwd'')')",
        "from duckdb_secrets()",
    ],
)
def test_nothing_outside_is_read(root, sql):
    with pytest.raises(AccessError, match="SQL may not do this"):
        query(sql, root=root)


def test_a_relative_name_is_never_tried_from_where_the_process_stands(root, monkeypatch):
    monkeypatch.chdir("/etc")
    with pytest.raises(TinyMLOpsError, match="passwd"):
        query("from read_text('passwd')", root=root)
    # DuckDB takes the name as a pattern: no file of the root matches, and the one where we stand is not looked at.
    assert query("from read_text('hostname')", root=root).height == 0


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("attach 'x.db'", "ATTACH"),
        ("copy (select 1) to 'x.csv'", "COPY"),
        ("install httpfs", "LOAD"),
        ("load httpfs", "LOAD"),
        ("set threads = 1", "SET"),
        ("pragma version", "PRAGMA"),
        ("create table t (a int)", "CREATE"),
        ("insert into t values (1)", "INSERT"),
        ("export database 'x'", "EXPORT"),
        ("call enable_logging()", "CALL"),
        ("explain select 1", "EXPLAIN"),
        ("pivot t on a using sum(a)", "PIVOT"),
        ("select 1; select 2", "2 statements"),
        ("-- nothing", "0 statements"),
        ("with x as (insert into t values (1) returning *) from x", "writes"),
        ("selec 1", "syntax error"),
    ],
)
def test_anything_but_one_select_is_refused(root, sql, kind):
    with pytest.raises(DefinitionError, match=kind):
        query(sql, tables={"t": pl.DataFrame({"a": [1]})}, root=root)
    assert sorted(os.listdir(root)) == ["a.parquet", "data", "link.parquet", "passwd"]


@pytest.mark.parametrize("sql", ["select getenv('HOME')", "from enable_logging(storage = 'file')"])
def test_no_function_reaches_the_machine(root, sql):
    with pytest.raises(DefinitionError):
        query(sql, root=root)


def test_data_dirs_are_read_too(root, tmp_path):
    assert query("from '../elsewhere/o.parquet'", root=root, data_dirs=[tmp_path / "elsewhere"]).item() == 9
    assert query("from 'link.parquet'", root=root, data_dirs=[tmp_path / "elsewhere"]).item() == 9


def test_a_mistyped_name_keeps_the_near_match(root):
    tables = {"weather": pl.DataFrame({"visib": [1]})}
    with pytest.raises(DefinitionError, match='Did you mean "weather"'):
        query("from wheather", tables=tables, root=root)
    with pytest.raises(DefinitionError, match='Candidate bindings: "visib"'):
        query("select visibb from weather", tables=tables, root=root)


def test_what_the_data_does_not_allow_is_a_data_error(root):
    with pytest.raises(DataError, match="Could not convert string 'x'"):
        query("select v::int from t", tables={"t": pl.DataFrame({"v": ["x"]})}, root=root)
    with pytest.raises(DataError, match=r"column 'age' of the SQL holds intervals of months.* in rows \[1\]"):
        query("select unnest([interval 1 day, interval 1 month]) as age", root=root)
    with pytest.raises(DataError, match=r"nope\.parquet.*\n.*found in"):
        query("from 'nope.parquet'", root=root)


def value_of(sql, root):
    frame = query(f"select {sql} as value", root=root)
    return frame["value"].dtype, frame["value"].to_physical().to_list()


def test_intervals_are_durations(root):
    assert value_of("interval '1 day 2 hours 3.000001 seconds'", root) == (pl.Duration("us"), [93_603_000_001])
    assert value_of("null::interval", root) == (pl.Duration("us"), [None])
    rows = pl.DataFrame({"lasted": pl.Series([1, None, -5] * 100_000).cast(pl.Duration("us"))})
    got = query("select * from calls", tables={"calls": rows}, root=root)
    assert got["lasted"].to_list() == rows["lasted"].to_list()
    assert query("select * from calls limit 0", tables={"calls": rows}, root=root).schema == rows.schema


def test_infinite_times_of_seconds_stay_infinite(root):
    seconds = pl.Datetime("ms")
    assert value_of("unnest(['infinity', '-infinity', '1970-01-01 00:00:01', null]::timestamp_s[])", root) == (
        seconds,
        [2**63 - 1, -(2**63) + 1, 1000, None],
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("170141183460469231731687303715884105727::hugeint", r"holds integers of more than 38 digits in rows \[0\]"),
        ("1::uhugeint", "is UHUGEINT, which cannot be read exactly"),
        ("timetz '01:00:00+02'", "is TIME WITH TIME ZONE, which cannot be read exactly"),
        ("[interval 1 day]", "holds intervals within list"),
        ("{'a': interval 1 day}", "holds intervals within struct"),
        ("union_value(a := 1)", ".*, which Polars does not have"),
    ],
)
def test_what_polars_cannot_hold_is_refused_by_its_column(root, value, message):
    with pytest.raises(DataError, match=f"column 'value' of the SQL {message}"):
        query(f"select 1 as other, {value} as value", root=root)


def test_times_are_utc(root):
    found = query("select '2013-01-01 00:00:00'::timestamptz as t", root=root)
    assert found.schema["t"] == pl.Datetime("us", "UTC")
    assert found.item().tzinfo.utcoffset(found.item()) == UTC.utcoffset(None)


def test_columns_are_known_without_running_it(root):
    columns = relation_columns("select a, a / 0 as b, error('never') as c from 'a.parquet'", root=root)
    assert columns == {"a": pl.Int64(), "b": pl.Float64(), "c": pl.Null()} or list(columns) == ["a", "b", "c"]


def test_it_spills_into_tmp_and_cleans_up(root, tmp_path):
    (tmp_path / "tmp").mkdir()
    found = query("select current_setting('temp_directory')", root=root, tmp=tmp_path / "tmp", threads=1)
    assert found.item().startswith(str(tmp_path / "tmp"))
    assert list((tmp_path / "tmp").iterdir()) == []
    assert query("select current_setting('threads')", root=root, threads=1).item() == 1
