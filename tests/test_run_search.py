"""The search language of runs: what each form finds, in three-valued logic, and what it refuses."""

from __future__ import annotations

import math
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymlops.errors import DataError, IntegrityError
from tinymlops.goals import goal_of
from tinymlops.records import Experiment, MetricSummary, RunRow
from tinymlops.registry.run_search import (
    And,
    Compare,
    Field,
    In,
    IsNan,
    IsNull,
    Like,
    Not,
    Or,
    Order,
    compile_search,
    find_runs,
    parse,
    parse_order,
)
from tinymlops.stores.environment import open_environment

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def summary(run, name, *values):
    numbers = [value for value in values if not math.isnan(value)]
    least, greatest = (min(numbers), max(numbers)) if numbers else (None, None)
    goal = goal_of(name)
    best = least if goal == "min" else greatest
    step = None if best is None else float(values.index(best))
    return MetricSummary(
        run=run,
        name=name,
        count=len(values),
        step=float(len(values) - 1),
        last=values[-1],
        at=NOW,
        min=least,
        min_step=step,
        max=greatest,
        max_step=step,
        best=best,
        best_step=step,
        goal=goal,
        nans=len(values) - len(numbers),
    )


def put(database, runs):
    """Store runs: the fields of each, and `metrics` with all values of each."""
    with database.write(actor=None) as tx:
        for number, fields in enumerate(runs):
            metrics = fields.pop("metrics", {})
            row = RunRow(
                **{"id": f"{number:032x}", "status": "finished", "started_at": NOW - timedelta(days=number), **fields}
            )
            tx.insert(row)
            for name, values in metrics.items():
                tx.insert(summary(row.id, name, *values))


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    environment = open_environment(tmp_path_factory.mktemp("runs") / "a.tm", create=True, clock=lambda: NOW)
    with environment.database.write(actor=None) as tx:
        tx.insert(Experiment(id=1, name="delays", created_at=NOW))
    put(
        environment.database,
        [
            {
                "name": "a",
                "params": {"depth": 3, "loss": "log", "flag": True, "none": None},
                "tags": {"team": "ops", "mlflow.user": "x"},
                "metrics": {"auc": [0.9, 0.7], "val/loss-1": [1.0]},
                "group": "g",
                "ended_at": NOW + timedelta(seconds=90),
                "notes": "50% of_rows [x]",
            },
            {
                "name": "b",
                "params": {"depth": 5.5, "loss": "it's"},
                "metrics": {"auc": [0.8]},
                "experiment": 1,
                "user": "eva",
            },
            {"name": "c", "params": {"depth": "3"}, "metrics": {"auc": [0.95, math.nan]}, "parent": "0" * 32},
            {
                "name": "d",
                "status": "running",
                "tags": {"team": "Ops-2"},
                "metrics": {"auc": [math.inf]},
                "git_dirty": True,
            },
            {
                "name": "e",
                "status": "running",
                "error": "ValueError: é",
                "metrics": {"auc": [math.nan], "up": [-math.inf], "val.max": [1.0]},
            },
            {"name": "f", "deleted_at": NOW, "params": {"depth": 3}},
        ],
    )
    yield environment.database
    environment.release()


