"""A workspace with something on every page, and with text on each of them that would run if it were not text.

Needs nothing but the library, so that an environment with only the wheel makes it, too.
"""

from datetime import datetime, timedelta

import numpy as np
import served_shop
from served_jobs import NIGHTLY, ORDERS, SPENDING, attempt

import tinymlops as tm
from tinymlops.registry.runs.points import points_of

NAME = "<img src=x onerror=alert(1)>'&{{7*7}}"
HOSTILE = f'{NAME}"\u202e'
"""Names have no quotes and are printable; other texts may turn the direction of what follows."""
SCRIPT = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>"
POINTS = 3_000

reviews = tm.Project("reviews")


@reviews.source(timestamp="at", id="id")
def notes() -> tm.Schema:
    """What customers wrote."""
    return {"id": int, "at": datetime, "text": str}


reviews.embedding("texts", source=notes, text="text", model="tfidf")


def build(path):
    """Make the workspace."""
    served_shop.build(path)
    fill(path)


def fill(path):
    """Add what pages show to a shop that has been built."""
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        _runs(ws)
        _readers(ws)
        ws.apply(reviews, message=HOSTILE)
        texts = ["red wine", "old wine", HOSTILE]
        ws.push("notes", [{"id": n, "at": served_shop.START, "text": text} for n, text in enumerate(texts)])
        ws.vectors.follow()
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW - timedelta(hours=3))) as ws:
        ws.jobs.decide([ORDERS, NIGHTLY, SPENDING])
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        ws.jobs.decide([ORDERS, NIGHTLY, SPENDING])
        attempt(ws, told=f"{HOSTILE} {'y' * 300}", log=f"\x1b[31m{HOSTILE}\n" * 300)
        ws.jobs.pause("nightly")


def _runs(ws):
    """Runs with everything that a run can have."""
    values = np.sin(np.arange(float(POINTS)) / 90)
    values[700] = np.nan
    with ws.start_run("train", patch=False, params={"name": HOSTILE}, tags={"why": HOSTILE}) as run:
        ws.runs.log_points(run.id, {"val/loss": points_of(np.arange(float(POINTS)), values, np.arange(POINTS), 0)})
        run.log_metric(NAME, 1.0)
        for kind in ("html", "svg", "txt"):
            ws.runs.log_artifact(run.id, f"{NAME}.{kind}", SCRIPT)
        print(HOSTILE)
    run = ws.start_run("broken", patch=False, notes=HOSTILE)
    run.log_metric("val/loss", 0.5)
    run.finish(status="failed", error=HOSTILE)


def _readers(ws):
    """Notes, marks, saved queries, and what was asked of the workspace."""
    ws.catalog.note("spending", f"{HOSTILE}\n{'x' * 300}")
    ws.catalog.mark("spending", "golden")
    ws.queries.save(NAME, "select customer, amount from orders limit 5")
    ws.get_online_features([served_shop.spending], [{"customer": 1}], consumer="checkout")
    ws.predict("splurge", [{"customer": 1, "budget": 9_000.0}] * 200, sync=True)
    ws.monitor("splurge", keep=True)
