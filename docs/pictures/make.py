"""Take the pictures of the pages: `python docs/pictures/make.py WORKSPACE [--all DIRECTORY]`.

Needs Chromium and the packages of `make test`. Without `--all`, the pictures of the README are taken anew, here.
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
SHOWN = {"today": "/", "runs": "/runs", "catalog": "/catalog"}
"""The pictures of the README, and their pages."""
SERVE = "import sys, tinymlops as tm\nwith tm.connect(sys.argv[1]) as ws:\n    tm.serve(ws, port=0)"
SIZE = {"width": 1280, "height": 800}
COLORS = 128
MOST = 60


def main() -> None:
    """Serve a workspace and look at it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--all", type=Path, metavar="DIRECTORY", help="every page that a link leads to, light and dark")
    arguments = parser.parse_args()
    with subprocess.Popen(  # noqa: S603 - this very Python
        [sys.executable, "-c", SERVE, str(arguments.workspace)], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            base = server.stderr.readline().partition("serving on ")[2].partition(" ")[0]
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                if arguments.all is None:
                    take(browser, base, SHOWN, HERE, "light")
                else:
                    for scheme in ("light", "dark"):
                        take(browser, base, pages_of(browser, base), arguments.all, scheme)
                browser.close()
        finally:
            server.terminate()


def take(browser: Browser, base: str, pages: dict[str, str], folder: Path, scheme: str) -> None:
    """Write a small PNG for each page."""
    folder.mkdir(exist_ok=True, parents=True)
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
    for name, path in pages.items():
        page.goto(base + path, wait_until="load")
        page.wait_for_timeout(400)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(COLORS)
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
