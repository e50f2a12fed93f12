"""What the children of a crowd do to one workspace at the same time."""

import os
import shutil
import time

from torture import world


def create(path):
    """Open the workspace, or make it."""
    with world.connect(path, create=True) as ws:
        return {"sequence": ws._environment.database.sequence()}


def register(path, *, times):
    """Register the model so many times."""
    with world.connect(path) as ws:
        return {"versions": [ws.register_model("splurge", run="tree").version for _ in range(times)]}


def commit(path, *, times, first):
    """Push one row in each of so many commits."""
    with world.connect(path) as ws:
        for n in range(first, first + times):
            ws.push("clicks", world.click_rows(n, 1))
    return {"pushed": times}


def checkpoint(path, *, seconds):
    """Open and close, which checkpoints the write-ahead log, for so long."""
    until, done = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        with world.connect(path) as ws:
            ws._environment.database.sequence()
        done += 1
    return {"checkpoints": done}


def notebook(path, *, seconds):
    """Read history and training data for so long."""
    until, done = time.monotonic() + seconds, 0
    with world.connect(path) as ws:
        while time.monotonic() < until:
            ws.get_training_data("visits_to_orders")
            ws.get_online_features(list(world.VIEWS), {"customer": list(range(world.CUSTOMERS))})
            done += 1
    return {"reads": done}


def server(path, *, seconds):
    """Push and predict for so long."""
    until, pushed, predicted = time.monotonic() + seconds, 0, 0
    with world.connect(path) as ws:
        while time.monotonic() < until:
            ws.push("clicks", world.click_rows(5000 + 5 * pushed, 5))
            ws.predict("splurge@champion", [{"customer": pushed % world.CUSTOMERS}], sync=True)
            pushed, predicted = pushed + 1, predicted + 1
    return {"clicks": 5 * pushed, "predictions": predicted}


def cron(path, *, seconds):
    """Ingest, materialize, compact, collect and back up for so long."""
    until, rounds, orders = time.monotonic() + seconds, 0, 310
    while time.monotonic() < until:
        orders += 7
        os.environ[world.ORDERS] = str(orders)
        with world.connect(path) as ws:
            ws.ingest("orders")
            ws.materialize()
            ws.compact()
            world.collect_garbage(ws)
            _backup(ws, path.with_name(f"copy{rounds}"))
        rounds += 1
    return {"rounds": rounds, "orders": orders}


def _backup(ws, target):

    from tinymlops.stores.backup import backup

    backup(ws._environment, target, advance=lambda _: None)
    shutil.rmtree(target)


def count(path):
    """Return what there is after all: clicks, orders, predictions, and what does not hold."""
    from tinymlops.features.sources import stored_rows

    with world.connect(path) as ws:
        context = ws._context()
        return {
            "clicks": stored_rows(context, "clicks").height,
            "orders": stored_rows(context, "orders").height,
            "predictions": ws._environment.database.rows("SELECT count(*) FROM predictions")[0][0],
            "versions": [one.version for one in ws.models.versions("splurge")],
            "problems": world.invariants(path),
        }
