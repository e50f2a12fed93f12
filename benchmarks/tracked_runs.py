"""What `benchmarks/tracking.py` logs, ours and MLflow alike; the standard library is all it needs."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METRICS = 20
"""Of each run that is searched."""
PAGE = 100
"""Runs that a search returns at most."""


class Run(NamedTuple):
    """A run to search for."""

    number: int
    depth: int
    metrics: dict[str, float]


def runs(count: int) -> Iterator[Run]:
    """Make runs, the same ones each time."""
    chance = random.Random(7)
    for number in range(count):
        yield Run(number, number % 10, {f"m{metric}": chance.random() for metric in range(METRICS)})


def per_second(call: Callable[[int], object], seconds: float, *, threads: int = 1) -> float:
    """Return how many calls a second some threads make together; each call gets a number of its own."""
    begun = time.perf_counter()
    counts = [0] * threads

    def work(thread: int) -> None:
        while time.perf_counter() - begun < seconds:
            call(thread + threads * counts[thread])
            counts[thread] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - begun)


def timed(call: Callable[[], object]) -> float:
    """Return how long a call takes, seconds."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def answer(jobs: dict[str, Callable[..., dict[str, Any]]]) -> None:
    """Do the job that the command line names with the arguments it gives as JSON, and print its figures."""
    job, arguments = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(jobs[job](**arguments)))
