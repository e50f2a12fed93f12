"""No statement writes: every kind in every place, by every interface, with the directories compared before and after."""

import os
import re
from pathlib import Path

import polars as pl
import pytest
from conftest import at
from fuzzing import SCALE, examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import tinymlops as tm
from tinymlops.errors import DefinitionError, TinyMLOpsError
from tinymlops.stores.engine import Limits, query, relation_columns, table_names
from tinymlops.stores.select_facts import facts_of

WRITES = [
    "copy (select 1 as a) to FILE", "copy (select 1 as a) to FILE (format parquet)", "copy t to FILE",
    "copy (from t) to FILE (format csv, header)", "copy (from t) to FILE (partition_by (a), overwrite)", "copy t from FILE",
    "insert into t values (1, 'z')", "insert into t select * from t returning a", "insert or replace into t from t",
    "update t set a = 2", "update t set a = 2 returning *", "delete from t", "delete from t returning a", "truncate t",
    "merge into t using t u on t.a = u.a when matched then delete",
    "create table z as select 1 as a", "create or replace view t as select 1 as a", "create temp table z (a int)",
    "create schema z", "create sequence z", "create type z as enum ('a')", "create macro f(x) as x", "create index i on t (a)",
    "create secret s (type s3, key_id 'x')", "create persistent secret s in local_file (type s3, key_id 'x')",
    "drop table t", "drop view if exists t", "alter table t add column z int", "comment on table t is 'x'",
    "attach FILE as z", "attach FILE as z (type sqlite)", "detach z", "use z", "export database FILE", "import database FILE",
    "install httpfs", "load httpfs", "load FILE", "force install spatial from community", "update extensions",
    "set threads = 1", "set enable_external_access = true", "reset threads", "set variable x = 1", "set session threads = 1",
    "pragma enable_profiling", "pragma profiling_output = FILE", "pragma threads = 1", "call enable_logging()",
    "call pragma_version()", "checkpoint", "force checkpoint", "vacuum", "analyze", "begin", "commit", "rollback",
    "prepare p as select 1", "execute p", "deallocate p", "explain analyze select 1",
    "explain copy (select 1) to FILE", "copy from database a to b",
]  # fmt: skip
"""Statements that write, or that change what the next one may do. FILE is a file's name."""

CALLS = [
    "query('copy (select 1) to ''x.csv''')", "query_table('t')", "enable_logging(storage = 'file')", "duckdb_settings()",
    "checkpoint()", "force_checkpoint()", "import_database(FILE)", "copy_database('a', 'b')", "duckdb_secrets()",
    "read_duckdb(FILE)", "json_execute_serialized_sql(json_serialize_sql('select 1'))", "truncate_duckdb_logs()",
    "pragma_version()", "which_secret('s3://x', 's3')", "register_external_resource('x')", "seq_scan('t')",
    "read_text(getvariable('x'))", "read_csv(upper(FILE))", "arrow_scan(1, 2, 3)", "python_map_function()",
]  # fmt: skip
"""Functions that stand where a table may and do more than to read named files."""

VALUES = [
    "write_log('x')", "nextval('s')", "setval('s', 1)", "setseed(0.5)", "getenv('HOME')", "current_setting('threads')",
    "getvariable('x')", "current_query()", "json_serialize_sql('select 1')", "system.main.write_log('x')", "sleep_ms(1)",
]  # fmt: skip
"""Functions of values that reach the machine."""

READS = [
    "select 1 as a", "from t", "from FILE", "from read_text(FILE)", "from glob('*')", "values (1)", "show tables",
    "describe t", "summarize t", "pivot t on a using count(*)", "select * from read_csv(FILE, store_rejects = true)",
]  # fmt: skip
"""Statements that only read, though not all of them may."""