def names(database, where, **options):
    found = find_runs(database, where, clock=lambda: NOW, lost=lambda: [f"{4:032x}"], **options)
    by_id = {run.id: run.name for run in database.list(RunRow)}
    return "".join(by_id[one] for one in found)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (None, "abcde"),
        ("params.depth = 3 or params.depth = '3'", "ac"),
        ("params.depth = 3 or metrics.auc = 0.8 and name = 'x'", "a"),
        ("(params.depth = 3 or metrics.auc = 0.8) and name != 'x'", "ab"),
        ("params.depth != 3", "bc"),
        ("not params.depth = 3", "bc"),
        ("params.depth is null", "de"),
        ("params.depth IS NOT NULL", "abc"),
        ("params.depth != 3 or params.depth is null", "bcde"),
        ("params.none is null", "abcde"),
        ("not params.none = 1", ""),
        ("params.depth in (3, '3', 7)", "ac"),
        ("params.depth not in (3, 7)", "bc"),
        ("params.depth between 3 and 5.5", "ab"),
        ("params.depth not between 4 and 9", "ac"),
        ("params.flag = true", "a"),
        ("params.flag != 1", "a"),
        ("params.loss like '%o%'", "a"),
        ("params.depth like '3'", "c"),
        ("params.loss not like 'l%'", "b"),
        ("notes like '50\\%%'", "a"),
        ("notes like '%of\\_rows [x]'", "a"),
        ("notes like '50_ of%'", "a"),
        ("notes like '*'", ""),
        ("tags.team like 'ops%'", "a"),
        ("tags.team ilike 'ops%'", "ad"),
        ("tags.mlflow.user = 'x'", "a"),
        ("tags.`mlflow.user` = 'x'", "a"),
        ("metrics.auc > 0.7", "bd"),
        ("metrics.auc.best > 0.85", "acd"),
        ("metrics.auc.min <= 0.8", "ab"),
        ("metrics.auc.count = 2", "ac"),
        ("metrics.auc.step = 1", "ac"),
        ("metrics.auc.nans > 0", "ce"),
        ("metrics.auc is nan", "ce"),
        ("metrics.auc is not nan", "abd"),
        ("metrics.auc != 0.7", "bcde"),
        ("not metrics.auc > 0.75", "ace"),
        ("not metrics.auc.max > 0.75", ""),
        ("metrics.auc.max is null", "e"),
        ("metrics.auc = inf", "d"),
        ("metrics.up < -1e300", "e"),
        ("metrics.up = -Infinity", "e"),
        ("metrics.auc < inf", "ab"),
        ("metrics.auc in (0.7, inf)", "ad"),
        ("metrics.auc not in (0.7, inf)", "bce"),
        ("metrics.val/loss-1 = 1", "a"),
        ('metrics."val/loss-1".best = 1', "a"),
        ("metrics.up is null", "abcd"),
        ("experiment = 'delays'", "b"),
        ("experiment = 'Default' and experiment_id = 0", "acde"),
        ("group = 'g'", "a"),
        ("group is null", "bcde"),
        ("parent is not null", "c"),
        ("user = 'eva'", "b"),
        ("error ilike 'valueerror%'", "e"),
        ("status = 'lost'", "e"),
        ("status in ('running', 'lost')", "de"),
        ("status = 'running'", "d"),
        ("git_dirty = true", "d"),
        ("deleted = true", "f"),
        ("deleted in (true, false) and params.depth = 3", "af"),
        ("deleted_at > '2026-11-01'", "f"),
        ("started_at >= '2026-11-29'", "ab"),
        ("started_at >= '2026-11-29T13:00:00+01:00'", "ab"),
        ("started_at > now - 36h", "ab"),
        ("started_at>now-1d12h", "ab"),
        ("started_at > now", ""),
        ("started_at between '2026-11-28' and '2026-11-29'", "c"),
        ("duration > 60", "a"),
        ("duration is null", "bcde"),
        ("not (params.depth = 3 or metrics.auc > 0.7)", "c"),
        ("not not name = 'a'", "a"),
        ("name in ('a', 'b') and not (name = 'a')", "b"),
        ("NAME = 'a'".lower(), "a"),
        ('name = "a" AND ( ( params.depth=3 ) )', "a"),
    ],
)
def test_each_form_finds_what_it_says(database, where, found):
    assert names(database, where) == found


@pytest.mark.parametrize(
    ("order_by", "found"),
    [
        ("-started_at", "abcde"),
        ("-metrics.auc", "dbace"),
        ("metrics.auc", "abdce"),
        ("-metrics.auc.best", "dcabe"),
        ("metrics.auc.best asc", "bacde"),
        (["params.flag", "-name"], "aedcb"),
        ("status desc", "deabc"),
        ("name DESC", "edcba"),
        ("experiment", "acdeb"),
    ],
)
def test_an_order_has_what_is_missing_or_nan_last(database, order_by, found):
    assert names(database, None, order_by=order_by) == found


def test_a_page_of_the_runs(database):
    assert names(database, None, limit=2, offset=1) == "bc"
    assert names(database, None, offset=4) == "e"
    assert names(database, None, limit=0) == ""


