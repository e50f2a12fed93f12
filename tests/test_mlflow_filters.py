"""MLflow's filters: what they read, what they find among runs, and what they refuse, in time that no pattern stretches."""

import contextlib
import math
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow_calls import asked

import tinymlops as tm
from tinymlops.errors import DataError
from tinymlops.registry.comparisons import Comparison, Field, Order, compare, select_by
from tinymlops.server.mlflow.filters import read_filter, read_order

RUNS = {
    "a": ({"m": 1.0, "n": 5.0}, {"p": "1", "q": "x"}, {"t": "red"}),
    "b": ({"m": math.nan}, {"p": "1e0"}, {"t": "Red"}),
    "c": ({"m": math.inf, "n": -2.0}, {"p": "x%y"}, {}),
    "d": ({"n": 5.0}, {"q": "it's"}, {"t": "r*d", "u.v-w": "1"}),
    "e": ({}, {}, {"t": ""}),
}


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    with tm.connect(tmp_path_factory.mktemp("filters") / "shop.tm", create=True) as ws:
        for number, (name, (metrics, params, tags)) in enumerate(RUNS.items()):
            run = ws.runs.start(name, params=params, tags=tags)
            if metrics:
                ws.runs.log_metrics(run.id, metrics, step=number)
            ws.runs.finish(run.id, status="failed" if name == "b" else "finished")
        with asked(ws) as found:
            yield found


@pytest.mark.parametrize(
    ("text", "comparison"),
    [
        ("metrics.auc > 0.7", Comparison(Field("metric", "auc"), ">", 0.7)),
        ("metric.`a b/c` <= -1e-3", Comparison(Field("metric", "a b/c"), "<=", -0.001)),
        ("params.\"a.b\" = '3'", Comparison(Field("param", "a.b"), "=", "3")),
        ("parameters.x != 'it''s'", Comparison(Field("param", "x"), "!=", "it's")),
        ('tags.mlflow.parentRunId = "f"', Comparison(Field("tag", "mlflow.parentRunId"), "=", "f")),
        ("attr.status IN ('A', 'B',)", Comparison(Field("attribute", "status"), "IN", ["A", "B"])),
        ("run_id not in ('x')", Comparison(Field("attribute", "run_id"), "NOT IN", ["x"])),
        ("`Run name` ilike '%a%'", Comparison(Field("attribute", "Run name"), "ILIKE", "%a%")),
        ("params.x is not null", Comparison(Field("param", "x"), "IS NOT NULL", None)),
        ("dataset.name = 'd'", Comparison(Field("dataset", "name"), "=", "d")),
        ("metrics.m == inf", Comparison(Field("metric", "m"), "=", math.inf)),
        ("metrics.1st_and-last > 1", Comparison(Field("metric", "1st_and-last"), ">", 1.0)),
    ],
)
def test_a_comparison_is_read(text, comparison):
    assert read_filter(text) == [comparison]
    assert read_filter(f"{text} AND {text}") == [comparison] * 2


def test_orders_are_read():
    assert read_order(["metrics.a DESC", "start_time", "tags.`x y` asc"]) == [
        Order(Field("metric", "a"), descending=True),
        Order(Field("attribute", "start_time")),
        Order(Field("tag", "x y")),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "x >",
        "> 1",
        "metrics.a > 1 or metrics.b > 2",
        "metrics.a > 1 metrics.b > 2",
        "metrics.a > 1 and",
        "and",
        "(metrics.a > 1)",
        "name = unquoted",
        "name = 'open",
        "x.y.z = 'a'",
        "foo.a = 1",
        "name IN 'a'",
        "name IN ()",
        "name IN ('a'",
        "name NOT LIKE 'a'",
        "name IS 'a'",
        "metrics.a > 1;",
        "a" * 20_000,
        " and ".join(["metrics.a > 1"] * 200),
        "metrics.a > 0x10",
        "'name' = 'a'",
    ],
)
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(DataError) as raised:
        read_filter(text)
    assert raised.value.hint
    assert len(str(raised.value)) < 600


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(DataError):
        read_filter(text)


