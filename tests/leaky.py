"""A small airline whose project can have one leak planted in it, in SQL or in Polars."""

import random
from datetime import UTC, datetime, timedelta

import polars as pl

import tinymlops as tm

START = datetime(2024, 1, 1, tzinfo=UTC)
FLIGHTS = 300


def tables(folder):
    """Write flights that land hours after they were predicted; half of them late, by chance."""
    chance = random.Random(7)
    rows = []
    for number in range(FLIGHTS):
        predicted = START + timedelta(hours=number // 3, minutes=number % 3)
        delay = chance.choice([-10.0, -5.0, 0.0, 20.0, 30.0, 45.0])
        landed = predicted + timedelta(hours=4, minutes=delay)
        rows.append(
            (f"f{number}", "ab"[number % 2], predicted, landed, delay, landed.date(), landed.replace(tzinfo=None))
        )
    names = ["flight", "carrier", "predicted_at", "landed_at", "arr_delay", "landed_on", "landed_local"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.col("^.*_at$").cast(pl.Datetime("us", "UTC"))
    )
    (folder / "data").mkdir()
    frame.select("flight", "carrier", "predicted_at").write_parquet(folder / "data" / "departures.parquet")
    frame.drop("predicted_at").write_parquet(folder / "data" / "landings.parquet")
    frame.write_parquet(folder / "data" / "wide.parquet")
    return frame


class Airline:
    """A project without a leak: `plant` adds a source and a view of it, or something else, to its training set."""

    def __init__(self, *, spine=None, landings=None):
        project = self.project = tm.Project("airline")
        self.carrier = project.entity("carrier", key="carrier")
        self.flight = project.entity("flight", key="flight")
        self.features = []

        def departures() -> str:
            return spine or "select * from 'data/departures.parquet'"

        def landed() -> str:
            return "select * from 'data/landings.parquet'"

        landed.__name__ = "landings"
        self.departures = project.source(timestamp="predicted_at", id="flight")(departures)
        self.landings = project.source(**{"timestamp": "landed_at", "id": "flight", **(landings or {})})(landed)

        @project.feature_view(entity=self.carrier)
        def lateness(landings: tm.Rows) -> tm.Features:
            return {"mean_1d": landings["arr_delay"].mean(window="1d"), "newest": landings["arr_delay"].last()}

        @project.label(entity=self.flight, horizon="12h")
        def late(landings: tm.Rows) -> tm.Label:
            return (landings["arr_delay"] > 15).last()

        self.features.append(lateness)
        self.label = late

    def view(self, source, column, *, entity=None):
        """Add a view with the newest value of a column."""

        def planted(rows: tm.Rows) -> tm.Features:
            return {"planted": rows[column].last()}

        planted = renamed(planted, source)
        self.features.append(self.project.feature_view(entity=entity or self.carrier)(planted))

    def sql(self, text, column="planted", *, inputs=("landings",), entity=None, **options):
        """Add a transformation in SQL, and a view of it."""

        def body(**_) -> str:
            return text

        self.project.transformation(**options)(transformation(body, inputs, str))
        self.view("made", column, entity=entity)

    def polars(self, make, column="planted", *, inputs=("landings",), entity=None, **options):
        """Add a transformation in Polars, and a view of it."""

        def body(**frames):
            return make(*(frames[name] for name in inputs))

        self.project.transformation(**options)(transformation(body, inputs, pl.LazyFrame))
        self.view("made", column, entity=entity)

    def done(self):
        """Return the project with its training set."""
        self.project.training_set("delays", spine=self.departures, label=self.label, features=self.features)
        return self.project


def renamed(function, source):
    """Let the one parameter of a view be this source."""
    text = f"def planted({source}: tm.Rows) -> tm.Features:\n    return body({source})\n"
    space = {"__name__": __name__, "tm": tm, "body": function}
    exec(compile(text, "<planted>", "exec"), space)
    return space["planted"]


def transformation(body, inputs, returned):
    """Make a function whose parameters are the inputs."""
    given = ", ".join(f"{name}={name}" for name in inputs)
    text = f"def made({', '.join(f'{name}: tm.Rows' for name in inputs)}) -> returned:\n    return body({given})\n"
    space = {"__name__": __name__, "tm": tm, "body": body, "returned": returned}
    exec(compile(text, "<planted>", "exec"), space)
    return space["made"]


MODULE = """
import tinymlops as tm

project = tm.Project("airline")
carrier = project.entity("carrier", key="carrier")
flight = project.entity("flight", key="flight")


@project.source(timestamp="predicted_at", id="flight")
def departures() -> str:
    return "select * from 'data/departures.parquet'"


@project.source(timestamp="landed_at", id="flight")
def landings() -> str:
    return "select * from 'data/landings.parquet'"


@project.feature_view(entity=carrier)
def lateness(landings: tm.Rows) -> tm.Features:
    return {"mean_1d": landings["arr_delay"].mean(window="1d")}


@project.label(entity=flight, horizon="12h")
def late(landings: tm.Rows) -> tm.Label:
    return (landings["arr_delay"] > 15).last()
"""
"""The same project without a leak, as the text of a module, and without its training set."""
