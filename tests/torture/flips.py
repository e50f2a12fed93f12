"""What a child looks at after one byte was changed: everything there is to read."""

import hashlib
import os

from torture import world


def look(path):
    """Read everything; return what it says, and the error if there is one.

    Returns:
        `answers`, a hash of all that is read; `errors`; and `doctor`, the files it names.
    """
    from tinymlops.stores.checks import check
    from torture.child import named

    errors, said, doctor = [], [], []
    try:
        with world.connect(path) as ws:
            try:
                doctor = [one.file for one in check(ws._environment, lambda _: None) if one.level == "damaged"]
            except Exception as error:
                errors.append(named(error))
            for read in _READS:
                try:
                    said.append(repr(read(ws)))
                except Exception as error:
                    errors.append(named(error))
    except Exception as error:
        errors.append(named(error))
    return {"answers": hashlib.sha256("".join(said).encode()).hexdigest(), "errors": errors, "doctor": doctor}


_READS = (
    lambda ws: ws.get_online_features(list(world.VIEWS), {"customer": list(range(world.CUSTOMERS))}).to_polars().rows(),
    lambda ws: ws.get_training_data("visits_to_orders").train.X.rows(),
    lambda ws: [ws.models.read(f"splurge:{one.version}") for one in ws.models.versions("splurge")],
    lambda ws: [(one.alias, one.version) for one in ws.models.aliases("splurge")],
    lambda ws: [(one.name, one.status, one.params) for one in ws.runs.search()],
    lambda ws: ws._environment.database.sequence(),
)


def look_at_backup(path):
    """Restore a backup and read everything."""
    from tinymlops.stores.backup import restore
    from torture.child import named

    try:
        restore(path.with_name("saved"), path.with_name("restored.tm"), advance=lambda _: None)
    except Exception as error:
        return {"answers": "", "errors": [named(error)], "doctor": []}
    return look(path.with_name("restored.tm"))


def flip(file, chance):
    """Change one byte of a file, anywhere."""
    with file.open("r+b") as opened:
        at = chance.randrange(os.fstat(opened.fileno()).st_size)
        opened.seek(at)
        (byte,) = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ chance.randrange(1, 256)]))
    return at
