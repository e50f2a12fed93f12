"""Take pictures of the pages: `python docs/pictures/make.py WORKSPACE --at 2013-10-03T12:00Z today=/ catalog=/catalog`.

Needs Chromium and the packages of `make test`. A picture is `NAME.png` beside this file, of the page at PATH. Those of the
README are of the flights example and of the workspace of `benchmarks/pages.py --keep`, which has 10,000 runs.
"""

import argparse
import io
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

HERE = Path(__file__).parent
SERVE = """
import sys
import tinymlops as tm
options = {"clock": tm.ReplayClock(sys.argv[2])} if sys.argv[2] else {}
with tm.connect(sys.argv[1], **options) as ws:
    tm.serve(ws, port=0)
"""
SIZE = {"width": 1280, "height": 800}
COLORS = 64
MOST = 60
"""Pages that `--all` takes."""


def main() -> None:
    """Serve a workspace and look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("pages", nargs="*", metavar="NAME=PATH", help="what to take")
    parser.add_argument("--at", default="", metavar="TIME", help="the time that the pages are of; now without it")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the pictures go")
    parser.add_argument("--all", action="store_true", help="every page that a link leads to, light and dark")
    arguments = parser.parse_intermixed_args()
    with subprocess.Popen(  # noqa: S603 - this very Python
        [sys.executable, "-c", SERVE, str(arguments.workspace), arguments.at], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            base = server.stderr.readline().partition("serving on ")[2].partition(" ")[0]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                pages = dict(one.partition("=")[::2] for one in arguments.pages)
                if arguments.all:
                    pages |= pages_of(browser, base)
                for scheme in ("light", "dark") if arguments.all else ("light",):
                    take(browser, base, pages, arguments.folder, scheme)
                browser.close()
        finally:
            server.terminate()


def take(browser: Browser, base: str, pages: dict[str, str], folder: Path, scheme: str) -> None:
    """Write a small PNG for each page."""
    folder.mkdir(exist_ok=True, parents=True)
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
    for name, path in pages.items():
        answer = page.goto(base + path, wait_until="load")
        assert answer is not None and answer.status == 200, path  # noqa: PT018
        page.wait_for_timeout(400)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLORS, Image.Quantize.MAXCOVERAGE)
        picture.save(folder / f"{name}{'' if scheme == 'light' else '-dark'}.png", optimize=True)
    page.close()


def pages_of(browser: Browser, base: str) -> dict[str, str]:
    """Return every page that links lead to, by a name for its file."""
    page, found, waiting = browser.new_page(), dict[str, str](), ["/"]
    while waiting and len(found) < MOST:
        path = waiting.pop(0)
        page.goto(base + path, wait_until="load")
        found["".join(mark if mark.isalnum() else "-" for mark in path).strip("-")[:80] or "today"] = path
        for href in page.locator("a[href^='/']").evaluate_all("all => all.map(one => one.getAttribute('href'))"):
            if href not in waiting and href not in found.values() and "download" not in href:
                waiting.append(href)
    page.close()
    return found


if __name__ == "__main__":
    main()
