"""`served_shop`, whose predictions, outcomes and features go to a database of others."""

import copy
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta

import served_shop

import tinymlops as tm
from tinymlops.records import Prediction
from tinymlops.registry.predictions import log_predictions

__all__ = ["MODEL", "Tables", "ask_file", "define", "open_shop", "predict"]

MODEL = "splurge"
KEYS = {"scores": "id", "truth": "prediction_id", "spent": "customer"}
_JSON = ("request", "features", "output")


def define(schema="", *, connection="shop", create=True, **options):
    """Return the shop's project with a sink of each kind; options of one sink by its name."""
    project = copy.copy(served_shop.project)
    project.definitions = dict(project.definitions)
    to = {"connection": connection, "create": create}
    for name, what in (
        ("scores", {"predictions": MODEL}),
        ("truth", {"outcomes": True}),
        ("spent", {"features": "spending"}),
    ):
        project.sink(name, **{"table": f"{schema}{name}", **what, **to, **options.get(name, {})})
    return project


def open_shop(built, folder, *, clock=None):
    """Open a copy of the built shop in a folder whose connection is in SHOP_URL."""
    (folder / "tinymlops.toml").write_text('[connections.shop]\nurl = "env:SHOP_URL"\n')
    if not (folder / "shop.tm").exists():
        shutil.copytree(built, folder / "shop.tm")
    return tm.connect(folder / "shop.tm", clock=clock or tm.ReplayClock(served_shop.NOW))


def predict(database, *ids, model=MODEL, score=0.5):
    """Log predictions as an answered request does."""
    log_predictions(
        database,
        [
            Prediction(
                id=one,
                model=model,
                version=1,
                at=served_shop.NOW + timedelta(seconds=number),
                sequence=number if number % 3 else None,
                request={"customer": number},
                features={"last_amount": float("nan"), "tag": "é\"'\0"},
                output={"prediction": 1, "probability": score},
            )
            for number, one in enumerate(ids)
        ],
    )


class Tables:
    """What stands in the tables of the sinks.

    Args:
        ask: Runs statements and returns the rows of the last one.
        schema: With a point behind it; empty for SQLite.
        view: The feature view whose values are written.
    """

    def __init__(self, ask, schema="", view="spending"):
        self.ask, self.schema = ask, schema
        self.reads = {
            "scores": f"select * from predictions where model = '{MODEL}' order by id",
            "truth": "select * from outcomes order by prediction_id",
            "spent": f"select * from {view} order by customer",
        }

    def expected(self, ws, name):
        """Return the rows of a table as the workspace says them."""
        rows = ws.sql(self.reads[name]).rows()
        return rows if self.schema else [tuple(map(_in_sqlite, row)) for row in rows]

    def rows(self, name):
        """Return the rows of a table in order of their key, JSON as it stands."""
        columns = [column for column in self._columns(name) if column != "computed_at"]
        shown = [f"{one}::text" if self.schema and one in _JSON else one for one in columns]
        collation = ' collate "C"' if self.schema and name != "spent" else ""
        return self.ask(f"select {', '.join(shown)} from {self.schema}{name} order by {KEYS[name]}{collation}")

    def agree(self, ws):
        """Check that every table is what the workspace has."""
        for name in KEYS:
            assert self.rows(name) == self.expected(ws, name), name

    def _columns(self, name):
        if not self.schema:
            return [row[0] for row in self.ask(f"select name from pragma_table_info('{name}')")]
        oid = f"'{self.schema}{name}'::regclass"
        sql = f"select attname::text from pg_attribute where attrelid = {oid} and attnum > 0 order by attnum"
        return [row[0] for row in self.ask(sql)]


def _in_sqlite(value):
    return value.strftime("%Y-%m-%d %H:%M:%S.%f+00:00") if hasattr(value, "strftime") else value


def ask_file(path):
    """Return a function that asks a SQLite file."""

    def ask(*statements):
        with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
            rows = []
            for statement in statements:
                rows = connection.execute(statement).fetchall()
            return rows

    return ask