@pytest.mark.parametrize(
    ("where", "why"),
    [
        ("param.depth = 3", "did you mean 'params'"),
        ("stat = 'x'", "did you mean 'status'"),
        ("metrics.'a' > 1", "no field|not understood"),
        ('metrics."auc".bets > 1', "did you mean 'best'"),
        ("metrics.auc > 1 or", "ends too early"),
        ("(metrics.auc > 1", "ends without `\\)`"),
        ("metrics.auc > 1)", "only `and` or `or`"),
        ("metrics.auc in 1", "`\\(` must be"),
        ("metrics.auc in ()", "is not a value"),
        ("metrics.auc in (1, 'a')", "is a number, and a is not"),
        ("metrics.auc = nan", "is nan"),
        ("params.depth = null", "is null"),
        ("params.depth is 3", "is followed by"),
        ("params.depth is nan", "only metrics"),
        ("metrics.auc like '1%'", "compares text"),
        ("name like 3", "compares text"),
        ("name not = 'a'", "cannot follow `not`"),
        ("started_at > 'yesterday'", "is not a time"),
        ("started_at > 3", "is a time, and 3 is not"),
        ("started_at > now - 3mo", "is not a duration"),
        ("started_at > now - 9999999d", "outside the years"),
        ("name = now", "is text"),
        ("git_dirty = 1", "true or false"),
        ("name like '" + "a" * 20_000 + "'", "more than 10,000"),
        ("(" * 200 + "name = 'a'" + ")" * 200, "levels deep"),
        ("not " * 200 + "name = 'a'", "levels deep"),
        ("name = 'a'" + " " * 10**6 + "and name = 'a'", "characters"),
        ("name in ('\ud800')", "Unicode"),
        ("name between 'a' or 'b'", "`and` must be"),
        ("not", "ends too early"),
        ("and", "is not a field"),
    ],
)
def test_what_cannot_be_read_is_said(database, where, why):
    with pytest.raises(DataError, match=why) as caught:
        find_runs(database, where)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("order_by", ["nme", "metrics.", "-", "", "name sideways", 7, "metrics.auc.best.x desc desc"])
def test_an_order_that_cannot_be_read_is_said(database, order_by):
    with pytest.raises(DataError):
        find_runs(database, None, order_by)


@pytest.mark.parametrize(
    ("where", "options", "said"),
    [
        ("metrics.acu > 1", {}, "no run has metrics.acu; did you mean 'auc'"),
        ("params.dept = 1", {}, "no run has params.dept; did you mean 'depth'"),
        (None, {"order_by": "-metrics.acu"}, "no run has metrics.acu; did you mean 'auc'"),
        ("packages.polars = '1'", {}, "no run has packages.polars"),
        ("metrics.AUC > 1", {}, "no run has metrics.AUC; did you mean 'auc'"),
        ("metrics.val.max > 1", {}, 'no run has metrics.val; write metrics."val.max"'),
    ],
)
def test_a_name_that_no_run_has_is_warned_of(database, where, options, said):
    with pytest.warns(UserWarning, match=said):
        find_runs(database, where, **options)


def test_many_conditions_and_many_values(database):
    chain = " or ".join(f"metrics.m{number} > 0" for number in range(400))
    assert names(database, f"name = 'a' or {chain}") == "a"
    listed = [f"'{number}'" for number in range(33_000)]
    assert names(database, f"name in ('a', {', '.join(listed)})") == "a"
    assert names(database, f"params.depth in (3, {', '.join(listed[:100])})") == "ac"
    assert names(database, " and ".join([f"name in ('a', {', '.join(listed[:30])})"] * 500)) == "a"


def test_conditions_are_data_that_can_be_made_without_a_text(database):
    made = And((Compare(Field("metrics", "auc"), ">", 0.7), Like(Field("tags", "team"), "ops%", ignore_case=True)))
    assert made == parse("metrics.auc > 0.7 and tags.team ilike 'ops%'")
    assert find_runs(database, made, [Order(Field("run", "name"))]) == [f"{3:032x}"]
    as_text = Field("params", "depth", as_text=True)
    assert names(database, In(as_text, ("3",))) == "ac"
    assert names(database, Compare(Field("params", "flag", as_text=True), "=", "True")) == "a"
    assert names(database, Not(IsNull(as_text))) == "abc"
    assert parse_order("-name") == [Order(Field("run", "name"), descending=True)]
    for wrong in (
        Compare(Field("run", "name"), "=", 3),
        Compare(Field("run", "nme"), "=", "a"),
        Compare(Field("metrics", "auc", "bets"), "=", 1),
        Compare(Field("metrics", 'a"'), "=", 1),
        Compare(Field("metrics", "auc"), "=", math.nan),
        Compare(Field("metrics", "auc"), "=", 2**70),
        In(Field("metrics", "auc"), ()),
        IsNan(Field("run", "name")),
        Like(Field("metrics", "auc"), "%"),
    ):
        with pytest.raises(DataError):
            compile_search(wrong)