FOUND = {
    "": "edcba",
    "metrics.m > 0": "ca",
    "metrics.m != 1": "cb",
    "metrics.m = 1 and metrics.n = 5": "a",
    "metrics.n < 0": "c",
    "metrics.nothing != 1": "",
    "params.p = '1'": "a",
    "params.p != '1'": "cb",
    "params.p LIKE '%y'": "c",
    "params.q = 'it''s'": "d",
    'params.q = "it\'s"': "d",
    "params.p IS NULL": "ed",
    "params.q IS NOT NULL and tags.t = 'red'": "a",
    "tags.t LIKE 'r%'": "da",
    "tags.t ILIKE 'RED'": "ba",
    "tags.t LIKE 'r*d'": "d",
    "tags.t LIKE 'r_d'": "da",
    "tags.t = ''": "e",
    "tags.`u.v-w` = '1'": "d",
    "tags.u.v-w = '1'": "d",
    "status = 'FAILED'": "b",
    "status != 'FAILED' and run_name IN ('a', 'b')": "a",
    "run_name NOT IN ('a', 'b')": "edc",
    "start_time > 0 and end_time >= 1600000000000": "edcba",
    "start_time < 0": "",
    "user_id != 'nobody at all'": "edcba",
    "artifact_uri LIKE 'mlflow-artifacts:/runs/%'": "edcba",
    "experiment_id = '0'": "edcba",
    "tags.\"mlflow.runName\" = 'a'": "a",
    "name = 'a'": None,
    "metrics.m = 'x'": None,
    "params.p > '1'": None,
    "params.p = 1": None,
    "status < 'A'": None,
    "start_time = 'today'": None,
    "metrics.m LIKE '1'": None,
    "dataset.size = '1'": None,
    "params.p LIKE '" + "%a" * 600 + "'": None,
}


def test_runs_are_found_by_what_they_logged(calls):
    for text, expected in FOUND.items():
        if expected is None:
            body = {"experiment_ids": ["0"], "filter": text}
            calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/search", body)
        else:
            assert "".join(calls.names(text)) == expected, text


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["metrics.m"], "acedb"),
        (["metrics.m DESC"], "caedb"),
        (["metrics.n DESC", "run_name"], "adcbe"),
        (["params.p", "run_name DESC"], "abced"),
        (["tags.t DESC", "run_name"], "adbec"),
        (["status", "attributes.run_name DESC"], "bedca"),
        (["start_time ASC"], "abcde"),
    ],
)
def test_runs_are_ordered_and_those_without_the_field_come_last(calls, order, expected):
    assert "".join(calls.names(order_by=order)) == expected


def test_runs_of_no_experiment_are_none_and_wrong_orders_are_refused(calls):
    assert calls.post("runs/search")["runs"] == []
    for order in ("metrics.m SIDEWAYS", "dataset.name", "nothing"):
        body = {"experiment_ids": ["0"], "order_by": [order]}
        calls.refused(400, "INVALID_PARAMETER_VALUE", "POST", "runs/search", body)


OPERATORS = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}


@given(st.sampled_from(sorted(OPERATORS)), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_numbers_are_compared_as_python_does(operator, found, value):
    wanted = getattr(found, OPERATORS[operator])(value)
    assert compare(found, Comparison(Field("metric", "m"), operator, value)) is wanted


@given(st.text("ab%_", max_size=6), st.text("abAB", max_size=8))
def test_patterns_match_as_regular_expressions_do(pattern, text):
    expected = re.fullmatch(pattern.replace("%", ".*").replace("_", "."), text) is not None
    assert compare(text, Comparison(Field("tag", "t"), "LIKE", pattern)) is expected
    folded = re.fullmatch(pattern.replace("%", ".*").replace("_", "."), text, re.IGNORECASE) is not None
    assert compare(text, Comparison(Field("tag", "t"), "ILIKE", pattern)) is folded


def test_no_pattern_takes_long(workspace):
    begun = time.monotonic()
    assert not compare("a" * 5_000, Comparison(Field("tag", "t"), "LIKE", "%a" * 400 + "b"))
    run = workspace.runs.start("long", tags={"t": "a" * 20_000})
    with asked(workspace) as calls:
        assert calls.names("tags.t LIKE '" + "%a" * 400 + "b'") == []
    workspace.runs.finish(run.id)
    assert time.monotonic() - begun < 60  # a search that tries every way would take longer than the universe is old


def test_rows_are_selected_and_ordered_by_plain_values():
    rows = [
        {Field("attribute", "name"): name, Field("tag", "t"): tag}
        for name, tag in (("b", "x"), ("a", None), ("c", "y"))
    ]
    assert select_by(rows, [], [Order(Field("attribute", "name"))], ["name"]) == [1, 0, 2]
    assert select_by(rows, read_filter("tags.t = 'x'"), [], ["name"]) == [0]
    assert select_by(rows, [], [Order(Field("tag", "t"), descending=True)], ["name"]) == [2, 0, 1]
    with pytest.raises(DataError, match="no attribute 'nam'"):
        select_by(rows, read_filter("nam = 'x'"), [], ["name"])
