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
        "round_about": "circle is known only when it runs",
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


FILES = {
    "entities.py": """
from feast import Entity as E
car = E(name="taxi", join_keys=["car_id"])
""",
    "sources.py": """
from datetime import timedelta as span
from feast import FileSource
TTL = span(days=2)
source = FileSource(path="data/trips.parquet", event_timestamp_column="ended")
""",
    "more/views.py": """
import feast
from datetime import timedelta
from feast import Feature, FeatureView as View, Field, RequestSource, batch_feature_view
from entities import car as one
import entities
from sources import source
import sources as shared

TTL = timedelta(hours=1)
early = View(name="early", entities=[one], schema=[Field(name="fareEUR")], source=source, ttl=None)
source = feast.FileSource(path="data/other.parquet", timestamp_field="ended")
other = View(name="other", entities=[entities.car], schema=[Field(name="fareEUR")], source=source, ttl=shared.TTL)
old = View(name="old", entities=["taxi"], features=[Feature(name="avgTip", dtype=1)], batch_source=shared.source, ttl=TTL)
fields = [Field(name="fareEUR")]
fields.append(Field(name="avgTip"))
grown = View(name="grown", entities=[one], schema=fields, source=source)
back = View(name="back", entities=[one], schema=[Field(name="avgTip")], source=source, ttl=timedelta(days=-1))
two = RequestSource(name="two", schema=[Field(name="early")])


@batch_feature_view(entities=[one], schema=[], source=source)
def batch(df):
    return df


@feast.on_demand_feature_view(sources=dict(), schema=[Field(name="x")])
def nothing(inputs):
    return inputs


@feast.on_demand_feature_view(sources={"a": early[["fareEUR"]]}, schema=[Field(name="double")])
def doubled(inputs):
    df = pd.DataFrame()
    df["double"] = inputs["fareEUR"] * 2
    df["unsaid"] = inputs["fareEUR"] * 3
    return df


@feast.on_demand_feature_view(sources=[early], schema=[Field(name="double")])
def filled(inputs):
    df = pd.DataFrame()
    df["double"] = inputs["fareEUR"] * 2
    return df.fillna(0)


@feast.on_demand_feature_view(sources=[early], schema=[Field(name="double")])
def changed(inputs):
    df = pd.DataFrame()
    inputs["fareEUR"] = inputs["fareEUR"] + 1
    df["double"] = inputs["fareEUR"] * 2
    return df


@feast.on_demand_feature_view(sources=[early, other], schema=[Field(name="double")])
def twofold(inputs):
    df = pd.DataFrame()
    df["double"] = inputs["fareEUR"] * 2
    return df


@feast.on_demand_feature_view(sources=[early, two], schema=[Field(name="double")])
def named_alike(inputs):
    df = pd.DataFrame()
    df["double"] = inputs["fareEUR"] * inputs["early"]
    return df
""",
}


def told_of(repository, tmp_path, **files):
    for name, text in files.items():
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(text)
    told = ask("import", "feast", repository, "--output", tmp_path / "out")
    return {line["name"]: (line["outcome"], line["why"]) for line in told["lines"]}


def test_a_name_means_what_it_means_in_its_file_and_at_its_line(repository, tmp_path):
    """Two files may each have a `source`, and a file may give the name to another one further down."""
    (repository / "definitions.py").unlink()
    pl.read_parquet(repository / "data" / "trips.parquet").with_columns(fareEUR=-pl.col("fareEUR")).write_parquet(
        repository / "data" / "other.parquet"
    )
    lines = told_of(repository, tmp_path, **FILES)
    taken = {name for name, (outcome, _) in lines.items() if outcome != "not possible"}
    assert taken == {"taxi", "source", "early", "other", "old", "two", "doubled"}
    assert {name: why for name, (outcome, why) in lines.items() if outcome == "not possible"} == {
        "grown": "its schema is not a list of fields: name its columns, Feast would look into the data",
        "back": "ttl=datetime.timedelta(days=-1) is not a duration",
        "batch": "its function runs in an engine of Feast's: write it as a @project.transformation",
        "nothing": "write it as a @project.on_demand of Polars expressions",
        "filled": "its function does more than arithmetic (return df.fillna(0))",
        "changed": "its function does more than arithmetic (inputs['fareEUR'] = inputs['fareEUR'] + 1)",
        "twofold": "two of its sources have 'fareEUR'",
        "named_alike": "'early' is the name of a view and of a request field",
    }
    out = tmp_path / "out"
    succeed("init", out)
    succeed("apply", "--project", out)
    succeed("ingest", "--project", out)
    with tm.connect(out / "taxi.tm", root=out) as ws:
        asked = [("early", "fareeur"), ("other", "fareeur"), ("old", "avgtip"), ("doubled", "double")]
        found = {}
        for view, feature in asked:
            spine = pl.DataFrame({"car_id": [1, 1, 1], "timestamp": [at(2), at(6), at(30 * 24)]})
            features = [view] if view != "doubled" else ["early", "doubled"]
            found[view] = ws.get_historical_features(spine, features)[feature].to_list()
        assert found["early"] == [10.0, 20.0, 20.0]
        assert found["other"] == [-10.0, -20.0, None]
        assert found["old"] == [1.0, None, None]
        assert found["doubled"] == [20.0, 40.0, 40.0]


