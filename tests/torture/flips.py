"""The reads of a child after one byte was changed: everything there is to read."""

import hashlib
import os
from datetime import timedelta

import polars as pl
from inside import database_of, environment_of

from tinymlops.features.history import reading_notes
from tinymlops.records import TABLES
from torture import world


def look(path):
    """Read everything; return the answers, and the errors if there are any.

    Returns:
        `answers`, a hash of each thing that is read, None where it failed; `errors`; and `doctor`, the files it names.
    """
    from tinymlops.registry.runs.verifying import check_sums
    from tinymlops.stores.doctor import check
    from torture.child import named

    errors, answers, doctor = [], [None] * len(_READS), []
    try:
        with world.connect(path) as ws:
            try:
                findings = [*check(environment_of(ws), lambda _: None), *check_sums(database_of(ws))]
                doctor = [one.file for one in findings if one.level == "damaged"]
            except Exception as error:
                errors.append(named(error))
            for number, read in enumerate(_READS):
                try:
                    answers[number] = hashlib.sha256(repr(read(ws)).encode()).hexdigest()
                except Exception as error:
                    errors.append(named(error))
    except Exception as error:
        errors.append(named(error))
    return {"answers": answers, "errors": errors, "doctor": doctor}


def _history(ws):
    times = [world.NOW - timedelta(days=number * 9) for number in range(world.CUSTOMERS)]
    spine = pl.DataFrame({"customer": range(world.CUSTOMERS), "timestamp": times})
    return ws.get_historical_features(spine, list(world.VIEWS)).rows()


_READS = (
    # First, before a later one adds rows.
    lambda ws: [database_of(ws).list(cls) for cls in TABLES],
    lambda ws: database_of(ws).sequence(),
    lambda ws: ws.get_online_features(list(world.VIEWS), {"customer": list(range(world.CUSTOMERS))}).to_polars().rows(),
    _history,
    lambda ws: [ws.models.read(f"splurge:{one.version}") for one in ws.models.versions("splurge")],
    lambda ws: [(one.alias, one.version) for one in ws.models.aliases("splurge")],
    lambda ws: [(one.name, one.status, one.params) for one in ws.runs.search("metrics.depth > 1")],
    lambda ws: [
        ws.runs.read_artifact(one.id, kept.name) for one in ws.runs.search() for kept in ws.runs.artifacts(one.id)
    ],
    lambda ws: [ws.runs.points(one.id, "loss") for one in ws.runs.search()],
    lambda ws: [ws.runs.curve(one.id, "loss", pixels=100) for one in ws.runs.search()],
    lambda ws: ws.sql(
        "select model, version, outcomes.value from predictions join outcomes on prediction_id = id"
    ).rows(),
    lambda ws: ws.verify_online().same,
    lambda ws: ws.monitor("splurge@champion"),
    lambda ws: ws.get_training_data("visits_to_orders").train.X.rows(),
    lambda ws: ws.push("clicks", world.click_rows(0, 20)).rows_known,
)


def look_at_backup(path):
    """Restore a backup and read everything."""
    from tinymlops.stores.backup import restore
    from torture.child import named

    try:
        restore(path.with_name("saved"), path.with_name("restored.tm"), actor="x", advance=lambda _: None)
    except Exception as error:
        return {"answers": [None] * len(_READS), "errors": [named(error)], "doctor": []}
    return look(path.with_name("restored.tm"))


def look_at_images(path):
    """Read everything, history from join images."""
    reading_notes.MANY_ROWS = 0
    return look(path)


def make_images(path):
    """Read history by join images, which makes them."""
    reading_notes.MANY_ROWS = 0
    with world.connect(path) as ws:
        _history(ws)
        ws.get_training_data("visits_to_orders")


def die(path):
    """Commit a few times and end like a killed process: its writes are in the write-ahead log."""
    ws = world.connect(path)
    ws.push("clicks", world.click_rows(100, 5))
    ws.register_model("splurge", run="tree", alias="staging")
    ws.promote("splurge", 2)
    ws.push("clicks", world.click_rows(200, 5))
    os._exit(0)


def flip(file, chance, within=None):
    """Change one byte of a file, every second time one that is not zero: most of a small database is empty.

    Args:
        file: The file.
        chance: Draws.
        within: Pieces of it, of which one is changed; None for all of it.
    """
    content = file.read_bytes()
    first, length = 0, len(content)
    if within is not None:
        piece = chance.choice(within)
        first, length = content.index(piece), len(piece)
    at = first + chance.randrange(length)
    if chance.randrange(2):
        while not content[at]:
            at = first + chance.randrange(length)
    changed = bytes([content[at] ^ chance.randrange(1, 256)])
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(changed)
    return at
