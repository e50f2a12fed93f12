"""`import feast`: a repository of the structure of Feast's template becomes a project, and every definition has a line."""

import re
import sys

import polars as pl
import pytest
from command_line import ask, refused, succeed
from conftest import at

import tinymlops as tm

STORE = "project: taxi\nregistry: data/registry.db\nprovider: local\nonline_store:\n    type: sqlite\n"
REPOSITORY = """
import datetime as dt
from datetime import timedelta
import pandas as pd
import feast
from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float32, Int64, String

DAY = timedelta(hours=24)
raise RuntimeError("this file is read, and never run")

car = Entity(name="car", join_keys=["car_id"], description="What drives")
zone = Entity(name="Zone", join_keys=["zone_id"])

trips = FileSource(
    name="trips",
    path="data/trips.parquet",
    timestamp_field="ended",
    created_timestamp_column="seen",
    field_mapping={"fareEUR": "fare"},
)
fares = FeatureView(
    name="fares",
    entities=[car],
    ttl=DAY,
    schema=[Field(name="car_id", dtype=Int64), Field(name="fare", dtype=Float32), Field(name="avgTip", dtype=Float32)],
    source=trips,
    online=True,
    tags={"team": "x"},
)
by_zone = feast.FeatureView(name="class", entities=[car, zone], schema=[Field("fare", Float32)], source=trips)
asked = RequestSource(name="asked", schema=[Field(name="tip", dtype=Int64), Field(name="unused", dtype=Int64)])


@on_demand_feature_view(sources=[fares, asked], schema=[Field(name="total", dtype=Float32)])
def paid(inputs: pd.DataFrame) -> pd.DataFrame:
    \"\"\"What is paid.\"\"\"
    df = pd.DataFrame()
    df["total"] = inputs["fare"] * 1.5 + inputs["tip"]
    return df


@on_demand_feature_view(sources=[fares], schema=[Field(name="total", dtype=Float32)])
def rolled(inputs: pd.DataFrame) -> pd.DataFrame:
    df = pd.DataFrame()
    df["total"] = inputs["fare"].rolling(3).mean()
    return df


all_of_it = FeatureService(name="all-of-it", features=[fares[["avgTip"]], paid])
part = FeatureService(name="part", features=[fares])
broken = FeatureService(name="broken", features=[fares, rolled])
pushed = PushSource(name="pushed", batch_source=trips)
fresh = FeatureView(name="fresh", entities=[car], schema=[Field(name="fare", dtype=Float32)], source=pushed)
inline = FeatureView(
    name="inline",
    entities=[car],
    schema=[Field(name="zone_id", dtype=Int64)],
    source=FileSource(path="data/trips.parquet", timestamp_field="ended"),
)
far = FileSource(name="far", path="s3://bucket/x.parquet", timestamp_field="ended")
lost = FeatureView(name="lost", entities=[car], schema=[Field(name="fare", dtype=Float32)], source=far)
guess = FeatureView(name="guess", entities=[car], source=trips)
nobody = FeatureView(name="nobody", entities=[], schema=[Field(name="fare", dtype=Float32)], source=trips)
run_time = Entity(name=make_name())
circle = circle
round_about = Entity(name=circle)
spread = Entity(**OPTIONS)
labels = LabelView(name="labels", entities=[car], source=trips)


def later():
    return Entity(name="hidden")
"""


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "taxi"
    (root / "data").mkdir(parents=True)
    (root / "feature_store.yaml").write_text(STORE)
    (root / "definitions.py").write_text(REPOSITORY)
    naive = pl.DataFrame(
        {
            "car_id": [1, 1, 2],
            "zone_id": [7, 8, 7],
            "ended": [at(1), at(3), at(3)],
            "seen": [at(1), at(9), at(3)],
            "fareEUR": [10.0, 20.0, 30.0],
            "avgTip": [1.0, 2.0, 3.0],
        }
    ).with_columns(pl.col("ended", "seen").dt.replace_time_zone(None))
    naive.write_parquet(root / "data" / "trips.parquet")
    yield root
    sys.modules.pop("features", None)  # the code of its on-demand views, which the next project has under that name too


