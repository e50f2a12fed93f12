"""The pages in a real browser: every page that a link leads to, at three widths, light and dark, with and without scripts."""

from datetime import timedelta
from itertools import product

import pytest
import served_shop
from browsing import WIDTHS, Looker, chromium
from network import FULL, Server, some
from test_server_jobs import NIGHTLY, ORDERS, SPENDING, attempt

import tinymlops as tm

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}\u202e"
SAYS = "text => document.getElementById('found').innerText.includes(text)"
LOOKS = list(product(WIDTHS, ("light", "dark"), (True, False)))
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "shop.tm"
    served_shop.build(path)
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        run = ws.start_run("train", params={"name": HOSTILE}, tags={"why": HOSTILE})
        run.log_metric("loss", 0.5)
        run.finish()
        run = ws.start_run("broken", notes=HOSTILE)
        run.finish(status="failed", error=HOSTILE)
        ws.catalog.note("spending", f"{HOSTILE}\n{'x' * 300}")
        ws.catalog.mark("spending", "golden")
        ws.get_online_features([served_shop.spending], [{"customer": 1}], consumer="checkout")
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW - timedelta(hours=3))) as ws:
        ws.jobs.decide([ORDERS, NIGHTLY, SPENDING])
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        ws.jobs.decide([ORDERS, NIGHTLY, SPENDING])
        attempt(ws, told=f"{HOSTILE} {'y' * 300}", log=f"\x1b[31m{HOSTILE}\n" * 300)
        ws.jobs.pause("nightly")
    with Server(path) as server:
        yield server


HOSTILE_FIRST = ["/", "/catalog/view/spending", "/lineage/source/orders?down=feature_view%3Aspending", "/jobs/orders"]
"""Pages with text of users; of each kind of page the short form looks at the one it meets first."""


def kind_of_page(path):
    """What tells two pages of one handler from two of others."""
    segments = path.partition("?")[0].split("/")[1:]
    return (segments[0], segments[1:] if segments[0] == "access" else [], len(segments), "q=" in path)


def reachable(looker, look):
    """Look at every page that links lead to, in the short form at one of each kind; return their paths."""
    seen, kinds, waiting = [], [], [*HOSTILE_FIRST, "/catalog?q=spending"]
    while waiting:
        path = waiting.pop(0).partition("#")[0]
        if path in seen or (not FULL and kind_of_page(path) in kinds):
            continue
        status = looker.go(path)
        assert status == 200, (path, status)
        look(path)
        seen.append(path)
        kinds.append(kind_of_page(path))
        waiting += [link for link in looker.links() if link not in seen and link not in waiting]
    return seen


@pytest.mark.parametrize(
    ("width", "scheme", "scripts"),
    some(LOOKS, ("wide", "light", True), ("phone", "dark", True), ("tablet", "dark", False)),
)
def test_every_page_is_whole_and_keeps_nobody_out(browser, server, width, scheme, scripts):
    with Looker(browser, server.url, width=width, scheme=scheme, scripts=scripts) as looker:

        def look(path):
            assert looker.page.title()
            if scripts:
                assert not looker.overflows(), path
                assert looker.serious() == [], path

        seen = reachable(looker, look)
        assert {path.split("/")[1].partition("?")[0] for path in seen} >= {"", "catalog", "lineage", "jobs", "access"}
        assert looker.wrong == []


def test_a_search_answers_as_one_types_and_its_address_shows_the_same(browser, server):
    with Looker(browser, server.url) as looker:
        looker.go("/catalog")
        looker.page.locator('input[type="search"]').press_sequentially("spendng", delay=20)
        looker.page.wait_for_function(SAYS, arg="searched for spending")
        assert looker.page.evaluate("document.activeElement.name") == "q"
        assert looker.page.url.endswith("/catalog?q=spendng")
        looker.page.reload()
        assert "searched for spending" in looker.text()
        looker.page.fill('input[type="search"]', "<img src=x onerror=alert(1)>")
        looker.page.wait_for_function(SAYS, arg="onerror")
        looker.page.fill('input[type="search"]', "")
        looker.page.wait_for_function(SAYS, arg="Feature views")
        assert looker.page.url.endswith("/catalog")
        assert looker.wrong == []


@pytest.mark.parametrize("scripts", [True, False])
def test_a_query_is_run_drawn_saved_and_found_again(browser, server, scripts):
    query = 'select "at", amount, customer from orders'
    with Looker(browser, server.url, scripts=scripts, width="wide" if scripts else "phone") as looker:
        looker.go("/sql")
        looker.page.fill("#q", query)
        looker.page.select_option("#chart", "line")
        looker.page.click("form.stack button")
        looker.page.wait_for_selector("#result")
        assert "600 rows" in looker.text()
        assert looker.page.locator(".plot canvas").count() == (1 if scripts else 0)
        assert looker.page.locator(".plot svg.curves").count() == (0 if scripts else 1)
        if scripts:
            looker.page.focus(".plot")
            looker.page.keyboard.press("End")
            assert "at 2024-01-25 23:00:00" in looker.text()
            assert not looker.overflows()
            assert looker.serious() == []
        looker.page.click("summary")
        looker.page.fill('input[name="name"]', f"orders, <b>{scripts}</b>")
        looker.page.click('form[action$="/sql/save"] button')
        looker.page.wait_for_selector(".parts a[aria-current]")
        assert looker.page.input_value("#q") == query
        assert looker.wrong == []


def test_a_job_is_paused_run_and_shown_without_scripts(browser, tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        ws.jobs.decide([ORDERS])
    with Server(path) as server, Looker(browser, server.url, scripts=False, width="phone") as looker:
        looker.go("/jobs/orders")
        looker.page.click("text=Pause")
        assert "paused" in looker.text()
        looker.page.click("text=Resume")
        looker.page.click("text=Run now")
        assert "waits for a runner" in looker.text()
        assert looker.wrong == []


def test_a_stranger_signs_in_and_out(browser, tmp_path):
    path = tmp_path / "shop.tm"
    with tm.connect(path, create=True) as ws:
        token = ws.tokens.create("ana", "admin").token
    with Server(path) as server, Looker(browser, server.url) as looker:
        looker.go("/?")
        looker.page.fill("#token", "tm_wrong")
        looker.page.click("main button")
        assert "not known here" in looker.text()
        looker.page.fill("#token", token)
        looker.page.click("main button")
        looker.page.wait_for_url(server.url + "/")
        assert "ana" in looker.text()
        looker.page.click(".who button")
        looker.page.wait_for_url(server.url + "/sign-in")
        assert [one for one in looker.wrong if "403" not in one] == []


def test_an_open_page_moves_and_does_not_keep_the_server(browser, tmp_path):
    path = tmp_path / "shop.tm"
    served_shop.build(path)
    with Server(path) as server, Looker(browser, server.url) as looker:
        looker.go("/")
        before = looker.page.inner_text("#sources")
        with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
            ws.push("clicks", [{"click": 900, "shopper": "a", "at": served_shop.START, "seconds": 1.0}])
        looker.page.wait_for_function("before => document.getElementById('sources').innerText !== before", arg=before)
        assert looker.wrong == []
        code, _, seconds = server.stop()
        assert code == 0
        assert seconds < 20
