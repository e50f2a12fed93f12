"""What a token costs a request, with one token in the workspace and with ten thousand.

python benchmarks/tokens.py            # targets: under 30 us a request, and ten thousand tokens change nothing
python benchmarks/tokens.py --quick    # few requests, to see that it works
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import tinymlops as tm
from harness import Report

if TYPE_CHECKING:
    from litestar import Litestar

TARGET = 30.0
"""Microseconds."""


def headers_of(text: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request with a token."""
    return [(b"host", b"localhost"), (b"authorization", b"Bearer " + text.encode())]


async def _request(app: Litestar, headers: list[tuple[bytes, bytes]]) -> int:
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/v1/nothing",
        "raw_path": b"/v1/nothing",
        "query_string": b"",
        "headers": headers,
        "root_path": "",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    status = 0

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)  # type: ignore[arg-type]
    return status


def spent(apps: list[tuple[Litestar, list[tuple[bytes, bytes]]]], requests: int) -> list[float]:
    """Return the median microseconds of a request to each application, asked in turns."""

    async def run() -> list[float]:
        times: list[list[float]] = [[] for _ in apps]
        for _ in range(requests):
            for place, (app, headers) in enumerate(apps):
                begun = time.perf_counter()
                status = await _request(app, headers)
                times[place].append(time.perf_counter() - begun)
                assert status == 404, status  # known, and sent on to the router
        return [median(one) * 1e6 for one in times]

    return asyncio.run(run())


def workspace(folder: Path, tokens: int) -> tuple[tm.Workspace, str]:
    """Make a workspace with so many tokens; return it with the text of one of them."""
    ws = tm.connect(folder, create=True)
    text = ""
    for number in range(tokens):
        made = ws.tokens.create(f"t{number}", "reader")
        text = text if number != tokens // 2 else made.token
    return ws, text


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    requests, many = (200, 20) if quick else (5_000, 10_000)
    report = Report("tokens")
    with tempfile.TemporaryDirectory() as folder:
        opened = [workspace(Path(folder) / f"{count}.tm", count) for count in (0, 1, many)]
        free = tm.create_app(opened[0][0], auth=None)
        apps = [(free, headers_of(""))] + [(tm.create_app(ws), headers_of(text)) for ws, text in opened[1:]]
        without, one, all_of_them = spent(apps, requests)
        for ws, _ in opened:
            with suppress(tm.TinyMLOpsError):
                ws.close()
    rows = {"one token": one - without, f"{many:,} tokens": all_of_them - without}
    report.say(f"a request to an application without accounts: {without:.1f} us")
    for name, more in rows.items():
        report.rows.append({"case": name, "microseconds": more, "target": TARGET})
        report.say(f"{name:>14}: {more:5.1f} us more (target: under {TARGET:.0f})")
    if not quick:
        report.save()


if __name__ == "__main__":
    main()
