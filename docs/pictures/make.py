"""Take the pictures of the pages: `python docs/pictures/make.py`, or of some of them: `... make.py today monitor`.

Needs Chromium, the packages of `make test` and of the examples. What is shown are the workspaces that the flights and the
reviews example make, and one with 10,000 runs, of the parts of `benchmarks/pages.py`; those that are not there are made first.
`docs/guide/pages.md` says what each picture shows.
"""

from __future__ import annotations

import argparse
import io
import math
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import tinymlops as tm

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SERVE = """
import sys
import tinymlops as tm
options = {"clock": tm.ReplayClock(sys.argv[2])} if sys.argv[2] else {}
with tm.connect(sys.argv[1], **options) as ws:
    tm.serve(ws, port=0)
"""
COLORS, EXACT = 48, 16
SHORTEST, TALLEST = 680, 1_000
"""Of a picture, in pixels: as much as there is on the page, within these."""
WIDE, PHONE = 1280, 390


class Shot(NamedTuple):
    """A picture to take."""

    path: str
    act: Callable[[Page], object] | None = None
    """What is done on the page before."""
    scheme: str = "light"
    width: int = WIDE


class Place(NamedTuple):
    """A workspace, and the pictures of its pages by their names."""

    make: Callable[[Path], Path]
    """Makes the workspace if it is not there, given a folder that is thrown away."""
    shots: dict[str, Shot]
    at: str = ""
    """The time that the pages are of; now without it."""


def follow(selector: str, place: int = 0) -> Callable[[Page], object]:
    """Return what clicks on a link or button, and waits for the page that it leads to."""

    def act(page: Page) -> None:
        page.locator(selector).nth(place).click()
        page.wait_for_load_state("load")

    return act


def example(name: str, workspace: str, *options: str) -> Callable[[Path], Path]:
    """Return what runs an example, unless its workspace is there, and copies that: to look at it leaves it as it is."""

    def make(folder: Path) -> Path:
        path = ROOT / "examples" / name / workspace
        if not path.exists():
            subprocess.run([sys.executable, "demo.py", *options], cwd=path.parent, check=True)  # noqa: S603 - this very Python
        shutil.rmtree(folder / name, ignore_errors=True)
        others = [one.name for one in path.parent.iterdir() if one.is_dir() and one != path]
        shutil.copytree(path.parent, folder / name, ignore=lambda _, names: {*names} & {*others})
        return folder / name / workspace

    return make


