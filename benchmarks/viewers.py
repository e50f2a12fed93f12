"""What people who look at pages cost those who ask for predictions: throughput of a server with ten viewers and without.

python benchmarks/viewers.py              # twelve pairs of rounds, about two minutes
python benchmarks/viewers.py --quick      # two short rounds, to see that it works

`tinymlops serve` is a process of its own, as are those who ask for predictions over connections that are kept, and the ten
viewers: five load another page every three seconds, and five have a page open that moves, which they load again whenever its
stream says that something changed: while predictions are logged, once a second. Rounds with and without viewers alternate, and
so does which of a pair comes first; the cost is the median of all pairs, and half of the pairs are within the quartiles.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import httpx

import tinymlops as tm
from harness import Report
from serving import BODY, USERS, build, free_port, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

ASKERS, LOOKING, STREAMING = 8, 5, 5
EVERY = 3.0
"""Seconds between two loads of a page by one viewer."""
ALLOWED = 0.10
PAGES = [
    "/",
    "/catalog",
    "/runs",
    "/models",
    "/models/plain",
    "/predictions",
    "/monitor",
    "/jobs",
    "/lineage/source/states",
]
MOVING = ["/", "/jobs"]
PREDICT = "/v1/models/plain/predict"


def ask(base: str, seconds: float) -> dict[str, Any]:
    """Ask for predictions over several connections; return how many answers came in a second, and how long they took."""

    async def one(client: httpx.AsyncClient, number: int, end: float, taken: list[float]) -> None:
        while (begun := time.perf_counter()) < end:
            number = (number * 7_919 + 13) % USERS
            answer = await client.post(PREDICT, content=BODY % number, headers={"content-type": "application/json"})
            answer.raise_for_status()
            taken.append(time.perf_counter() - begun)

    async def every(client: httpx.AsyncClient) -> list[float]:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        await asyncio.gather(*(one(client, number, end, taken) for number in range(ASKERS)))
        return taken

    taken = sorted(asyncio.run(_with_client(base, every)))
    return {
        "per_second": len(taken) / seconds,
        "p50_ms": 1e3 * median(taken),
        "p99_ms": 1e3 * taken[-1 - len(taken) // 100],
    }


def view(base: str, seconds: float) -> dict[str, Any]:
    """Look at pages as ten people do; return how many pages and how many events came."""
    seen = {"pages": 0, "events": 0}

    async def load(client: httpx.AsyncClient, path: str) -> None:
        answer = await client.get(path, headers={"accept": "text/html"})
        answer.raise_for_status()
        seen["pages"] += 1

    async def look(client: httpx.AsyncClient, number: int) -> None:
        await asyncio.sleep(EVERY * number / LOOKING)
        while True:
            await load(client, PAGES[number % len(PAGES)])
            number += 1
            await asyncio.sleep(EVERY)

    async def stream(client: httpx.AsyncClient, number: int) -> None:
        await load(client, MOVING[number % len(MOVING)])
        async with client.stream("GET", "/live", headers={"accept": "text/event-stream"}, timeout=60) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if line.startswith("event: changed"):
                    seen["events"] += 1
                    await load(client, MOVING[number % len(MOVING)])

    async def every(client: httpx.AsyncClient) -> dict[str, Any]:
        viewers = [look(client, number) for number in range(LOOKING)]
        viewers += [stream(client, number) for number in range(STREAMING)]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*viewers)
        return seen

    return asyncio.run(_with_client(base, every))


async def _with_client(base: str, use: Callable[[httpx.AsyncClient], Coroutine[Any, Any, Any]]) -> Any:
    async with httpx.AsyncClient(base_url=base, timeout=60) as client:
        return await use(client)


def child(what: str, base: str, seconds: float) -> subprocess.Popen[str]:
    """Start askers or viewers as a process of their own."""
    command = [sys.executable, __file__, "--child", what, "--base", base, "--seconds", str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a process found."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}")
    return dict(json.loads(out))


def round_of(base: str, seconds: float, *, watched: bool) -> dict[str, Any]:
    """Ask for some seconds; viewers begin before and end after."""
    viewers = child("view", base, seconds + 4.0) if watched else None
    time.sleep(2.0 if watched else 0.0)
    found = said(child("ask", base, seconds))
    return found | {"watched": watched} | (said(viewers) if viewers else {})


@contextmanager
def served(path: Path) -> Iterator[str]:
    """Serve a workspace by the command, as a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "tinymlops_cli.main", "serve", "--workspace", str(path), "--port", str(port)]
    base = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            for _ in range(600):
                with suppress(httpx.TransportError):
                    httpx.post(
                        base + PREDICT, content=BODY % 1, headers={"content-type": "application/json"}, timeout=60
                    )
                    break
                if process.poll() is not None:
                    raise SystemExit(f"the server ended with exit code {process.returncode}")
                time.sleep(0.1)
            yield base
        finally:
            stop(process)


def measure(report: Report, path: Path, seconds: float, rounds: int) -> None:
    """Let rounds alternate, and print them."""
    report.say(f"\n{'viewers':10}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'pages':>8}{'events':>8}")
    with served(path) as base:
        round_of(base, min(seconds, 2.0), watched=True)  # fills the caches
        for number in range(2 * rounds):
            row = round_of(base, seconds, watched=number % 4 in {1, 2})
            report.rows.append(row)
            figures = f"{row['per_second']:9.0f}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}"
            looked = f"{row['pages']:8}{row['events']:8}" if row["watched"] else ""
            report.say(f"{LOOKING + STREAMING if row['watched'] else 0:<10}{figures}{looked}")
    without, with_them = (
        [row["per_second"] for row in report.rows if row["watched"] is watched] for watched in (False, True)
    )
    costs = [1 - slower / faster for faster, slower in zip(without, with_them, strict=True)]
    low, cost, high = quantiles(costs, n=4, method="inclusive") if rounds > 1 else costs * 3
    report.rows.append({"cost": cost, "quartiles": [low, high], "allowed": ALLOWED})
    report.say(
        f"\nten viewers cost {cost:.1%} of the throughput (median of {rounds} pairs, quartiles {low:.1%} and {high:.1%}; "
        f"at most {ALLOWED:.0%})"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two short rounds, to see that it works")
    parser.add_argument("--child", choices=["ask", "view"], help=argparse.SUPPRESS)
    parser.add_argument("--base", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=3.0, help="of every round")
    parser.add_argument("--rounds", type=int, default=12, help="with viewers, and as many without")
    options = parser.parse_args()
    if options.child:
        print(json.dumps({"ask": ask, "view": view}[options.child](options.base, options.seconds)))
        return
    report = Report("viewers")
    report.say(f"load of the machine: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.tm"
        with tm.connect(path, create=True) as ws:
            build(ws)
        seconds, rounds = (2.0, 1) if options.quick else (options.seconds, options.rounds)
        measure(report, path, seconds, rounds)
    report.save()


if __name__ == "__main__":
    main()
