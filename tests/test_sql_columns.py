"""The columns of SQL: queries with answers written by hand, each valid in DuckDB and held against changed data."""

from pathlib import Path

import duckdb
import pytest
from fuzzing import examples
from hypothesis import event, given
from hypothesis import strategies as st

from tinymlops.features.definitions.sql_columns import read_columns
from tinymlops.features.definitions.sql_scopes import EVERY, Dependency

TABLES = {
    "orders": {
        "id": "int", "customer": "varchar", "amount": "double", "paid": "bool", "seen": "timestamp", "status": "varchar",
        "tags": "int[]", "info": "struct(city varchar, zip int)",
    },
    "customers": {"customer": "varchar", "name": "varchar", "tier": "int"},
    "rates": {"customer": "varchar", "seen": "timestamp", "rate": "double"},
}  # fmt: skip
INPUTS = {name: list(columns) for name, columns in TABLES.items()}

# Of an answer: `t.c` is taken as it is, `t.c~` is computed with, `t.c+` is aggregated, `t.c?filter` decides about rows.
# `*:` is what every column depends on besides its own. Tables are o, c and r.
SHORT = {"o": "orders", "c": "customers", "r": "rates"}
MARKS = {"~": "transformation", "+": "aggregation"}

ANSWERS = {
    # Stars and names
    "from customers": "customer: c.customer; name: c.name; tier: c.tier",
    "from customers select tier + 1 as t": "t: c.tier~",
    "select * exclude (name) from customers": "customer: c.customer; tier: c.tier",
    "select * replace (upper(name) as name) from customers": "customer: c.customer; name: c.name~; tier: c.tier",
    "select * rename (name as who) from customers": "customer: c.customer; who: c.name; tier: c.tier",
    "select c.* exclude (tier), r.rate from customers c, rates r":
        "customer: c.customer; name: c.name; rate: r.rate",
    "select columns('^n|tier') from customers": "name: c.name; tier: c.tier",
    "select max(columns(* exclude (name))) from customers": "customer: c.customer+; tier: c.tier+",
    "select * like '%e%' from customers": "customer: c.customer; name: c.name; tier: c.tier",
    "select CUSTOMER, Name as \"Full Name\" from Customers": "CUSTOMER: c.customer; Full Name: c.name",
    "select s.b from (select name, tier from customers) s(a, b)": "b: c.tier",
    "select total: amount * 2 from orders": "total: o.amount~",
    # Expressions
    "select case when paid then amount else 0 end as m, coalesce(status, info.city) as s from orders":
        "m: o.paid~ o.amount~; s: o.status~ o.info.city~",
    "select amount * 2 as double, double + id as more from orders": "double: o.amount~; more: o.amount~ o.id~",
    "select info.city, info['zip'] as zip, (info).zip as z from orders":
        "city: o.info.city; zip: o.info.zip; z: o.info.zip",
    "select o.info.city as c, struct_extract(o.info, 'zip') + 1 as z from orders o":
        "c: o.info.city; z: o.info.zip~",
    "select {'a': amount, 'b': status} as s, [id, 1] as l from orders": "s: o.amount~ o.status~; l: o.id~",
    "select list_transform(tags, lambda x, i: x + i + id) as l from orders": "l: o.tags~ o.id~",
    "select coalesce(note -> '$.a', to_json(status)) as a, upper(note ->> 'b') as b from (select status, to_json(info) as note"
    " from orders)": "a: o.info~ o.status~; b: o.info~",
    "select o.seen.epoch() as e, status.upper().lower() as s, info.zip.abs() as z from orders o":
        "e: o.seen~; s: o.status~; z: o.info.zip~",
    "select list_filter(tags, lambda x: x > amount) as l from orders": "l: o.tags~ o.amount~",
    "select [x + id for x in tags if paid] as l from orders": "l: o.tags~ o.id~ o.paid~",
    "select amount::int as a, date_trunc('day', seen) as d, extract(hour from seen) as h from orders":
        "a: o.amount~; d: o.seen~; h: o.seen~",
    "select 1 as one, 'x' as x from orders": "one:; x:",
    # WHERE and subqueries
    "select id from orders where paid and amount > 3": "id: o.id; *: o.paid?filter o.amount?filter",
    "select id, amount + 1 as more from orders where more > 3": "id: o.id; more: o.amount~; *: o.amount?filter",
    "select id from orders o where exists (select 1 from customers c where c.customer = o.customer and c.tier > 1)":
        "id: o.id; *: c.customer?filter o.customer?filter c.tier?filter",
    "select id from orders where not exists (from rates where rate > amount)":
        "id: o.id; *: r.rate?filter o.amount?filter",
    "select id from orders where customer in (select customer from customers where tier = 2)":
        "id: o.id; *: o.customer?filter c.customer?filter c.tier?filter",
    "select id from orders where (customer, id) in (select customer, tier from customers)":
        "id: o.id; *: o.customer?filter o.id?filter c.customer?filter c.tier?filter",
    "select id, (select max(rate) from rates r where r.customer = o.customer) as top from orders o":
        "id: o.id; top: r.rate+ r.customer?filter o.customer?filter",
    "select id, exists (from rates r where r.customer = o.customer) as e from orders o":
        "id: o.id; e: r.customer?filter o.customer?filter",
    "select id from orders where amount > all (select rate from rates)": "id: o.id; *: o.amount?filter r.rate?filter",
    "select array(select name from customers order by tier) as l": "l: c.name~ c.tier?sort",
    # Joins
    "select name, amount from orders join customers using (customer)":
        "name: c.name; amount: o.amount; *: o.customer?join c.customer?join",
    "select * exclude (id, paid, seen, status, tags, info) from orders join customers using (customer)":
        "customer: o.customer; amount: o.amount; name: c.name; tier: c.tier; *: o.customer?join c.customer?join",
    "select customer from orders full join customers using (customer)":
        "customer: o.customer c.customer; *: o.customer?join c.customer?join",
    "select o.id, r.rate from orders o asof join rates r on o.customer = r.customer and o.seen >= r.seen":
        "id: o.id; rate: r.rate; *: o.customer?join r.customer?join o.seen?join r.seen?join",
    "select id, rate from orders asof left join rates using (customer, seen)":
        "id: o.id; rate: r.rate; *: o.customer?join r.customer?join o.seen?join r.seen?join",
    "select id from orders semi join customers on orders.customer = customers.customer and tier > 1":
        "id: o.id; *: o.customer?join c.customer?join c.tier?join",
    "select id from orders anti join rates using (customer)": "id: o.id; *: o.customer?join r.customer?join",
    "select name, rate from customers natural join rates":
        "name: c.name; rate: r.rate; *: c.customer?join r.customer?join",
    "select id, n from orders o, lateral (select count(*) as n from rates r where r.seen < o.seen) l":
        "id: o.id; n:; *: r.seen?filter o.seen?filter",
    "select o.id, c.tier from orders o, customers c where o.customer = c.customer":
        "id: o.id; tier: c.tier; *: o.customer?filter c.customer?filter",
    "select name, rate from (customers join rates using (customer))":
        "name: c.name; rate: r.rate; *: c.customer?join r.customer?join",
    # Groups and windows
    "select customer, sum(amount) as s, count(*) as n from orders group by customer":
        "customer: o.customer; s: o.amount+; n:; *: o.customer?group",
    "select status, sum(amount) filter (where paid) as s from orders group by all having max(id) > 2":
        "status: o.status; s: o.amount+ o.paid?filter; *: o.status?group o.id?filter",
    "select upper(status) as s, avg(amount) as m from orders group by 1 order by 2":
        "s: o.status~; m: o.amount+; *: o.status?group o.amount?sort",
    "select status, customer, max(id) as m from orders group by grouping sets ((status), (customer), ())":
        "status: o.status; customer: o.customer; m: o.id+; *: o.status?group o.customer?group",
    "select arg_max(amount, seen) as a, list(id order by seen) as l, count(distinct status) as n from orders":
        "a: o.amount+ o.seen+; l: o.id+ o.seen?sort; n: o.status+",
    "select percentile_cont(0.5) within group (order by amount) as q, fsum(amount) as f from orders":
        "q: o.amount+; f: o.amount+",
    "select id, sum(amount) over (partition by customer order by seen rows 2 preceding) as s from orders":
        "id: o.id; s: o.amount+ o.customer?window o.seen?window",
    "select id, sum(amount) over (order by seen rows between id preceding and current row) as s from orders":
        "id: o.id; s: o.amount+ o.seen?window o.id?window",
    "select id, lag(amount) over w as l from orders window w as (partition by customer order by seen)":
        "id: o.id; l: o.amount+ o.customer?window o.seen?window",
    "select id, amount from orders qualify row_number() over (partition by customer order by seen desc) = 1":
        "id: o.id; amount: o.amount; *: o.customer?window o.seen?window",
    "select id, rank() over (order by amount) as r from orders qualify r < 3":
        "id: o.id; r: o.amount?window; *: o.amount?window",
    # Order, distinct, limits
    "select id, paid as amount from orders order by -amount::int": "id: o.id; amount: o.paid; *: o.amount?sort o.paid?sort",
    "select distinct on (k) id, status as k from orders order by seen":
        "id: o.id; k: o.status; *: o.status?group o.seen?sort",
    "select id from orders order by seen desc limit 2": "id: o.id; *: o.seen?sort",
    "select distinct status, paid from orders": "status: o.status; paid: o.paid; *: o.status?group o.paid?group",
    "select distinct on (customer) customer, amount from orders order by customer, seen":
        "customer: o.customer; amount: o.amount; *: o.customer?group o.customer?sort o.seen?sort",
    "select id from orders order by id limit (select max(tier) from customers)":
        "id: o.id; *: o.id?sort c.tier?filter",
    # Sets and WITH
    "select customer, name from customers union all select customer, status from orders where paid":
        "customer: c.customer o.customer; name: c.name o.status; *: o.paid?filter",
    "select customer, tier from customers union all by name select amount, customer from orders":
        "customer: c.customer o.customer; tier: c.tier; amount: o.amount",
    "select customer from customers except select customer from rates":
        "customer: c.customer; *: c.customer?filter r.customer?filter",
    "select customer from customers union select customer from rates":
        "customer: c.customer r.customer; *: c.customer?group r.customer?group",
    "with paid_ones as (from orders where paid), t(k, s) as (select customer, sum(amount) from paid_ones group by 1)"
    " select k, s from t where s > 1":
        "k: o.customer; s: o.amount+; *: o.paid?filter o.customer?group o.amount?filter",
    "with recursive chain as (select id, amount as a, 1 as n from orders union all select id, a, n + 1 from chain"
    " where n < 3 and a > 2) select id, n from chain":
        "id: o.id; n:; *: o.amount?filter",
    # PIVOT, UNPIVOT, unnest
    "pivot orders on status in ('new', 'old') using sum(amount) group by customer":
        "customer: o.customer; new: o.amount+ o.status?filter; old: o.amount+ o.status?filter; *: o.customer?group",
    "select customer, old from (from orders select customer, status, amount) pivot (sum(amount) for status in ('new', 'old'))":
        "customer: o.customer; old: o.amount+ o.status?filter; *: o.customer?group",
    "unpivot (select id, amount, seen.epoch() as seconds from orders) on amount, seconds into name what value v":
        "id: o.id; what:; v: o.amount~ o.seen~; *: o.amount?filter o.seen?filter",
    "select id, unnest(tags) as tag from orders": "id: o.id; tag: o.tags~; *: o.tags?filter",
    "select id, u.tag from orders, unnest(tags) as u(tag)": "id: o.id; tag: o.tags~; *: o.tags?filter",
}  # fmt: skip


