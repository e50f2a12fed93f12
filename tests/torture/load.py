"""The work of children on a workspace until they are killed; they report writes only once acknowledged."""

import os
import random
import sys
import threading
import time
import traceback
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import count

from inside import context_of, database_of

from torture import world

_A_PUSH = 5
_SOME_POINTS = 50
_THREADS = 3


def push_until_killed(path, *, first, say):
    """Push rows from several threads, five at a time: ids from a multiple of five.

    Args:
        path: The workspace.
        first: The id of the first click.
        say: Called with what is acknowledged.
    """
    one_at_a_time = threading.Lock()

    def push(number):
        for n in count(first + number * _A_PUSH, _THREADS * _A_PUSH):
            ws.push("clicks", world.click_rows(n, _A_PUSH))
            with one_at_a_time:
                say({"clicks": [n, n + _A_PUSH]})

    with world.connect(path) as ws, ThreadPoolExecutor(_THREADS) as pool:
        for ended in as_completed([pool.submit(push, number) for number in range(_THREADS)]):
            traceback.print_exception(ended.exception())
            sys.stderr.flush()
            os._exit(1)


def mix_until_killed(path, *, seed, say):
    """Run random other verbs.

    Args:
        path: The workspace.
        seed: The seed of the order.
        say: Called with what is acknowledged, and where an alias is about to move.
    """
    chance = random.Random(seed)
    with world.connect(path) as ws:
        ((orders,),) = database_of(ws).rows("SELECT rows FROM source_states WHERE source = 'orders'")
        run, logged = ws.start_run("train"), 0
        while True:
            verb = chance.choice(
                ("ingest", "promote", "promote", "artifact", "materialize", "compact", "gc", "metrics")
            )
            if verb == "ingest":
                orders += 3
                os.environ[world.ORDERS] = str(orders)
                ws.ingest("orders")
                say({"orders": orders})
            elif verb == "promote":
                version = chance.choice((1, 2))
                say({"moving": version})
                say({"champion": ws.promote("splurge", version).version})
            elif verb == "artifact":
                with ws.start_run("notes") as notes:
                    notes.log_artifact("n.txt", f"{time.time()}".encode())
                say({"run": notes.id})
            elif verb == "metrics":
                for _ in range(_SOME_POINTS):
                    run.log_metric("loss", logged * 0.5, durable=logged % 20 == 0)
                    logged += 1
                run.flush()
                say({"points": [run.id, logged]})
            elif verb == "materialize":
                ws.materialize()
            elif verb == "compact":
                ws.compact()
            else:
                world.collect_garbage(ws)


def look(path, *, clicks, orders, runs, points, champion):
    """Return what was acknowledged and is missing, and what is damaged.

    Args:
        path: The workspace.
        clicks: First and last ids of acknowledged pushes.
        orders: The most orders that an ingest acknowledged.
        runs: Ids of runs with an artifact.
        points: Ids of runs to how many points of theirs were acknowledged.
        champion: The versions that the alias may point at.

    Returns:
        `lost` and `half_visible`, sentences, and the `champion` that is there.
    """
    from tinymlops.features.history.stored import stored_rows

    with world.connect(path) as ws:
        context, lost = context_of(ws), []
        there = set(stored_rows(context, "clicks")["click"].to_list())
        gone = [n for first, last in clicks for n in range(first, last) if n not in there]
        if gone:
            lost.append(f"clicks {gone[:10]}")
        if stored_rows(context, "orders").height < orders:
            lost.append(f"orders after {stored_rows(context, 'orders').height} of {orders}")
        for run in runs:
            try:
                ws.runs.read_artifact(run, "n.txt")
            except Exception as error:
                lost.append(f"artifact of {run}: {error}")
        for run, count in points.items():
            values = ws.runs.points(run, "loss").values.tolist()
            if values[:count] != [number * 0.5 for number in range(count)]:
                lost.append(f"points of {run}: {len(values)} of {count}")
        at = ws.models.get("splurge@champion").version
        if at not in champion:
            lost.append(f"champion is {at}, not {champion}")
        pushes = Counter(click // _A_PUSH for click in there)
        parts = [f"of push {push * _A_PUSH} {rows} rows" for push, rows in pushes.items() if rows != _A_PUSH]
    return {"lost": lost, "half_visible": parts + world.invariants(path), "champion": at}