def many_runs(folder: Path) -> Path:
    """Make a workspace of 10,000 runs, and a little of all else."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from pages import Sizes, built

    sizes = Sizes(sources=3, jobs=6, runs=60, changes=1_000, predictions=2_000, rows=4_000, texts=500)
    path = folder / "runs.tm"
    if path.exists():
        return path
    built(folder, sizes).rename(path)
    with tm.connect(path) as ws:
        for rate in (0.3, 0.1, 0.03, 0.01):
            with ws.start_run(f"rate {rate}", params={"rate": rate, "depth": 6}) as run:
                chance = random.Random(str(rate))  # noqa: S311 - noise of a picture
                for step in range(300):
                    loss = 0.3 + rate / 3 + math.exp(-step * rate / 12) / 2
                    run.log_metrics({"loss": loss + chance.gauss(0, 0.01)}, step=step)
        ws.queries.save(
            "Runs by kind", "select params->>'kind' as kind, count(*) as runs from tinymlops.runs group by all"
        )
    return path


def team(folder: Path) -> Path:
    """Return a workspace in which everybody has a token."""
    path = folder / "team.tm"
    shutil.rmtree(path, ignore_errors=True)
    with tm.connect(path, create=True) as ws:
        for name, role in (("ana", "admin"), ("billing", "predictor"), ("ben", "editor"), ("grafana", "reader")):
            TOKENS[name] = ws.tokens.create(name, role, expires=None if role == "admin" else "90d").token
        ws.tokens.revoke("grafana")
    return path


def sign_in(page: Page) -> None:
    """Sign in as Ana, and look at the tokens."""
    page.fill("#token", TOKENS["ana"])
    follow("button:has-text('Sign in')")(page)


def ask(page: Page) -> None:
    """Ask the model about a flight."""
    flight = {
        "origin": "JFK",
        "dest": "BOS",
        "tailnum": "N520JB",
        "carrier": "B6",
        "route": "JFK-BOS",
        "distance": "187",
    }
    for name, value in flight.items():
        page.fill(f"input[name='field.{name}']", value)
    follow("button:has-text('Ask')")(page)


def compare(page: Page) -> None:
    """Choose the first four runs, and compare them."""
    for place in range(4):
        page.locator("input[name='run']").nth(place).check()
    follow("button:has-text('Compare')")(page)


def query(page: Page) -> None:
    """Ask for the delays of each hour, as a picture."""
    page.fill("textarea", QUERY)
    page.select_option("#chart", "bar")
    follow("button:has-text('Run')")(page)
    page.wait_for_timeout(3_000)


QUERY = """select carrier, round(100 * avg((arr_delay > 15)::int), 1) as late_percent, count(*) as flights
from landings where landed_at >= '2013-09-01'
group by carrier order by late_percent desc"""
TOKENS: dict[str, str] = {}
"""By the name of who holds one."""
LONG = "/runs?q=name+%3D+%27long%27"
PLACES = [
    Place(
        example("flights", "replay.tm"),
        {
            "today": Shot("/"),
            "today-dark": Shot("/", scheme="dark"),
            "today-phone": Shot("/", width=PHONE),
            "monitors": Shot("/monitor"),
            "monitor": Shot("/monitor/delay?version=1"),
            "monitor-dark": Shot("/monitor/delay?version=1", scheme="dark"),
            "feature": Shot("/catalog/feature/origin_delays/origin_late_7d"),
            "source": Shot("/catalog/source/landings"),
            "lineage": Shot("/lineage/source/landings?down=feature_view:plane_delays"),
            "lineage-of-a-model": Shot("/models/delay/1", follow("a:has-text('Lineage')")),
            "catalog": Shot("/catalog"),
            "catalog-search": Shot("/catalog?q=late"),
            "view": Shot("/catalog/view/plane_delays"),
            "training-sets": Shot("/training-sets"),
            "build": Shot("/training-sets", follow("tbody th a")),
            "build-difference": Shot(
                "/training-sets", lambda page: (follow("tbody th a")(page), follow("button:has-text('Compare')")(page))
            ),
            "models": Shot("/models"),
            "model": Shot("/models/delay"),
            "model-version": Shot("/models/delay/1"),
            "predictions": Shot("/predictions"),
            "prediction": Shot("/predictions", follow("tbody th a", 7)),
            "prediction-phone": Shot("/predictions", follow("tbody th a", 7), width=PHONE),
            "try": Shot("/try/delay", ask),
            "sql": Shot("/sql", query),
            "run": Shot("/runs", follow("tbody th a")),
            "access": Shot("/access"),
        },
        at="2013-10-04T20:30:00Z",
    ),
    Place(
        many_runs,
        {
            "runs": Shot("/runs"),
            "runs-phone": Shot("/runs", width=PHONE),
            "groups": Shot("/runs?by=params.depth&column=metrics.m0&column=metrics.m1&column=params.kind"),
            "compare": Shot("/runs?q=metrics.loss+%3E+0", compare),
            "curves": Shot(LONG, follow("tbody th a")),
            "curve": Shot(LONG, lambda page: (follow("tbody th a")(page), follow("figcaption a")(page))),
            "jobs": Shot("/jobs"),
            "job": Shot("/jobs/job_0"),
            "job-run": Shot("/jobs/job_0?state=failed", follow("tbody th a")),
            "audit": Shot("/access/audit"),
        },
    ),
    Place(
        example("reviews", "reviews.tm", "--rows", "2000"),
        {
            "vectors": Shot("/vectors"),
            "vector-search": Shot("/vectors/texts?q=a+moving+story+of+friendship&at=2024-02-01T00:00Z&mode=hybrid"),
        },
    ),
    Place(team, {"sign-in": Shot("/"), "tokens": Shot("/sign-in?next=/access/tokens", sign_in)}),
]


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="of pictures; all without one")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the pictures go")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the runs are made, and found again")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for place in PLACES:
            shots = {name: shot for name, shot in place.shots.items() if not asked.names or name in asked.names}
            if shots:
                with served(place.make(asked.keep or Path(folder)), place.at) as base:
                    for name, shot in shots.items():
                        take(browser, base, shot, asked.folder / f"{name}.png")
        browser.close()


@contextmanager
def served(workspace: Path, at: str) -> Iterator[str]:
    """Serve a workspace as a process of its own."""
    command = [sys.executable, "-c", SERVE, str(workspace), at]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:  # noqa: S603 - this very Python
        try:
            assert server.stderr is not None
            yield next(line for line in server.stderr if "serving on " in line).split()[2]
        finally:
            server.terminate()


def take(browser: Browser, base: str, shot: Shot, path: Path) -> None:
    """Write a small PNG of a page, as high as what is on it."""
    context = browser.new_context(viewport={"width": shot.width, "height": SHORTEST}, color_scheme=shot.scheme)  # type: ignore[arg-type]
    page = context.new_page()
    answer = page.goto(base + shot.path, wait_until="load")
    assert answer is not None and answer.status == 200, shot.path  # noqa: PT018
    if shot.act is not None:
        shot.act(page)
    high = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": shot.width, "height": max(SHORTEST, min(high, TALLEST))})
    page.wait_for_timeout(500)
    small(Image.open(io.BytesIO(page.screenshot())).convert("RGB")).save(path, optimize=True)
    context.close()


def small(picture: Image.Image) -> Image.Image:
    """Return a picture with few colours: the most frequent as they are, so that grounds are even, and some for the others."""
    counted = sorted(picture.getcolors(picture.width * picture.height) or [], reverse=True)
    exact = [part for _, color in counted[:EXACT] for part in color]  # type: ignore[union-attr]
    others = picture.quantize(COLORS - EXACT, Image.Quantize.MAXCOVERAGE).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette(exact + others[: 3 * (COLORS - EXACT)])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