def dependency(text):
    column, _, subtype = text.partition("?")
    kind = "INDIRECT" if subtype else "DIRECT"
    if not subtype:
        subtype = MARKS.get(column[-1], "identity")
        column = column.rstrip("~+")
    table, _, name = column.partition(".")
    return Dependency(SHORT[table], name, kind, subtype)


def answer(text):
    """Read an answer: output column to what it depends on, in order."""
    parts = dict(part.strip().partition(":")[::2] for part in text.split(";"))
    found = {name: {dependency(one) for one in columns.split()} for name, columns in parts.items()}
    of_all = found.pop("*", set())
    return {name: sorted(columns | of_all) for name, columns in found.items()}


def found_in(sql, inputs=INPUTS, outputs=None):
    found = read_columns(sql, inputs, outputs)
    assert found.unread == ""
    return {name: found.of(name) for name in found.columns}


@pytest.fixture(scope="module")
def database():
    connection = duckdb.connect()
    connection.execute("set threads = 1")
    for name, columns in TABLES.items():
        connection.execute(f"create table {name} ({', '.join(f'{c} {kind}' for c, kind in columns.items())})")
    connection.execute(
        """insert into orders select i, ['a', 'b', 'c'][1 + i % 3], (i * 7 % 5)::double + i / 100, i % 2 = 0,
        timestamp '2024-01-01' + i * interval 7 hour, ['new', 'old'][1 + i % 4 // 2], range(i % 3 + 1),
        {'city': 'c' || i % 2, 'zip': i} from range(12) t(i)"""
    )
    connection.execute("insert into customers values ('a', 'Ann', 1), ('b', 'Bob', 2), ('d', 'Di', 3)")
    connection.execute(
        """insert into rates select ['a', 'b', 'c'][1 + i % 3], timestamp '2024-01-01' + i * interval 11 hour, i::double
        from range(8) t(i)"""
    )
    yield connection
    connection.close()