@pytest.fixture
def small(tmp_path):
    environment = open_environment(tmp_path / "a.tm", create=True, clock=lambda: NOW)
    put(environment.database, [{"name": name, "metrics": {"auc": [0.5], "up": [1.0]}} for name in "abc"])
    yield environment
    environment.release()


def changed(environment, statement):
    with closing(sqlite3.connect(environment.path / "meta.db")) as connection, connection:
        assert connection.execute(statement).rowcount == 1


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (f"UPDATE runs SET deleted_at = 1 WHERE id = '{1:032x}'", "in table runs"),
        (f"UPDATE runs SET status = 'failed' WHERE id = '{1:032x}'", "in table runs"),
        (
            f"UPDATE metric_summaries SET last = 0.1 WHERE name = 'auc' AND run = '{1:032x}'",
            "in table metric_summaries",
        ),
    ],
)
def test_a_search_does_not_leave_out_a_damaged_run(small, statement, said):
    changed(small, statement)
    with pytest.raises(IntegrityError, match=said):
        find_runs(small.database, "metrics.auc > 0.4 and status = 'finished'")


def test_a_search_does_not_leave_out_a_run_whose_metric_has_a_damaged_name(small):
    with closing(sqlite3.connect(small.path / "meta.db")) as connection, connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'metric_summaries'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (small.path / "meta.db").open("r+b") as file:
        file.seek((root - 1) * size)
        page = file.read(size)
        at = page.index(b"auc" + f"{1:032x}".encode())
        file.seek((root - 1) * size + at)
        file.write(b"auq")
    with pytest.raises(IntegrityError, match="rows with name=.auc., and its index 3"):
        find_runs(small.database, "metrics.auc > 0.4")


def test_a_damaged_metric_that_is_not_named_stands_in_no_way(small):
    changed(small, f"UPDATE metric_summaries SET last = 0.1 WHERE name = 'up' AND run = '{1:032x}'")
    assert len(find_runs(small.database, "metrics.auc > 0.4")) == 3


def test_an_error_that_is_kept_does_not_keep_the_reader_in_the_past(tmp_path):
    environment = open_environment(tmp_path / "a.tm", create=True, clock=lambda: NOW)
    put(environment.database, [{"name": f"r{number}"} for number in range(1_000)])
    changed(environment, f"UPDATE runs SET status = 'failed' WHERE id = '{1:032x}'")
    with pytest.raises(IntegrityError) as kept:
        find_runs(environment.database)
    with environment.database.write(actor=None) as tx:
        tx.insert(RunRow(id="f" * 32, name="new", status="finished", started_at=NOW))
    assert environment.database.count(RunRow) == 1_001
    assert "in table runs" in str(kept.value)
    environment.release()


def test_what_changes_is_compared_again_and_what_is_known_is_not(small):
    assert len(find_runs(small.database, "metrics.auc > 0.4")) == 3
    changed(small, f"UPDATE metric_summaries SET check_ = 7 WHERE name = 'auc' AND run = '{1:032x}'")
    with small.database.write(actor=None) as tx:
        tx.put(RunRow(id="f" * 32, name="d", status="finished", started_at=NOW))
    with pytest.raises(IntegrityError, match=f"run='{1:032x}'"):
        find_runs(small.database, "metrics.auc > 0.4")
    assert len(find_runs(small.database, "metrics.up > 0.4")) == 3
    with small.database.write(actor=None) as tx:
        tx.put(summary(f"{1:032x}", "auc", 0.3))
    assert len(find_runs(small.database, "metrics.auc > 0.4")) == 2


# The oracle: conditions are evaluated once more, in Python, with None for unknown.

FIELDS = [
    *(Field("run", name) for name in ("name", "group")),
    *(Field("params", name) for name in ("p", "q")),
    *(Field("metrics", "m", part) for part in ("last", "best", "min", "count")),
    Field("metrics", "loss"),
]
TEXTS = ["a", "b", "ab", "3", "%", "é"]
NUMBERS = [-1, 0, 1, 3, 0.5, math.inf, -math.inf]


