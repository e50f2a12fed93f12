"""How long Chromium takes until a page of `benchmarks/pages.py` can be used, in a new window that has nothing cached."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from harness import Report

__all__ = ["measure_browser"]

ALLOWED_MS, TIMES = 300.0, 5
NO_PAGES = ("/runs/rows", "/curve")
"""What scripts ask for."""
SERVE = "import sys, tinymlops as tm\nwith tm.connect(sys.argv[1]) as ws:\n    tm.serve(ws, port=0)"
USABLE = """() => {
  const [page] = performance.getEntriesByType("navigation");
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  return [page.responseStart, paint ? paint.startTime : 0, page.domContentLoadedEventEnd, page.loadEventEnd];
}"""
"""Milliseconds since the navigation began: the first byte, the first paint, the page's scripts have run, all has come."""


def measure_browser(report: Report, path: Path, pages: list[str]) -> None:
    """Open each page several times; a page can be used once it is painted and its scripts, which are modules, have run.

    Args:
        report: Gets a line and a row for each page.
        path: Of the workspace.
        pages: Their paths.
    """
    found = shutil.which("chromium")
    if found is None:
        report.say("\nin a browser: left out: `apt-get install chromium` brings it")
        return
    from playwright.sync_api import sync_playwright

    report.say(f"\nmilliseconds in Chromium since the navigation began, nothing cached, median of {TIMES}")
    report.say(f"{'':76}{'byte':>7}{'paint':>7}{'usable':>8}{'loaded':>8}{'at most':>9}")
    with served(path) as base, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        opened(browser, base + "/")  # a browser's first page takes longer
        for page in pages:
            if not any(part in page for part in NO_PAGES):
                tell(report, page, [opened(browser, base + page) for _ in range(TIMES)])
        browser.close()


def opened(browser: Browser, url: str) -> list[float]:
    """Return the times of one page, in a window of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        page.goto(url, wait_until="load")
        page.wait_for_function("() => performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
        page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint').length > 0")
        return list(page.evaluate(USABLE))
    finally:
        context.close()


def tell(report: Report, page: str, times: list[list[float]]) -> None:
    """Print the medians of a page, and keep them."""
    byte, paint, ran, loaded = (median(one) for one in zip(*times, strict=True))
    usable = median(max(one[1], one[2]) for one in times)
    over = "  OVER" if usable > ALLOWED_MS else ""
    report.say(f"{page:76}{byte:7.0f}{paint:7.0f}{usable:8.0f}{loaded:8.0f}{ALLOWED_MS:9.0f}{over}")
    row: dict[str, Any] = {"page": page, "byte_ms": byte, "paint_ms": paint, "ran_ms": ran, "loaded_ms": loaded}
    report.rows.append(row | {"usable_ms": usable, "allowed_usable_ms": ALLOWED_MS})


@contextmanager
def served(path: Path) -> Iterator[str]:
    """Serve a workspace as a process of its own."""
    command = [sys.executable, "-c", SERVE, str(path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            yield process.stderr.readline().partition("serving on ")[2].partition(" ")[0]
        finally:
            process.terminate()