@pytest.mark.parametrize("sql", ANSWERS)
def test_every_output_depends_on_what_is_written_beside_it(sql, database):
    expected = answer(ANSWERS[sql])
    assert found_in(sql) == expected
    columns = [column[0] for column in database.execute(sql).description]
    assert [name.lower() for name in columns] == [name.lower() for name in expected]
    assert found_in(sql, outputs=columns) == dict(zip(columns, expected.values(), strict=True))


def test_there_are_sixty_queries_and_more():
    assert len(ANSWERS) >= 60


OTHERWISE = {
    "int": "({0} * 5 + 3) % 7",
    "double": "({0} * 5 + 3) % 7",
    "varchar": "case {0} when 'a' then 'b' when 'b' then 'd' when 'new' then 'old' else 'a' end",
    "bool": "not {0}",
    "timestamp": "timestamp '2024-01-09' - ({0} - timestamp '2024-01-01')",
    "int[]": "list_append(list_reverse({0}), 9)",
    "struct(city varchar, zip int)": "{{'city': {0}.city || 'x', 'zip': {0}.zip * 3 % 5}}",
}


def values_of(database, sql):
    """Return each column of a query as its values without their order."""
    rows = database.execute(sql).fetchall()
    names = [column[0] for column in database.description]
    return {name: sorted(repr(row[place]) for row in rows) for place, name in enumerate(names)}


