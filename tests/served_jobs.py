"""Jobs of a shop, and a runner that makes one attempt; needs nothing but the library, as a process of a test may."""

import os

from tinymlops.schedules import Job, schedule_of

ORDERS = Job(name="orders", schedule=schedule_of("1h", None, "UTC"), retries=1)
NIGHTLY = Job(name="nightly", schedule=schedule_of(None, "30 2 * * *", "Europe/Vienna"))
SPENDING = Job(name="spending", after=("orders",))


def attempt(ws, state="failed", told="no disk", log="it said\nno disk\n"):
    """Let a runner make one attempt at what waits."""
    (claimed,) = ws.jobs.claim([ORDERS, NIGHTLY, SPENDING], at_once=1)
    number = claimed.number
    ws.jobs.finish(number, state, told=told, log=log)
    os.close(claimed.lock)
    ws.jobs.files.remove(number)
    return number