PLACES = [
    "HERE", "HERE;", "select 1; HERE", "HERE; select 1", "/* x */ HERE -- y", "(HERE)", "from (HERE)", "from (HERE) as x(a)",
    "with x as (HERE) from x", "with x as (HERE) select 1", "with x as materialized (HERE) from x", "with X(a) as (HERE) from x",
    "with x as (select 1 as a), y as (HERE) select * from x, y", "with recursive x as (HERE union all from x) from x",
    "with recursive x as (select 1 as a union all (HERE)) from x", "select (HERE)", "select exists (HERE)", "select [(HERE)]",
    "select array(HERE)", "select * from t where a in (HERE)", "select * from t where a > all (HERE)",
    "select * from t, lateral (HERE)", "select * from t join (HERE) using (a)", "select 1 union all HERE",
    "HERE union all select 1", "select 1 except (HERE)", "select case when (HERE) then 1 end",
    "select sum(a) filter (where exists (HERE)) over (order by (HERE)) from t", "select list_transform([1], lambda x: (HERE))",
    "select a from t order by (HERE)", "select a from t limit (HERE)", "select a from t group by a having (HERE)",
    "select a from t qualify (HERE)", "values ((HERE))", "from unnest((HERE))", "from range((HERE))",
    "from (pivot (HERE) on a in (1))",
    "select {'a': (HERE)}", "describe HERE", "summarize HERE", "explain HERE", "create table z as HERE", "copy (HERE) to FILE",
    "from (describe HERE)", "select * replace ((HERE) as a) from t", "select columns(x -> (HERE)) from t",
    "insert into t HERE", "prepare p as HERE", "select * from t tablesample (HERE)", "create view v as HERE",
    "from query('HERE')", "select cast((HERE) as int)", "from t at (version => (HERE))",
]  # fmt: skip

FILES = [
    "'features.py'", "'data/new.csv'", "'data/orders.csv'", "\"data/orders.csv\"", "'ROOT/features.py'", "'../beside.csv'",
    "'data'", "'~/x.csv'", "'/tmp/tinymlops-never.csv'", "'data/*.csv'", "$$features.py$$", "'file:features.py'",
]  # fmt: skip


def calls(name):
    return [f"select {name} as a", f"select a from t where {name} is not null"]


@st.composite
def statements(draw):
    """A statement, and whether it holds a part that must be refused in any place."""
    kind = draw(st.integers(0, 9))
    if kind < 5:
        text, refused = draw(st.sampled_from(WRITES)), True
    elif kind < 7:
        text, refused = "from " + draw(st.sampled_from(CALLS)), True
    elif kind < 8:
        text, refused = draw(st.sampled_from([text for name in VALUES for text in calls(name)])), True
    else:
        text, refused = draw(st.sampled_from(READS)), False
    for _ in range(draw(st.integers(1, 3))):
        text = draw(st.sampled_from(PLACES)).replace("HERE", text)
    text = re.sub("FILE", lambda _: draw(st.sampled_from(FILES)), text)
    if draw(st.integers(0, 3)) == 0:  # a piece is lost or moved
        start = draw(st.integers(0, len(text)))
        piece = text[start : start + draw(st.integers(1, 6))]
        where = draw(st.integers(0, len(text)))
        text, refused = (text[:start] + text[start + len(piece) :])[:where] + piece + text[where:], False
    elif draw(st.booleans()):
        text = text.upper() if "'" not in text and '"' not in text else text.replace(" ", "\n\t")
    return text, refused


