"""DuckDB over frames and files: one SELECT, no way out of its directories."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC

import duckdb
import polars as pl
import pytest

from tinymlops.errors import AccessError, DataError, DefinitionError, TinyMLOpsError
from tinymlops.stores.engine import Limits, query, relation_columns, reusing, table_names
from tinymlops.stores.marks import Marks


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
        ("with x as (insert into t values (1) returning *) from x", "not known to read only|needs a SELECT"),
        ("with x as (copy (select 1) to 'x.csv') from x", "not known to read only: COPY_QUERY_NODE|needs a SELECT"),
        (
            "select (with x as (delete from t returning a) select max(a) from x)",
            "not known to read only|needs a SELECT",
        ),
        ("show tables", "SHOW"),
        ("select ?", "PARAMETER"),
        ("from t at (version => 1)", "expr, unit"),
        ("select 1\0", "NUL"),
        ("select '\ud800'", "half a character"),
        (None, "not text"),
        ("selec 1", "syntax error"),
    ],
)
def test_anything_but_one_select_is_refused(root, sql, kind):
    with pytest.raises(DefinitionError, match=kind):
        query(sql, tables={"t": pl.DataFrame({"a": [1]})}, root=root)
    assert sorted(os.listdir(root)) == ["a.parquet", "data", "link.parquet", "passwd"]


@pytest.mark.parametrize(
    "sql",
    [
        "select getenv('HOME')",
        "from enable_logging(storage = 'file')",
        "select current_setting('secret_directory')",
        "select main.current_setting('threads')",
        "from duckdb_settings()",
        "from duckdb_settings",
        "from pragma_database_size()",
        "from information_schema.tables",
        "from system.main.duckdb_tables",
        "from query_table('t')",
        "from json_execute_serialized_sql('{}')",
        "select list_transform([1], lambda x: nextval('s'))",
        "select max(a) filter (write_log('x') is null) over (order by setseed(0.5)) from t",
        "with a as (from t where exists (select * from (values (current_query())))) from a",
        "from read_text(getvariable('x'))",
        "from read_csv('a' || '.csv')",
        "from read_csv(['a.csv', upper('a.csv')])",
        "from 'data.duckdb'",
        "from 'data/x.db'",
    ],
)
def test_no_function_and_no_table_reaches_the_machine(root, sql):
    with pytest.raises((AccessError, DefinitionError)) as caught:
        query(sql, tables={"t": pl.DataFrame({"a": [1]})}, root=root)
    assert caught.value.hint


def test_data_dirs_are_read_too(root, tmp_path):
    assert query("from '../elsewhere/o.parquet'", root=root, data_dirs=[tmp_path / "elsewhere"]).item() == 9
    assert query("from 'link.parquet'", root=root, data_dirs=[tmp_path / "elsewhere"]).item() == 9


def test_a_mistyped_name_keeps_the_near_match(root):
    tables = {"weather": pl.DataFrame({"visib": [1]})}
    with pytest.raises(DefinitionError, match="did you mean 'weather'"):
        query("from wheather", tables=tables, root=root)
    with pytest.raises(DefinitionError, match=r"summ\(\) does not exist\nHint: did you mean 'sum'"):
        query("select summ(visib) from weather", tables=tables, root=root)
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
        ("'101'::bit", "is BIT, which cannot be read exactly"),
        ("{'a': map {1: ['101'::bit]}}", r"is STRUCT\(.*, which cannot be read exactly"),
        ("'1'::bignum", "is BIGNUM, which cannot be read exactly"),
        ("[interval 1 day]", "holds intervals within list"),
        (
            "unnest([interval 1 day, interval '-200000000 days'])",
            r"holds intervals of more than 106,600,000 days in rows \[1\]",
        ),
        ("{'a': interval 1 day}", "holds intervals within struct"),
        ("union_value(a := 1)", ".*, which Polars does not have"),
        ("unnest([time '12:00', null, '24:00'])", r"holds the time of day 24:00:00 in rows \[2\]"),
        ("time_ns '24:00:00'", r"holds the time of day 24:00:00 in rows \[0\]"),
        ("[null, [time '24:00', '12:00']]", "holds the time of day 24:00:00 within list"),
        ("map {'a': {'b': array_value(null, time '24:00')}}", "holds the time of day 24:00:00 within map"),
        ("[170141183460469231731687303715884105727::hugeint]", "holds integers of more than 38 digits within list"),
    ],
)
def test_what_polars_cannot_hold_is_refused_by_its_column(root, value, message):
    with pytest.raises(DataError, match=f"column 'value' of the SQL {message}"):
        query(f"select 1 as other, {value} as value", root=root)


def test_a_type_is_not_known_by_the_names_in_it(root):
    assert query("select {'BIT': 'UHUGEINT'::enum('UHUGEINT')} as a", root=root).rows() == [({"BIT": "UHUGEINT"},)]
    assert value_of("'101'::bit::text", root)[1] == ["101"]


def test_times_are_utc(root):
    found = query("select '2013-01-01 00:00:00'::timestamptz as t", root=root)
    assert found.schema["t"] == pl.Datetime("us", "UTC")
    assert found.item().tzinfo.utcoffset(found.item()) == UTC.utcoffset(None)


def test_columns_are_known_without_running_it(root):
    columns = relation_columns("select a, a / 0 as b, error('never') as c from 'a.parquet'", root=root)
    assert columns == {"a": pl.Int64(), "b": pl.Float64(), "c": pl.Null()} or list(columns) == ["a", "b", "c"]


def test_it_spills_into_tmp_and_cleans_up(root, tmp_path):
    tmp = tmp_path / "tmp"
    tmp.mkdir()

    def endless():
        with pytest.raises(DataError, match="stopped after 2s"):
            query(
                "select count(*) from range(1000000000000)",
                root=root,
                tmp=tmp,
                threads=1,
                limits=Limits(time=2 * 10**6),
            )

    running = threading.Thread(target=endless)
    running.start()
    seen = set()
    while running.is_alive():
        seen.update(tmp.iterdir())
        running.join(0.05)
    assert len(seen) == 1
    assert list(tmp.iterdir()) == []


@pytest.mark.parametrize(
    "sql",
    [
        "from range(100000000000)",
        "select list(range) from range(100000000000)",
        "select distinct range // 2 from range(100000000000)",
        "select a.range from range(10000000) a, range(10000000) b order by hash(a.range, b.range)",
        "with recursive r as (select 1 as a union all select a + 1 from r) from r",
    ],
)
def test_every_query_ends_at_its_time_limit(root, tmp_path, sql):
    with pytest.raises(DataError, match="stopped after 300ms|memory|more than"):
        query(sql, root=root, limits=Limits(time=300_000, rows=10**9))
    assert query("select 1", root=root).item() == 1


def test_ctrl_c_ends_a_query_and_the_next_one_runs(root):
    pressed = threading.Timer(0.5, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
    pressed.start()
    with pytest.raises(KeyboardInterrupt):
        query("select list(range) from range(100000000000)", root=root)
    pressed.join()
    assert query("select 1", root=root).item() == 1


@pytest.mark.parametrize("place", ["table.parquet", "*.parquet"])
def test_a_file_that_another_takes_the_place_of_meanwhile_is_named(tmp_path, place):
    frames = [pl.DataFrame({"a": range(rows), "b": [float(rows)] * rows}) for rows in (1_000, 1_500)]
    stop = threading.Event()

    def write():
        while not stop.is_set():
            for frame in frames:
                frame.write_parquet(tmp_path / "new")
                (tmp_path / "new").replace(tmp_path / "table.parquet")

    frames[0].write_parquet(tmp_path / "table.parquet")
    writer = threading.Thread(target=write)
    writer.start()
    refused, until = 0, time.monotonic() + 60
    try:
        while not refused and time.monotonic() < until:
            try:
                found = query(f"from '{place}'", root=tmp_path)
            except DataError as error:
                assert "table.parquet changed while it was read" in error.message
                refused += 1
            else:
                assert found["b"].to_list() == [float(found.height)] * found.height
    finally:
        stop.set()
        writer.join()
    assert refused


def test_rows_that_are_added_to_a_text_file_meanwhile_do_no_harm(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a\n1\n")
    marks = Marks([str(path), str(tmp_path), str(tmp_path / "none")])
    assert list(marks) == [str(path)]
    path.write_text("a\n1\n2\n")
    marks.check(may_grow=lambda name: name.endswith(".csv"))
    with pytest.raises(DataError, match="log.csv changed while it was read"):
        marks.check()


def test_a_result_stops_at_its_rows_and_at_its_memory(root):
    endless = "select range, repeat('x', 1000) as text from range(100000000000)"
    with pytest.raises(DataError, match="gives more than 1,000,000 rows") as caught:
        query("from range(100000000000)", root=root, limits=Limits(rows=1_000_000))
    assert "max_rows" in caught.value.hint
    with pytest.raises(DataError, match="more than 10 MiB of memory"):
        query(endless, root=root, limits=Limits(bytes=10 * 2**20))
    assert query("from range(1000)", root=root, limits=Limits(rows=1000)).height == 1000
    assert query("select 1 as a where false", root=root, limits=Limits(rows=0)).schema == {"a": pl.Int32}


def test_what_differs_only_by_case_is_refused_by_both_names(root):
    frame = pl.DataFrame({"V": [1], "k": [2], "v": [3]})
    for sql in ('select "v" from t', "select k from T", "with x as (from t) select k from x", "describe t"):
        for table in (frame, frame.to_arrow()):
            with pytest.raises(DefinitionError, match="'V' and 'v' of t differ only by case"):
                query(sql, tables={"t": table}, root=root)
            with pytest.raises(DefinitionError, match="'V' and 'v' of t differ only by case"):
                relation_columns(sql, tables={"t": table}, root=root)
    one = pl.DataFrame({"a": [1]})
    with pytest.raises(DefinitionError, match="'Rows' and 'rows' differ only by case"):
        query("from ROWS", tables={"Rows": one, "rows": one}, root=root)
    assert query("from 'a.parquet'", tables={"t": frame}, root=root).height == 2, "what is not named does no harm"
    umlauts = pl.DataFrame({"Ä": [1], "ä": [2]})
    assert query('select "ä" from T', tables={"t": umlauts}, root=root).item() == 2


def test_columns_of_one_name_are_numbered(root):
    assert query("select 1 as a, 2 as a, 3 as a, 4 as a_1, 5 as A", root=root).columns == [
        "a", "a_1", "a_2", "a_1_1", "A_3",
    ]  # fmt: skip


def test_a_part_that_the_select_names_is_told_from_a_table(root):
    tables = {"t": pl.DataFrame({"a": [1]}), "tinymlops.t": pl.DataFrame({"a": [7]})}
    assert query("with t as (select a + 1 as a from t) from t", tables=tables, root=root).item() == 2
    assert query("with t as (select a + 1 as a from tinymlops.T) select s.a + t.a from t, tinymlops.t s",
                 tables=tables, root=root).item() == 15  # fmt: skip
    assert table_names("with a as (from t), b as (from a, c) from b, tinymlops.runs, 'x.parquet', main.a") == {
        "t", "c", "tinymlops.runs", "a",
    }  # fmt: skip
    assert table_names("with recursive r as (select 1 as a union all select a + 1 from r where a < 3) from r") == set()
    assert table_names("select (with a as (from t) select max(a) from a) from a") == {"t", "a"}


def test_a_select_may_open_the_files_that_it_names_and_no_others(root, tmp_path):
    """Run a statement below the gate, as if a part had passed it."""
    (root / "features.py").write_text("secret")
    assert query("from read_text('features.py')", root=root)["content"].item() == "secret"
    (root / "loop").symlink_to(root / "loop")
    with pytest.raises(TinyMLOpsError):
        query("from read_text('loop')", root=root)
    (root / "many").mkdir()
    pl.DataFrame({"a": [4]}).write_parquet(root / "many" / "1.parquet")
    assert query("from 'many/*.parquet'", root=root).item() == 4
    (root / "many" / "2.parquet").symlink_to(tmp_path / "elsewhere" / "o.parquet")
    with pytest.raises(AccessError):
        query("from 'many/*.parquet'", root=root)


READING = [
    "select cast(a as decimal(9, 2)), try_cast('x' as int), a::varchar collate nocase, a between 1 and 2 from t",
    "select case a when 1 then 'x' else 'y' end, case when a > 1 then 1 end, coalesce(a, 0), a is null, not a > 1 from t",
    "select a in (1, 2), a in (select a from t), exists (from t), a = any (select 1), (select max(a) from t) from t",
    "select sum(a) filter (a > 0), count(*), string_agg(a, ',' order by a desc), quantile_cont(a, 0.5) from t",
    "select sum(a) over (partition by a order by a rows between 1 preceding and current row), lag(a, 1, 0) over w, "
    "row_number() over () from t window w as (order by a desc nulls last) qualify row_number() over w < 9",
    "select list_transform([1], lambda x: x + 1), [x * 2 for x in [1, 2] if x > 1], {'a': 1}.a, [1, 2][1], [1, 2][1:2]",
    "select t.* exclude (a) replace (b || '!' as b) from t",
    "select columns('a|b') from t", "select * rename (a as c) from t", "select #1 from t order by 1 limit 1 offset 0",
    "select a, count(*) from t group by rollup (a) having count(*) > 0 order by all limit 50%",
    "select distinct on (a) a, b from t order by a, b", "select a, grouping(a) from t group by grouping sets ((a), ())",
    "select 1 union all select 2 intersect select 3 except select 4", "select 1 as a union by name select 2 as b",
    "from t join t u using (a) left join t v on v.a = u.a semi join t w on w.a = v.a",
    "from t asof join t u on t.a >= u.a", "from t positional join t u", "from t, lateral (select t.a + 1 as c)",
    "from (pivot t on a in (1, 2) using count(*) group by b)", "from (unpivot t on a into name n value v)",
    "with m as materialized (from t) from m", "values (1, 'a'), (2, null)", "table t", "from t using sample 10 rows",
    "from unnest([1, 2]) with ordinality", "from generate_series(1, 3) g(i)", "describe t", "summarize t",
    "select a->>'$.b' from (select '{\"b\": 1}'::json as a)", "select try('x'::int), if(true, 1, 2)",
    "select date '2024-01-01' + interval 1 day, timestamptz '2024-01-01' at time zone 'UTC', extract(year from now())",
    "select 'a' like 'A' escape '$', 'a' ilike 'A', 'a' similar to 'a', 'a' ~ 'a', -1 // 3 % 4 << 1 & 3 | 1, 2 ** 2, 3!",
    "from 'a.parquet' x(y) where y > 0", "from read_csv('data/*.csv', header = true, union_by_name = true)",
    "select map {'a': 1}, row(1, 2), struct_pack(a := 1), trim(both 'x' from 'xax')",
]  # fmt: skip


@pytest.mark.parametrize("sql", READING)
def test_what_only_reads_is_let_through(root, sql):
    tables = {"t": pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})}
    query(sql, tables=tables, root=root)


@pytest.fixture
def made(monkeypatch):
    """The databases that are made, without the one that only parses."""
    table_names("select 1")
    made, connect = [], duckdb.connect

    def counted(*args, **options):
        made.append(options)
        return connect(*args, **options)

    monkeypatch.setattr(duckdb, "connect", counted)
    return made


def test_selects_in_a_block_share_one_locked_database_and_no_tables(root, tmp_path, made):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    with reusing():
        for value in range(3):
            frame = pl.DataFrame({"a": [value]})
            assert query("select a from t", tables={"t": frame}, root=root, tmp=tmp).item() == value
        assert len(made) == 1
        with pytest.raises(DefinitionError, match="the table t does not exist"):
            query("select a from t", root=root, tmp=tmp)
        with pytest.raises(AccessError):
            query("from '/etc/passwd.csv'", root=root, tmp=tmp)
        for sql in ("select getenv('HOME')", "set threads = 1", "create table x (a int)", "from duckdb_settings()"):
            with pytest.raises((AccessError, DefinitionError)):
                query(sql, root=root, tmp=tmp)
        assert query("from 'a.parquet'", root=root, tmp=tmp)["a"].to_list() == [1, 2]
        assert query("select a from tinymlops.t", tables={"tinymlops.t": frame}, root=root, tmp=tmp).item() == 2
        assert query("select 1", root=root, tmp=tmp).item() == 1
        assert len(list(tmp.iterdir())) == 1
    assert list(tmp.iterdir()) == []


def test_a_database_whose_select_failed_or_still_runs_is_not_used_again(root, tmp_path, made):
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    with reusing():
        with pytest.raises(DataError, match="Could not convert"):
            query("select v::int from t", tables={"t": pl.DataFrame({"v": ["x"]})}, root=root, tmp=tmp)
        with pytest.raises(DataError, match="stopped after 300ms"):
            query("select list(range) from range(100000000000)", root=root, tmp=tmp, limits=Limits(time=300_000))
        assert query("select 1", root=root, tmp=tmp).item() == 1
        assert query("select 2", root=root, tmp=tmp).item() == 2
        assert len(made) == 3
    until = time.monotonic() + 60
    while list(tmp.iterdir()) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(tmp.iterdir()) == []


def test_every_select_of_a_block_has_times_in_utc_wherever_the_machine_is():
    code = (
        "import polars as pl; from pathlib import Path; from tinymlops.stores.engine import query, reusing\n"
        "t = pl.DataFrame({'t': ['2024-07-01 00:00:00']})\n"
        "with reusing():\n"
        "    for _ in range(2):\n"
        "        print(query('select t::timestamptz as t from t', tables={'t': t}, root=Path('.')).item().isoformat())"
    )
    environment = {**os.environ, "TZ": "America/New_York"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["2024-07-01T00:00:00+00:00"] * 2
