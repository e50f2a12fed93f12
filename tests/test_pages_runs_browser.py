"""The pages of runs in a real browser: a list that is scrolled, curves that are walked along, and no script of a user."""

import re

import numpy as np
import pytest
from browsing import Looker, chromium, keeps_nobody_out
from network import Server

import tinymlops as tm
from tinymlops.registry.runs.points import points_of

NAME = "<img src=x onerror=alert(1)>'&{{7*7}}"
RUNS = 250
FIRST_SEEN = """() => {
  const box = document.querySelector('.rows'), top = box.getBoundingClientRect().top + 40;
  const row = [...box.querySelectorAll('tbody tr:not(.gap)')].find((one) => one.getBoundingClientRect().top >= top);
  return [row.querySelector('th').innerText, Math.round(row.getBoundingClientRect().top)];
}"""
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "shop.tm"
    with tm.connect(path, create=True) as ws:
        for number in range(RUNS):
            ws.runs.start(f"run-{number}", patch=False, origin="test", params={"depth": number, NAME: number % 2})
        for name in ("one", NAME):
            with ws.start_run(name, system=False, patch=False, notes=NAME, tags={NAME: NAME}) as run:
                values = np.sin(np.arange(20_000) / 900)
                values[7_000] = np.nan
                ws.runs.log_points(run.id, {"val/loss": points_of(np.arange(20_000.0), values, np.arange(20_000), 0)})
                run.log_metric(NAME, 1.0)
                run.log_metric(NAME, 2.0)
                ws.runs.log_artifact(run.id, f"{NAME}.html", b"<script>alert(1)</script>")
                print(NAME)
    with Server(path) as server:
        yield server


def paths_of(looker):
    looker.go("/runs")
    one, other = (looker.page.locator("tbody th a").nth(place).get_attribute("href") for place in (0, 1))
    runs = "&".join(path.replace("/runs/", "run=") for path in (one, other))
    return [
        "/runs?by=params.depth&differs=1&q=params.depth+%3C+9",
        "/runs?q=no",
        one,
        f"{one}/metric?name=val/loss",
        f"/runs/compare?{runs}",
    ]


def test_pages_of_runs_keep_nobody_out_and_run_nothing(browser, server):
    with Looker(browser, server.url) as looker:
        for path in paths_of(looker):
            assert looker.go(path) == 200
            looker.page.wait_for_timeout(150)
            keeps_nobody_out(looker, path)
            looker.change(width="phone", scheme="dark")
            keeps_nobody_out(looker, path, "color-contrast")
            looker.change(width="wide", scheme="light")
        assert looker.wrong == []


def test_a_long_list_is_scrolled_to_its_end_and_what_is_chosen_stays_chosen(browser, server):
    with Looker(browser, server.url) as looker:
        looker.go("/runs?order=started_at")
        page = looker.page
        page.wait_for_selector(".rows.virtual")
        page.check("tr[aria-rowindex='2'] input")
        page.evaluate("() => { const box = document.querySelector('.rows'); box.scrollTop = box.scrollHeight; }")
        page.wait_for_selector(f"text=run-{RUNS - 1}")
        assert page.locator("tbody tr").count() < RUNS
        page.wait_for_url(re.compile("first=200"))
        page.check(f"tr[aria-rowindex='{RUNS + 1}'] input")
        assert "2 chosen" in looker.text()
        page.click("#compare button")
        page.wait_for_url(re.compile("/runs/compare"))
        assert "run-0" in looker.text()
        assert f"run-{RUNS - 1}" in looker.text()
        assert looker.wrong == []


def first_rows(page, count=3):
    return [one.split()[0] for one in page.locator("tbody th").all_inner_texts()[:count]]