def changes(database, sql):
    """Change one input column after the other; return the names of the outputs, and the ones that change with each."""
    before = values_of(database, sql)
    changed = []
    for table, columns in TABLES.items():
        for column, kind in columns.items():
            database.execute("begin")
            try:
                database.execute(f"update {table} set {column} = {OTHERWISE[kind].format(column)}")
                after = values_of(database, sql)
            finally:
                database.execute("rollback")
            changed += [(table, column, name) for name in before if after.get(name) != before[name]]
    return list(before), changed


def missed(database, sql):
    """Return the columns that an output is made of and that the answer leaves out, also where no column is known before."""
    outputs, changed = changes(database, sql)
    wrong = []
    for inputs in (INPUTS, dict.fromkeys(INPUTS)):
        found = read_columns(sql, inputs, outputs)
        if found.unread:
            continue  # then all depends on every column
        named = {(one.input, one.column.partition(".")[0].lower(), name) for name in outputs for one in found.of(name)}
        wrong += [one for one in changed if not {one, (one[0], EVERY, one[2])} & named]
    return wrong


@pytest.mark.parametrize("sql", ANSWERS)
def test_a_column_that_is_not_named_may_be_changed_and_nothing_is_another(sql, database):
    assert missed(database, sql) == []


def test_the_changes_would_show_a_column_that_is_left_out(database, monkeypatch):
    short = read_columns("select id from orders", INPUTS)
    monkeypatch.setattr(f"{__name__}.read_columns", lambda *_: short)
    assert ("orders", "paid", "id") in missed(database, "select id from orders where paid")
    assert ("rates", "rate", "id") in missed(database, "select id from orders where id < (select max(rate) from rates)")


NUMBERS = {"orders": ["id", "amount"], "customers": ["tier"], "rates": ["rate"]}


