"""What children do to a workspace until they are killed; they say what was acknowledged, and nothing before."""

import os
import random
import time
from itertools import count

from torture import world


def push_until_killed(path, *, first, say):
    """Push rows, five at a time.

    Args:
        path: The workspace.
        first: The id of the first click.
        say: Is told what is acknowledged.
    """
    with world.connect(path) as ws:
        for n in count(first, 5):
            ws.push("clicks", world.click_rows(n, 5))
            say({"clicks": [n, n + 5]})


def mix_until_killed(path, *, seed, say):
    """Do anything else.

    Args:
        path: The workspace.
        seed: Of the order.
        say: Is told what is acknowledged.
    """
    chance = random.Random(seed)
    with world.connect(path) as ws:
        ((orders,),) = ws._environment.database.rows("SELECT rows FROM source_states WHERE source = 'orders'")
        while True:
            verb = chance.choice(("ingest", "promote", "promote", "artifact", "materialize", "compact", "gc"))
            if verb == "ingest":
                orders += 3
                os.environ[world.ORDERS] = str(orders)
                ws.ingest("orders")
                say({"orders": orders})
            elif verb == "promote":
                moved = ws.promote("splurge", chance.choice((1, 2)))
                say({"champion": moved.version})
            elif verb == "artifact":
                with ws.start_run("notes") as notes:
                    notes.log_artifact("n.txt", f"{time.time()}".encode())
                say({"run": notes.id})
            elif verb == "materialize":
                ws.materialize()
            elif verb == "compact":
                ws.compact()
            else:
                world.collect_garbage(ws)


def seen(path):
    """Return what does not hold."""
    return {"problems": world.invariants(path)}


def lost(path, *, clicks, orders, runs, champion):
    """Return what was acknowledged and is not there.

    Args:
        path: The workspace.
        clicks: First and last ids of acknowledged pushes.
        orders: The most orders that an ingest acknowledged.
        runs: Ids of runs with an artifact.
        champion: The versions that the alias may point at.
    """
    from tinymlops.features.sources import stored_rows

    with world.connect(path) as ws:
        context, found = ws._context(), []
        there = set(stored_rows(context, "clicks")["click"].to_list())
        gone = [n for first, last in clicks for n in range(first, last) if n not in there]
        if gone:
            found.append(f"clicks {gone[:10]}")
        if stored_rows(context, "orders").height < orders:
            found.append(f"orders after {stored_rows(context, 'orders').height} of {orders}")
        for run in runs:
            try:
                ws.runs.read_artifact(run, "n.txt")
            except Exception as error:
                found.append(f"artifact of {run}: {error}")
        at = ws.models.get("splurge@champion").version
        if at not in champion:
            found.append(f"champion is {at}, not {champion}")
        return {"lost": found}