def values_for(field):
    if field.group == "metrics":
        return st.sampled_from(NUMBERS)
    if field.group == "run":
        return st.sampled_from(TEXTS)
    return st.sampled_from([*TEXTS, *NUMBERS, True, False])


@st.composite
def leaves(draw):
    field = draw(st.sampled_from(FIELDS))
    kind = draw(st.integers(0, 4))
    if kind == 0:
        return IsNull(field)
    if kind == 1:
        return In(field, tuple(draw(st.lists(values_for(field), min_size=1, max_size=4))))
    if kind == 2 and field.group != "metrics":
        return Like(field, draw(st.sampled_from(["a%", "_", "%b", "%", "", "\\%", "é", "A%"])), draw(st.booleans()))
    if kind == 2:
        return IsNan(field)
    return Compare(field, draw(st.sampled_from(["=", "!=", "<", "<=", ">", ">="])), draw(values_for(field)))


CONDITIONS = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: And(tuple(parts))),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts))),
    ),
    max_leaves=8,
)


def stored_value(run, field):
    if field.group == "run":
        return run.get(field.name)
    if field.group == "params":
        return run["params"].get(field.name)
    found = run["summaries"].get(field.name)
    return None if found is None else getattr(found, field.part)


def kind_of_value(value):
    return bool if isinstance(value, bool) else float if isinstance(value, int | float) else str


def compared(left, operator, right):
    if kind_of_value(left) is not kind_of_value(right):
        return operator == "!="
    return {
        "=": lambda: left == right,
        "!=": lambda: left != right,
        "<": lambda: left < right,
        "<=": lambda: left <= right,
        ">": lambda: left > right,
        ">=": lambda: left >= right,
    }[operator]()


def alike(text, pattern, ignore_case):
    if ignore_case:
        text, pattern = text.lower(), pattern.lower()
    if not pattern:
        return not text
    if pattern[0] == "\\" and len(pattern) > 1:
        return text[:1] == pattern[1] and alike(text[1:], pattern[2:], ignore_case)
    if pattern[0] == "%":
        return any(alike(text[cut:], pattern[1:], ignore_case) for cut in range(len(text) + 1))
    return bool(text) and pattern[0] in ("_", text[0]) and alike(text[1:], pattern[1:], ignore_case)


def truth(run, condition):
    match condition:
        case And(parts) | Or(parts):
            found = [truth(run, part) for part in parts]
            decides = isinstance(condition, Or)
            return decides if decides in found else None if None in found else not decides
        case Not(part):
            found = truth(run, part)
            return None if found is None else not found
        case IsNull(field):
            return stored_value(run, field) is None
    value = stored_value(run, condition.field)
    if value is None:
        return None
    match condition:
        case IsNan():
            return math.isnan(value)
        case In(_, values):
            return any(compared(value, "=", one) for one in values)
        case Like(_, pattern, ignore_case):
            return isinstance(value, str) and alike(value, pattern, ignore_case)
        case Compare(_, operator, other):
            return compared(value, operator, other)
    raise AssertionError(condition)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    draw = random.Random(3)
    environment = open_environment(tmp_path_factory.mktemp("runs") / "b.tm", create=True, clock=lambda: NOW)
    runs = []
    for number in range(60):
        run = {"name": draw.choice(TEXTS), "group": draw.choice([None, *TEXTS]), "params": {}, "metrics": {}}
        for name in ("p", "q"):
            if draw.random() < 0.8:
                run["params"][name] = draw.choice([*TEXTS, *NUMBERS[:5], True, False, None])
        for name in ("m", "loss"):
            if draw.random() < 0.8:
                run["metrics"][name] = draw.choices([*NUMBERS, math.nan], k=draw.randrange(1, 4))
        runs.append({"id": f"{number:032x}", **run})
    put(environment.database, [dict(run) for run in runs])
    for run in runs:
        run["summaries"] = {name: summary(run["id"], name, *values) for name, values in run["metrics"].items()}
    yield environment.database, runs
    environment.release()


@settings(max_examples=200, deadline=None)
@given(condition=CONDITIONS)
def test_any_condition_finds_what_a_plain_look_at_every_run_finds(many, condition):
    database, runs = many
    expected = {run["id"] for run in runs if truth(run, condition) is True}
    assert set(find_runs(database, condition)) == expected


@given(st.text(alphabet="abnot drin(),.'\"<>=!%~`\\1é-", max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text):
    try:
        parse(text)
    except DataError as error:
        assert error.hint