class Writer:
    """Writes random queries: nested, joined, grouped, correlated, over the columns of numbers."""

    def __init__(self, random):
        self.random = random
        self.pick = random.choice

    def number(self, tables, depth):
        columns = [f"{alias}.{column}" for alias, names in tables.items() for column in names]
        kind = self.random.randrange(9)
        if kind == 0:
            return str(self.random.randrange(5))
        if depth and kind < 4:
            return f"({self.number(tables, depth - 1)} {self.pick('+-*')} {self.number(tables, depth - 1)})"
        if depth and kind == 4:
            sides = [self.number(tables, depth - 1) for _ in range(2)]
            return f"case when {self.condition(tables, depth - 1)} then {sides[0]} else {sides[1]} end"
        if depth and kind == 5:
            table = self.pick(list(NUMBERS))
            inner = {f"s{depth}": NUMBERS[table]}
            where = self.condition({**tables, **inner}, depth - 1)
            return f"(select {self.pick(['max', 'sum'])}({self.number(inner, 0)}) from {table} s{depth} where {where})"
        return self.pick(columns)

    def condition(self, tables, depth):
        kind, table = self.random.randrange(6), self.pick(list(NUMBERS))
        if depth and kind == 0:
            inner = {f"e{depth}": NUMBERS[table]}
            return f"exists (from {table} e{depth} where {self.condition({**tables, **inner}, depth - 1)})"
        if depth and kind == 1:
            return f"{self.number(tables, 0)} in (select {self.pick(NUMBERS[table])} from {table})"
        if depth and kind == 2:
            return (
                f"({self.condition(tables, depth - 1)} {self.pick(['and', 'or'])} {self.condition(tables, depth - 1)})"
            )
        return f"{self.number(tables, 0)} {self.pick(['<', '>', '=', '<='])} {self.number(tables, 0)}"

    def table(self, alias, depth):
        if depth and self.random.random() < 0.4:
            sql, columns = self.query(depth - 1)
            return f"({sql}) {alias}", columns
        name = self.pick(list(NUMBERS))
        return f"{name} {alias}", NUMBERS[name]

    def query(self, depth=2):
        first, second = f"a{depth}", f"b{depth}"
        text, columns = self.table(first, depth)
        tables = {first: columns}
        if self.random.random() < 0.4:
            other, columns = self.table(second, depth)
            join = self.pick(["join", "left join", "full join", "semi join", "anti join"])
            text += f" {join} {other} on {self.condition({**tables, second: columns}, 0)}"
            tables |= {} if join.startswith(("semi", "anti")) else {second: columns}
        text += f" where {self.condition(tables, 2)}" if self.random.random() < 0.5 else ""
        x, y, z = (self.number(tables, 2) for _ in range(3))
        kind = self.random.randrange(4)
        if kind == 0:
            having = f" having max({z}) > 1" if self.random.random() < 0.4 else ""
            return (
                f"select {x} + 0 as x, {self.pick(['sum', 'count'])}({y}) as y from {text} group by {x} + 0{having}",
                ["x", "y"],
            )
        if kind == 1:
            qualify = " qualify y > 1" if self.random.random() < 0.4 else ""
            return f"select {x} as x, sum({y}) over (partition by {z} order by {x}) as y from {text}{qualify}", [
                "x",
                "y",
            ]
        if kind == 2:
            return f"select distinct {x} as x from {text}", ["x"]
        return f"select {x} as x, {y} as y from {text}", ["x", "y"]


HARD = (Path(__file__).parent / "fixtures" / "hard_queries.sql").read_text("utf-8").splitlines()


@pytest.mark.parametrize("sql", HARD)
def test_what_is_easily_overlooked_is_not_left_out(sql, database):
    assert missed(database, sql) == []


def test_most_of_what_is_hard_is_understood_with_known_columns():
    unread = [sql for sql in HARD if read_columns(sql, INPUTS).unread]
    assert len(unread) <= len(HARD) // 20, unread


@examples(60)
@given(st.randoms(use_true_random=False))
def test_random_queries_leave_no_column_out(database, random):
    sql, _ = Writer(random).query()
    try:
        assert missed(database, sql) == [], sql
    except duckdb.Error as error:  # such as a number that grows too large
        event(type(error).__name__)


# What is not known before it runs


def of(sql, column, inputs=INPUTS, outputs=None):
    return [tuple(one) for one in read_columns(sql, inputs, outputs).of(column)]


def test_a_file_is_an_input_by_its_name():
    for text in ("read_parquet('data/o.parquet')", "'data/o.parquet'", "'./data/o.parquet'"):
        found = read_columns(f"select a * 2 as b from {text} where c", {})
        assert found.files == {"data/o.parquet"}
        assert of(f"select a * 2 as b from {text} where c", "b", {}) == [
            ("data/o.parquet", "a", "DIRECT", "transformation"),
            ("data/o.parquet", "c", "INDIRECT", "filter"),
        ]


def test_columns_of_a_file_pass_through_a_star_under_their_names():
    sql = "select *, amount * 2 as double, from read_csv(['a.csv', 'b.csv'], header=true)"
    assert of(sql, "x", {}) == [("a.csv", "x", "DIRECT", "identity"), ("b.csv", "x", "DIRECT", "identity")]
    assert of(sql, "x", {}, ["x", "amount", "double"]) == of(sql, "x", {})
    assert [one[3] for one in of(sql, "double", {}, ["x", "amount", "double"])] == ["transformation"] * 2
    with pytest.raises(KeyError):
        read_columns(sql, {}, ["x", "amount", "double"]).of("y")