def snapshot(folder):
    """Return every name below a directory with its content."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            found[str(path)] = path.read_bytes() if path.is_file() else None
    return found


@pytest.mark.parametrize(
    ("sql", "columns", "is_row"),
    [
        ("select a.abs() as x from t", {"a"}, False),
        ("select t.a.abs() as x from t", {"a"}, False),
        ("select u.to_json() as x from t as u", {"u"}, True),
        ("select to_json(t) as x from t", {"t"}, True),
        ("select main.abs(a) as x from t", {"a", "main"}, False),
        ("select main.to_json() as x from main", {"main"}, True),
    ],
)
def test_a_call_behind_a_point_reads_what_stands_before_it(sql, columns, is_row):
    facts = facts_of(sql)
    assert (facts.columns, facts.has_whole_row, facts.outputs["x"] >= columns) == (columns, is_row, True)


@pytest.mark.parametrize("call", ["age(a)", "a.age()", "t.a.age()", "main.age(a)"])
def test_the_time_until_today_is_told_however_it_is_written(call):
    assert facts_of(f"select {call} as x from t").clocks == ("age() in line 1",)
    assert facts_of("select a.age(b) as x from t").clocks == ()


def test_the_facts_of_wrong_sql_are_refused_by_an_error_of_ours():
    with pytest.raises(DefinitionError, match="the SQL is wrong"):
        facts_of("select a, b as at from 'a.csv' group grouped")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    root = folder / "project"
    (root / "data").mkdir(parents=True)
    (root / "features.py").write_text("code = 1\n")
    (root / "data" / "orders.csv").write_text("a,b\n1,x\n")
    (folder / "beside.csv").write_text("a\n1\n")
    return folder


TABLES = {"t": pl.DataFrame({"a": [1, 2], "b": ["x", "y"]})}


@examples(2_000 if SCALE else 800, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(statement=statements(), door=st.sampled_from([query, query, relation_columns, table_names]))
def test_no_statement_writes_and_every_refusal_is_ours(place, statement, door):
    text, refused = statement
    root = place / "project"
    text = text.replace("ROOT", str(root))
    before = snapshot(place)
    options = {} if door is table_names else {"tables": TABLES, "root": root, "threads": 1}
    if door is query:
        options["limits"] = Limits(rows=10_000, time=20_000_000)
    try:
        door(text, **options)
    except TinyMLOpsError as error:
        assert error.hint, f"{text}: {error.message}"
    else:
        # Without running it, `(checkpoint)` may be a column.
        assert not refused or door is table_names, text
    assert snapshot(place) == before, text
    assert not os.path.exists("/tmp/tinymlops-never.csv")


@pytest.mark.parametrize(
    "text", [*WRITES, *(f"from {call}" for call in CALLS), *(text for name in VALUES for text in calls(name))]
)
def test_what_writes_is_refused_by_itself_and_in_a_with(place, text):
    before = snapshot(place)
    for outer in ("HERE", "with x as (HERE) from x", "select (with x as (HERE) select 1)"):
        with pytest.raises(TinyMLOpsError) as caught:
            query(outer.replace("HERE", text).replace("FILE", "'data/new.csv'"), tables=TABLES, root=place / "project")
        assert caught.value.hint
    assert snapshot(place) == before


WITH_COPY = "with x as (copy (select 1 as a) to 'features.py') select 1 as a, timestamptz '2024-01-01' as at from x"


def test_a_with_that_writes_writes_at_no_door(tmp_path, workspace):
    """A statement that once overwrote the project's code at `apply`."""
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def orders() -> str:
        return WITH_COPY

    def derived():
        project = tm.Project("shop")

        @project.source(timestamp="at")
        def orders() -> pl.DataFrame:
            return pl.DataFrame({"a": [1], "at": [at(1)]})

        @project.transformation(timestamp="at")
        def cleaned(orders: tm.Rows) -> str:
            return WITH_COPY.replace("from x", "from x, orders")

        return project

    here, before = set(os.listdir()), set(os.listdir(tmp_path))
    for step in (
        lambda: workspace.sql(WITH_COPY),
        lambda: workspace.apply(project),
        lambda: (workspace.apply(derived()), workspace.ingest()),
    ):
        with pytest.raises(TinyMLOpsError, match="not known to read only: COPY_QUERY_NODE|needs a SELECT"):
            step()
        assert set(os.listdir(tmp_path)) == before
        assert set(os.listdir()) == here
