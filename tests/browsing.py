"""A real browser for the tests of pages: Debian's Chromium, driven by Playwright's client."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import sync_playwright

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
WIDTHS = {"wide": 1440, "tablet": 820, "phone": 390}
SERIOUS = ("serious", "critical")


@contextmanager
def chromium():
    """Start the browser; without one the test is skipped, which `.ci/run` prevents."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


class Looker:
    """One window, which writes down whatever is wrong.

    Attributes:
        wrong: What the console said, what the policy refused, and what was asked of others than the server.
    """

    def __init__(self, browser, base, *, width="wide", scheme="light", scripts=True):
        self.base, self.wrong = base, []
        self.context = browser.new_context(
            viewport={"width": WIDTHS[width], "height": 900},
            color_scheme=scheme,
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        self.page = self.context.new_page()
        self.scripts = scripts
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("request", self._request)
        self.page.on("dialog", self._dialog)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def _console(self, message):
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _dialog(self, dialog):
        self.wrong.append(f"a script ran: {dialog.message}")
        dialog.dismiss()

    def _request(self, request):
        if not request.url.startswith((self.base, "data:", "blob:")):
            self.wrong.append(f"outside: {request.url}")

    def change(self, *, width, scheme):
        """Look at the same page in a window of another width, and light or dark."""
        self.page.set_viewport_size({"width": WIDTHS[width], "height": 900})
        self.page.emulate_media(color_scheme=scheme)

    def go(self, path):
        """Open a page and wait until it has come."""
        answer = self.page.goto(self.base + path, wait_until="load")
        return answer.status

    def text(self):
        """Return what a person reads."""
        return self.page.inner_text("body")

    def links(self):
        """Return the paths of the links of the page; not of what is downloaded."""
        found = self.page.locator("a[href]:not([download])").evaluate_all(
            "all => all.map(one => one.getAttribute('href'))"
        )
        return [href for href in dict.fromkeys(found) if href.startswith("/")]

    def overflows(self):
        """Return whether the page as a whole must be moved sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def serious(self, *rules):
        """Return what axe-core finds that keeps somebody out, by all of its rules or by these."""
        self.page.evaluate(AXE)
        options = {"resultTypes": ["violations"], **({"runOnly": list(rules)} if rules else {})}
        found = self.page.evaluate("options => axe.run(options)", options)["violations"]
        return [
            f"{one['id']}: {node['html'][:200]}" for one in found if one["impact"] in SERIOUS for node in one["nodes"]
        ]


def keeps_nobody_out(looker, path, *rules):
    """Check that a page fits its window, and that axe-core finds nothing serious by all of its rules or by these."""
    assert not looker.overflows(), path
    assert looker.serious(*rules) == [], path