def test_names_that_duckdb_makes_up_are_taken_by_their_place():
    sql = "select k, count(*), *, sum(x) over () from 'a.csv'"
    outputs = ["k", "count_star()", "p", "q", "sum(x) OVER ()"]
    assert of(sql, "count_star()", {}, outputs) == []
    assert of(sql, "q", {}, outputs) == [("a.csv", "q", "DIRECT", "identity")]
    assert of(sql, "sum(x) OVER ()", {}, outputs) == [("a.csv", "x", "DIRECT", "aggregation")]


def test_replaced_and_left_out_columns_of_a_file_do_not_pass():
    sql = "select * exclude (b) replace (a + c as a) from 'f.csv'"
    assert of(sql, "a", {}, ["x", "a"]) == [
        ("f.csv", "a", "DIRECT", "transformation"), ("f.csv", "c", "DIRECT", "transformation"),
    ]  # fmt: skip
    assert of(sql, "x", {}) == [("f.csv", "x", "DIRECT", "identity")]
    with pytest.raises(KeyError):
        read_columns(sql, {}).of("b")


def test_fields_of_a_struct_pass_under_their_names():
    assert of("select id, info.* from orders", "city") == [("orders", "info.city", "DIRECT", "identity")]


def test_a_column_that_either_of_two_files_may_have_comes_from_both():
    assert of("select x from 'a.csv' join 'b.csv' using (k)", "x", {}) == [
        ("a.csv", "k", "INDIRECT", "join"), ("a.csv", "x", "DIRECT", "identity"),
        ("b.csv", "k", "INDIRECT", "join"), ("b.csv", "x", "DIRECT", "identity"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("select my_macro(amount) as a from orders", "my_macro() is a macro or not known"),
        ("select * from my_table_macro(1), orders", "my_table_macro() is a macro or not known"),
        ("select columns(c -> c like 'a%') from orders", "COLUMNS with a function is not understood"),
        ("select unnest(info, recursive := true) from orders", "it unnests the fields of structs"),
        ("summarize orders", "SUMMARIZE orders is not understood"),
        ("select date_trunc(status, seen) as d from orders", "sqlglot does not take status for a column"),
        ("select #1 from orders", "it names a column by its place"),
        ("select nothing from orders", "none of its tables has a column nothing"),
        ("select a from nowhere, orders", "nowhere is not one of its inputs"),
        ("select id from\n  orders where (id", "sqlglot does not read it at line 2, column"),
        ("select " + "(" * 3000 + "id" + ")" * 3000 + " from orders", "it is nested too deeply"),
        ("pivot orders on status using sum(amount)", "the columns of its PIVOT are not known before it runs"),
    ],
)
def test_what_is_not_understood_depends_on_every_column_and_says_so(sql, why):
    found = read_columns(sql, {"orders": INPUTS["orders"]})
    assert found.unread.startswith(why)
    assert [tuple(one) for one in found.of("anything")] == [("orders", "*", "DIRECT", "opaque")]


def test_other_outputs_than_were_found_are_not_believed():
    found = read_columns("select id, amount from orders", INPUTS, ["id", "amount", "more"])
    assert found.unread == "it gives other columns than were found in it"


def test_names_go_before_places():
    grown = ["amount", "id", "count_star() OVER ()"]  # of a table that got its columns in another order
    assert of("select id, count(*) over (), amount from orders", "id", outputs=grown) == [
        ("orders", "id", "DIRECT", "identity")
    ]
    found = read_columns("select k, count(*), * from 'a.csv'", {}, ["count_star()", "k", "p"])
    assert found.unread == "it gives its columns in another order than they were found in it"


def test_a_column_that_a_file_may_have_may_be_one_of_the_query_around():
    sql = "select id from orders where exists (from 'a.csv' where x = amount)"
    assert ("orders", "amount", "INDIRECT", "filter") in of(sql, "id")
    assert ("a.csv", "amount", "INDIRECT", "filter") in of(sql, "id")


def test_the_struct_that_a_table_is_comes_from_all_its_columns():
    assert [one[1] for one in of("select c from customers c", "c")] == ["customer", "name", "tier"]