def test_a_source_without_a_timestamp_field_has_the_one_that_feast_finds(repository, tmp_path):
    text = """
from feast import FileSource
one = FileSource(name="one", path="data/one.parquet")
known = FileSource(name="known", path="data/trips.parquet", created_timestamp_column="seen")
both = FileSource(name="both", path="data/trips.parquet")
none = FileSource(name="none", path="data/none.parquet")
"""
    rows = pl.read_parquet(repository / "data" / "trips.parquet")
    rows.drop("seen").write_parquet(repository / "data" / "one.parquet")
    lines = told_of(repository, tmp_path, **{"definitions.py": text})
    assert lines["one"] == ("changed", "its timestamp_field is 'ended', as in the data")
    assert "its timestamp_field is 'ended'" in lines["known"][1]
    assert lines["both"] == (
        "not possible",
        "without timestamp_field Feast looks into the data, where 2 columns have times",
    )
    assert lines["none"][0] == "not possible"
    assert "static" not in (tmp_path / "out" / "features.py").read_text()


def test_a_project_may_be_called_as_its_entity(repository, tmp_path):
    text = 'from feast import Entity\ntaxi = Entity(name="taxi", join_keys=["car_id"])\nkind = Entity(name="str")\n'
    lines = told_of(repository, tmp_path, **{"definitions.py": text})
    assert lines == {"taxi": ("taken", ""), "str": ("changed", "is called 'str_' here")}
    assert 'workspace = "taxi.tm"' in (tmp_path / "out" / "tinymlops.toml").read_text()
    assert "tm.Project('taxi')" in (tmp_path / "out" / "features.py").read_text()


def test_environments_hidden_files_and_what_is_ignored_are_not_read(repository, tmp_path):
    """An environment holds Feast's own templates, with settings of theirs, and files of Python 2."""
    for place in (".venv/lib", "env/lib", "node_modules/x", "old", "drafts"):
        (repository / place).mkdir(parents=True)
        (repository / place / "broken.py").write_text("print 'x'\n")
    for place in (".venv/lib", "env/lib", "old"):
        (repository / place / "feature_store.yaml").write_text("project: other\n")
    (repository / "env" / "pyvenv.cfg").write_text("")
    (repository / "folder.py").mkdir()
    (repository / ".feastignore").write_text("# ours\nold\ndrafts/*.py\n/\n")
    told = ask("import", "feast", repository, "--output", tmp_path / "out")
    assert {line["place"].partition(":")[0] for line in told["lines"]} == {"definitions.py"}
    assert 'workspace = "taxi.tm"' in (tmp_path / "out" / "tinymlops.toml").read_text()


def test_what_cannot_be_read_is_named(repository, tmp_path):
    out = tmp_path / "out"
    broken = repository / "broken.py"
    broken.write_bytes(b"a = 1\0")
    assert "broken.py is not Python" in refused(6, "import", "feast", repository, "--output", out)
    broken.unlink()
    broken.symlink_to(repository / "gone.py")
    assert "broken.py cannot be read: No such file" in refused(6, "import", "feast", repository, "--output", out)
    broken.unlink()
    for name in ("a", "b"):
        (tmp_path / "many" / name).mkdir(parents=True)
        (tmp_path / "many" / name / "feature_store.yaml").write_text(STORE)
    assert "holds several Feast repositories: a, b" in refused(6, "import", "feast", tmp_path / "many", "--output", out)
    out.write_text("a file")
    assert "cannot be written" in refused(6, "import", "feast", repository, "--output", out)