def test_a_list_moves_by_itself_but_not_under_a_pointer_nor_where_one_looks(browser, tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True) as ws:
        for number in range(130):
            ws.runs.start(f"old-{number}", patch=False, origin="test", params={"depth": number})
        newest = ws.runs.search(limit=1)[0].id
    with Server(path) as server, Looker(browser, server.url) as looker, tm.connect(path) as ws:
        page, streams = looker.page, []
        page.on("request", lambda request: streams.append(request.url) if request.url.endswith("/live") else None)
        looker.go("/runs")
        page.wait_for_selector(".rows.virtual")
        page.check("tr[aria-rowindex='3'] input")
        page.evaluate(
            "() => { document.activeElement.blur(); document.querySelector('tbody th').closest('tr').mine = 1; }"
        )
        page.mouse.move(2, 2)

        ws.runs.start("new-1", patch=False, origin="test", params={"depth": 1})
        page.wait_for_selector("text=new-1")
        assert first_rows(page) == ["new-1", "old-129", "old-128"]
        assert page.inner_text("[data-found]") == "131 runs"
        assert page.evaluate("() => document.querySelectorAll('tbody th')[1].closest('tr').mine") == 1, "rows stay"
        assert page.is_checked("tr[aria-rowindex='4'] input")

        page.hover("tr[aria-rowindex='3'] th")
        ws.runs.start("new-2", patch=False, origin="test")
        ws.runs.finish(newest)
        page.wait_for_selector("text=Show 1 new run")
        assert first_rows(page) == ["new-1", "old-129", "old-128"]
        assert "finished" in page.inner_text("tr[aria-rowindex='3']"), "what stands in a row moves"
        page.mouse.move(2, 2)
        page.wait_for_selector("text=new-2")
        assert page.is_hidden("[data-news]")

        page.evaluate("() => { document.querySelector('.rows').scrollTop = 1500; }")
        page.wait_for_timeout(300)
        seen = FIRST_SEEN
        before = page.evaluate(seen)
        ws.runs.start("new-3", patch=False, origin="test")
        page.wait_for_selector("text=Show 1 new run")
        assert page.evaluate(seen) == before
        page.click("[data-news]")
        page.wait_for_function("() => document.querySelector('[data-found]').innerText === '133 runs'")
        assert page.evaluate(seen) == before, "what one looks at stays where it is"
        page.evaluate("() => { document.querySelector('.rows').scrollTop = 0; }")
        page.wait_for_selector("text=new-3")
        assert first_rows(page, 2) == ["new-3", "new-2"]
        assert page.inner_text("[data-chosen]") == "1 chosen"
        assert len(streams) == 1
        assert looker.wrong == []


def test_the_first_run_appears_by_itself(browser, tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True) as ws, Server(path) as server, Looker(browser, server.url) as looker:
        looker.go("/runs")
        assert "No run has been logged yet" in looker.text()
        ws.runs.start("first", patch=False, origin="test")
        looker.page.wait_for_selector("tbody >> text=first")
        assert looker.wrong == []


def test_a_curve_is_walked_by_keys_and_a_closer_look_asks_again(browser, server):
    with Looker(browser, server.url) as looker:
        page = looker.page
        looker.go(next(path for path in paths_of(looker) if "/metric" in path))
        page.wait_for_selector("figure.drawn")
        before = page.inner_text("[data-count]")
        assert before.endswith("of 20,000")
        page.focus("[data-plot]")
        page.keyboard.press("End")
        assert page.inner_text(".said").startswith("step 19999: ")
        page.keyboard.press("ArrowLeft")
        assert not page.inner_text(".said").startswith("step 19999: ")
        box = page.locator(".u-over").bounding_box()
        page.mouse.move(box["x"] + 50, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 20, steps=4)
        page.mouse.up()
        page.wait_for_url(re.compile("start=.*stop="))
        shown, total = page.inner_text("[data-count]").split(" of ")
        assert shown == total
        assert page.input_value("#start") != ""
        page.focus("[data-plot]")
        page.keyboard.press("Escape")
        page.wait_for_function("before => document.querySelector('[data-count]').innerText === before", arg=before)
        assert "start" not in page.url
        assert looker.wrong == []


def test_without_scripts_there_are_pages_pictures_and_points(browser, server):
    with Looker(browser, server.url, scripts=False) as looker:
        looker.go("/runs")
        looker.page.click("text=Next")
        assert "101 to 200 of 252" in looker.text()
        looker.go(next(path for path in paths_of(looker) if "/metric" in path))
        assert looker.page.locator("svg.curves path.series").count() == 1
        assert looker.page.locator("table.slim tbody tr").count() == 50
        assert looker.wrong == []