def test_every_definition_is_taken_changed_or_not_possible_and_why(repository, tmp_path):
    told = ask("import", "feast", repository, "--output", tmp_path / "out")
    lines = {(line["kind"], line["name"]): (line["outcome"], line["why"]) for line in told["lines"]}
    taken = [name for (_, name), (outcome, _) in lines.items() if outcome == "taken"]
    assert taken == ["fresh", "inline", "part"]
    changed = {name: why for (_, name), (outcome, why) in lines.items() if outcome == "changed"}
    assert changed == {
        "car": "without description",
        "Zone": "is called 'zone' here",
        "trips": "a row counts from its created time on, which in Feast only breaks ties",
        "pushed": "its views read the batch source 'trips'; what is pushed needs a tm.Schema source",
        "asked": "its fields are parameters of the on-demand views that use them",
        "fares": "features in lower case: avgTip; without tags",
        "class": "is called 'class_' here; its entities are one of 2 key columns",
        "paid": "pandas became Polars expressions: read them over",
        "all-of-it": "is called 'all_of_it' here; lists what its on-demand views read as well: fares:fare",
    }
    impossible = {name: why for (_, name), (outcome, why) in lines.items() if outcome == "not possible"}
    assert {name: re.split(":| while| in comp", why)[0] for name, why in impossible.items()} == {
        "far": "path='s3",
        "lost": "its source far was not taken",
        "guess": "its schema is not a list of fields",
        "nobody": "it has no entity that was taken",
        "run_time": "make_name() is known only when it runs",
        "round_about": "maximum recursion depth exceeded",
        "spread": "its arguments are known only when it runs",
        "rolled": "its function does more than arithmetic (inputs['fare'].rolling(3).mean())",
        "broken": "it lists rolled, which was not taken",
        "labels": "labels that people give are a source that takes pushes, and a @project.label over it",
        "": "it stands in a function, a loop or another call",
    }


def test_what_was_imported_works_and_answers(repository, tmp_path):
    out = tmp_path / "out"
    succeed("import", "feast", repository, "--output", out)
    succeed("init", out)
    where = ["--project", out]
    succeed("apply", *where)
    succeed("ingest", *where)
    with tm.connect(out / "taxi.tm", root=out) as ws:
        spine = pl.DataFrame({"car_id": [1, 1, 1, 2], "timestamp": [at(2), at(5), at(30), at(4)], "tip": [1, 1, 1, 2]})
        got = ws.get_historical_features(spine, ["all_of_it"])
        assert got["fare"].to_list() == [10.0, 10.0, None, 30.0]  # seen late, and no older than a day
        assert got["total"].to_list() == [16.0, 16.0, None, 47.0]
        pair = pl.DataFrame({"car_id": [1], "zone_id": [7], "timestamp": [at(99)]})
        assert ws.get_historical_features(pair, ["class_"])["fare"].to_list() == [10.0]
        assert {one.name for one in ws.catalog.list("service")} == {"all_of_it", "part"}
        assert {one.name for one in ws.catalog.list("entity")} == {"car", "zone", "car_zone"}


def test_paths_are_said_from_where_the_project_lies(repository):
    succeed("import", "feast", repository, "--output", repository)
    assert "read_parquet('data/trips.parquet')" in (repository / "features.py").read_text()
    assert "data_dirs" not in (repository / "tinymlops.toml").read_text()
    assert "already holds features.py" in refused(5, "import", "feast", repository, "--output", repository)


def test_what_is_not_a_repository_is_refused(tmp_path, repository):
    (tmp_path / "empty").mkdir()
    told = refused(4, "import", "feast", tmp_path / "empty", "--output", tmp_path / "out")
    assert "there is no feature_store.yaml" in told
    (repository / "broken.py").write_text("def f(:\n")
    assert "broken.py is not Python" in refused(6, "import", "feast", repository, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
