"""`lint --pure`: each planted impurity is found and named, and a sound project is clean."""

import textwrap

import leaky
import pytest
from command_line import projects_forgotten

import tinymlops as tm
from tinymlops.features.definitions.code import import_modules

HEAD = (
    """
import random
import time
import uuid
from datetime import UTC, datetime

import polars as pl
"""
    + leaky.MODULE
    + """

CALLS = []
features = [lateness]


def frame():
    return pl.read_parquet(__file__.replace("airline.py", "data/landings.parquet"))
"""
)
TAIL = """
project.training_set("delays", spine=departures, label=late, features=features)
"""


def sql_source(select):
    return f'''
@project.source(timestamp="landed_at")
def planted() -> str:
    return """{select}"""
'''


def sql_made(select):
    return f'''
@project.transformation(timestamp="landed_at")
def planted(landings: tm.Rows) -> str:
    return """{select}"""
'''


def python_source(body):
    return f"""
@project.source(timestamp="landed_at")
def planted() -> pl.DataFrame:
{textwrap.indent(textwrap.dedent(body).strip(), "    ")}
"""


def python_made(body):
    return f"""
@project.transformation(timestamp="landed_at")
def planted(landings: tm.Rows) -> pl.LazyFrame:
{textwrap.indent(textwrap.dedent(body).strip(), "    ")}
"""


def on_demand(expression, name="planted"):
    return f"""
@project.on_demand
def {name}(lateness: tm.Inputs) -> dict[str, pl.Expr]:
    return {{"value": {expression}}}
features.append({name})
"""


FILE = "from 'data/landings.parquet'"
PLANTED = {
    "now in SQL": (sql_source(f"select *, now() as read_at {FILE}"), "clock", "now() in line 1"),
    "today in SQL": (sql_made("select *, current_date - landed_on as age from landings"), "clock", "current_date()"),
    "random in SQL": (sql_source(f"select *, random() as x {FILE}"), "chance", "random() in line 1"),
    "sample in SQL": (sql_made("select * from landings using sample 10"), "chance", "a sample of the rows"),
    "first in SQL": (
        sql_made("select carrier, max(landed_at) as landed_at, first(arr_delay) as x from landings group by carrier"),
        "row-order",
        "first() without ORDER BY in line 1",
    ),
    "row number in SQL": (
        sql_made("select *, row_number() over (partition by carrier) as place from landings"),
        "row-order",
        "row_number() over no order",
    ),
    "limit in SQL": (sql_made("select * from landings limit 7"), "row-order", "LIMIT without ORDER BY"),
    "any value in SQL": (
        sql_made("select max(landed_at) as landed_at, any_value(flight) as x from landings"),
        "row-order",
        "any_value() without ORDER BY",
    ),
    "clock in Python": (
        python_source("return frame().with_columns(x=pl.lit(datetime.now(UTC)))"),
        "clock",
        "datetime.now() in line",
    ),
    "random in Python": (
        python_source("return frame().with_columns(x=pl.lit(random.random()))"),
        "chance",
        "random.random() in line",
    ),
    "uuid in Python": (
        python_made("return landings.with_columns(x=pl.lit(str(uuid.uuid4())))"),
        "chance",
        "uuid.uuid4() in line",
    ),
    "hash in Python": (
        python_source("return frame().with_columns(x=pl.Series([hash(one) % 7 for one in frame()['flight']]))"),
        "hash-seed",
        "hash() in line",
    ),
    "set in Python": (
        python_source("return frame().with_columns(x=pl.lit(', '.join([one for one in set(frame()['flight'])])))"),
        "hash-seed",
        "a set that is walked through",
    ),
    "hash behind a helper": (
        python_source("words = frozenset(frame()['flight'])\nreturn frame().with_columns(x=pl.lit(next(iter(words))))"),
        "hash-seed",
        "when the hash seed is another",
    ),
    "first row in Python": (
        python_made("return landings.group_by('carrier').agg(pl.col('landed_at').max(), x=pl.col('flight').first())"),
        "row-order",
        "when its input rows are shuffled",
    ),
    "memory between calls": (
        python_source("CALLS.append(1)\nreturn frame().with_columns(x=pl.lit(len(CALLS)))"),
        "unstable",
        "each time that it is run",
    ),
    "hash in an on-demand view": (
        on_demand('lateness["mean_1d"] + pl.lit(hash("late") % 1000)'),
        "hash-seed",
        "hash() in line",
    ),
}


@pytest.fixture
def lint(tmp_path):
    """Lint a project in a module of its own, as the command does."""
    leaky.tables(tmp_path)

    def linted(planted):
        (tmp_path / "tinymlops.toml").write_text('workspace = "airline.tm"\nmodules = ["airline"]\n')
        (tmp_path / "airline.py").write_text(HEAD + planted + TAIL)
        with projects_forgotten(), tm.connect(tmp_path / "airline.tm", create=True, root=tmp_path) as ws:
            (module,) = import_modules(["airline"], tmp_path)
            ws.apply(module.project)
            ws.ingest()
            return ws.lint(replay=5, pure=True)

    return linted


def test_a_sound_project_is_pure(lint):
    report = lint(
        sql_made(
            "select carrier, landed_at, flight, arr_delay * 2 as x from landings order by landed_at, flight limit 9"
        )
        + on_demand('lateness["mean_1d"] * 2', "twice")
    )
    assert report.findings == []
    assert report.run_twice == 5


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_impurity_is_found_and_named(lint, name):
    planted, rule, said = PLANTED[name]
    report = lint(planted)
    found = [finding for finding in report.findings if finding.name == f"{rule}:planted"]
    assert found, str(report)
    assert said in found[0].message
    assert found[0].fix
    assert found[0].level == "impurity" or name == "limit in SQL"
    assert not report.clean


def test_last_digits_that_the_order_of_adding_up_changes_are_a_note(lint):
    report = lint(
        python_made(
            """
            return landings.group_by("carrier").agg(pl.col("landed_at").max(), x=(pl.col("arr_delay") / 7).sum())
            """
        )
    )
    assert {finding.name for finding in report.findings} <= {"last-digits:planted"}
    assert report.clean
