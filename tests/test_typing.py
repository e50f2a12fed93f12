"""The definitions of a project are checked by a type checker as they are written, without a plugin."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

DEFINITIONS = '''
import polars as pl
import tinymlops as tm

project = tm.Project("flights", tz="America/New_York")
airport = project.entity("airport", key="origin")
carrier = project.entity("carrier", key="carrier")
flight = project.entity("flight", key="flight_id")

@project.source(timestamp="time_hour")
def weather() -> str:
    """Hourly weather at the New York airports."""
    return "select * from read_parquet('data/weather.parquet')"

@project.source(timestamp="landed_at", id="flight_id")
def landings() -> pl.LazyFrame:
    """Completed flights; a delay is known only once the plane has landed."""
    return pl.scan_parquet("data/landings.parquet")

@project.source(timestamp="predict_at", id="flight_id")
def departures() -> str:
    """Every scheduled flight, one hour before its scheduled departure."""
    return "select flight_id, carrier, origin, dest, predict_at from read_parquet('data/departures.parquet')"

@project.feature_view(entity=airport, ttl="3h")
def sky(weather: tm.Rows) -> tm.Features:
    """Latest weather at the origin."""
    return {"wind_speed": weather["wind_speed"].last(), "visib": weather["visib"].last()}

@project.feature_view(entity=carrier)
def carrier_delays(landings: tm.Rows) -> tm.Features:
    """How late this carrier has been running."""
    late = landings["arr_delay"]
    return {"mean_1h": late.mean(window="1h"), "share_7d": (late > 15).mean(window="7d"), "n_1d": landings.count(window="1d")}

@project.label(entity=flight, horizon="36h")
def late(landings: tm.Rows) -> tm.Label:
    """Whether the flight arrives more than 15 minutes late; a cancelled flight has no outcome."""
    return (landings["arr_delay"] > 15).last()

delays = project.training_set("delays", spine=departures, label=late, features=[sky, carrier_delays])
'''

MORE = """
from datetime import datetime

@project.feature_view(entity=carrier)
def carrier_rates(landings: tm.Rows) -> tm.Features:
    late, n = landings["arr_delay"].sum(window="7d"), landings.count(window="7d")
    known = landings["arr_delay"].log().is_null() | landings["carrier"].str.starts_with("A")
    return {"rate": late / n, "none": n == 0, "share": known.mean(window="7d"), "half": landings["arr_delay"].median(window="1d")}

@project.label(entity=flight, horizon="36h")
def cancelled(landings: tm.Rows) -> tm.Label:
    return (landings.count() == 0) & ~landings["arr_delay"].is_in([1, 2]).any()

@project.source(timestamp="at", id="order")
def orders() -> tm.Schema:
    return {"order": str, "amount": float, "at": datetime}

@project.source(timestamp="at")
def clicks(since: datetime | None) -> pl.DataFrame:
    return pl.DataFrame({"at": [since]})

@project.transformation(row_wise=True)
def large_orders(orders: pl.LazyFrame) -> pl.LazyFrame:
    return orders.filter(pl.col("amount") > 100)

@project.transformation(timestamp="at")
def joined(orders: tm.Rows, clicks: tm.Rows) -> str:
    return "select * from orders join clicks using (at)"

@project.on_demand
def calendar(sky: tm.Inputs, distance: pl.Expr, timestamp: pl.Expr) -> dict[str, pl.Expr]:
    return {"hour": timestamp.dt.hour(), "fog": sky["visib"] * distance}

more = project.training_set(
    "more",
    spine=departures,
    label=late,
    features=[sky["visib"], sky.on("dest", prefix="dest_"), sky.on("dest", prefix="d_")["visib"], calendar],
)
"""


def check(tmp_path, text):
    """Run mypy in strict mode on a user's module."""
    module = tmp_path / "definitions.py"
    module.write_text(text)
    cache = ROOT / ".mypy_cache" / "definitions"  # its own: a run by hand may hold the other
    if not cache.exists() and (checked := cache.with_name(VERSION)).exists():  # by `make checks`
        shutil.copytree(checked, cache / VERSION)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [*command, "--no-error-summary", "--cache-dir", str(cache), str(module)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("text", [DEFINITIONS, DEFINITIONS + MORE], ids=["first page", "every noun"])
def test_definitions_pass_strict_mypy(tmp_path, text):
    result = check(tmp_path, text)
    assert (result.returncode, result.stdout) == (0, ""), result.stdout + result.stderr


def test_the_types_of_nouns_are_those_of_their_functions(tmp_path):
    result = check(tmp_path, DEFINITIONS + "reveal_type(landings())\nreveal_type(sky)\nreveal_type(weather)\n")
    assert [line.partition("Revealed type is ")[2] for line in result.stdout.splitlines()] == [
        '"polars.lazyframe.frame.LazyFrame"',
        '"tinymlops.features.definitions.nouns.FeatureView[[weather: tinymlops.features.definitions.expressions.Rows], '
        'typing.Mapping[str, tinymlops.features.definitions.expressions.Aggregate]]"',
        '"tinymlops.features.definitions.nouns.Source[[], str]"',
    ]


MISTAKES = {
    "an entity by name": ('project.feature_view(entity="carrier")', 'incompatible type "str"; expected "Entity"'),
    "a role without prefix": ('sky.on("dest")', 'Missing named argument "prefix"'),
    "a column as an attribute": ("tm.Rows().amount", '"Rows" has no attribute "amount"'),
    "an aggregate beside a column": (
        'tm.Rows()["a"].last() > tm.Rows()["b"]',
        'Unsupported operand types for > ("Aggregate" and "Operand")',
    ),
    "a positional timestamp": ('project.source("at")', "Too many positional arguments"),
    "a frame for rows": ("sky(landings())", 'incompatible type "LazyFrame'),
    "a label without horizon": ("project.label(entity=flight)", 'Missing named argument "horizon"'),
    "a time without window": ('tm.Rows()["arr_delay"].time_since_last()', 'Missing named argument "window"'),
    "a view as spine": (
        'project.training_set("t", spine=sky, label=late, features=[sky])',
        'Argument "spine" to "training_set" of "Project" has incompatible type',
    ),
    "a view that gives a column": (
        "@project.feature_view(entity=carrier)\ndef wrong(landings: tm.Rows) -> tm.Features:\n"
        '    return {"delay": landings["arr_delay"]}',
        'expected "str": "Aggregate"',
    ),
    "a label that gives a column": (
        "@project.label(entity=flight, horizon='1d')\ndef wrong_label(landings: tm.Rows) -> tm.Label:\n"
        '    return landings["arr_delay"]',
        'got "Operand", expected "Aggregate"',
    ),
}


@pytest.fixture(scope="module")
def complaints(tmp_path_factory):
    """Return mypy's errors for a module with every mistake, by mistake."""
    text = DEFINITIONS
    first_lines = {}
    for mistake, (code, _) in MISTAKES.items():
        first_lines[mistake] = text.count("\n") + 1
        text += code + "\n"
    result = check(tmp_path_factory.mktemp("mistakes"), text)
    said = {mistake: [] for mistake in MISTAKES}
    for found in re.finditer(r"definitions\.py:(\d+): error: (.*)", result.stdout):
        mistake = max((m for m in MISTAKES if first_lines[m] <= int(found[1])), key=first_lines.get)
        said[mistake].append(found[2])
    return said


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mypy_finds_the_mistake_before_python_does(complaints, mistake):
    assert any(MISTAKES[mistake][1] in complaint for complaint in complaints[mistake]), complaints[mistake]
