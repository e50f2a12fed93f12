"""Sinks that are killed, and somebody who predicts, corrects, pushes and deletes meanwhile."""

import copy
import random
import time
from contextlib import contextmanager
from pathlib import Path

from inside import database_of
from sunk_shop import KEYS, Tables, ask_file, predict

from tinymlops.records import Outcome, Prediction
from tinymlops.sinks import delivering
from torture import world


def project_of(schema):
    """Return the project with a sink of each kind."""
    project = copy.copy(world.project)
    project.definitions = dict(project.definitions)
    to = {"connection": "shop", "create": True}
    project.sink("scores", predictions="splurge", table=f"{schema}scores", **to)
    project.sink("truth", outcomes=True, table=f"{schema}truth", **to)
    project.sink("spent", features="interest", table=f"{schema}spent", **to)
    return project


def prepare(path, *, url, schema):
    """Apply sinks to a copy of the prepared workspace."""
    (Path(path).parent / "tinymlops.toml").write_text(f'[connections.shop]\nurl = "{url}"\n')
    with world.connect(path) as ws:
        ws.apply(project_of(schema))
        ws.sinks.run()


def run_until_killed(path):
    """Bring the tables up to date without end, in small batches."""
    delivering._PAGE = 50
    with world.connect(path) as ws:
        while True:
            ws.sinks.run()


def write(path, *, stop, seed, say):
    """Predict, correct outcomes, push and delete, until there is a file."""
    chance, number, deleted = random.Random(seed), 0, 0
    with world.connect(path) as ws:
        database = database_of(ws)
        while not Path(stop).exists():
            more = chance.randrange(1, 60)
            ids = [f"{number + one:09}" for one in range(more)]
            number += more
            predict(database, *ids, model="splurge" if chance.random() < 0.8 else "other")
            about = [*ids[:5], *(f"{chance.randrange(number):09}" for _ in range(5))]
            ws.log_outcomes([{"prediction_id": one, "value": chance.choice([1, 2.5, "x", None])} for one in about])
            ws.push("clicks", world.click_rows(10_000 + number, 3))
            if chance.random() < 0.1:
                gone = [f"{chance.randrange(number):09}" for _ in range(5)] + ids[-1:]
                with database.write(actor=None) as tx:
                    deleted += tx.delete(Prediction, id=gone)
                    tx.delete(Outcome, prediction_id=gone)
            time.sleep(chance.uniform(0, 0.05))
        say({"predictions": number, "deleted": deleted})


def finish(path, *, url, schema, say):
    """Bring the tables up to date; say how they differ from the workspace, and which rows were inserted twice."""
    with world.connect(path) as ws, asking(path, url, schema) as ask:
        ws.sinks.run()
        tables, answer = Tables(ask, schema, "interest"), {"rows": 0, "lost": 0, "extra": 0}
        for name in KEYS:
            wanted, found = tables.expected(ws, name), tables.rows(name)
            answer["rows"] += len(found)
            answer["lost"] += len({*wanted} - {*found})
            answer["extra"] += len({*found} - {*wanted}) + len(found) - len({*found})
        again = f"select id from {schema}inserted group by id having count(*) > 1"
        say({**answer, "twice": len(ask(again))})


@contextmanager
def asking(path, url, schema):
    """Give a function that asks the database of the tables."""
    if not schema:
        yield ask_file(Path(path).parent / "app.db")
        return
    import adbc_driver_postgresql.dbapi

    with adbc_driver_postgresql.dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:

        def ask(sql):
            cursor.execute(sql)
            return cursor.fetchall()

        yield ask
