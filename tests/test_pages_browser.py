"""The pages in a real browser: every page that a link leads to, at three widths, light and dark, with and without scripts."""

import re
import shutil
from itertools import product

import pages_shop
import pytest
import served_shop
from bare import BARE, installed
from browsing import WIDTHS, Looker, chromium, keeps_nobody_out
from network import FULL, Server, some
from served_jobs import ORDERS
from visiting import open_all, press_all, reachable, template_of, templates

import tinymlops as tm

SAYS = "text => document.getElementById('found').innerText.includes(text)"
MOST = 10
"""Pages of a handler with the same parameters: a list of a thousand rows leads to a thousand, and trees open in every way."""
LOOKS = list(product(WIDTHS, ("light", "dark"), (True, False)))
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(shop_path):
    pages_shop.fill(shop_path)
    with Server(shop_path) as server:
        yield server


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The paths of all pages."""
    return templates(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module")
def everything(request, tmp_path_factory):
    """What is looked at everywhere: made and served by the wheel in its own environment, if there is one."""
    if BARE is None:
        yield request.getfixturevalue("server")
    else:
        with installed(tmp_path_factory.mktemp("bare") / "shop.tm", "ui") as server:
            yield server


@pytest.mark.parametrize(
    ("width", "scheme", "scripts"), some(LOOKS, ("wide", "light", True), ("tablet", "dark", False))
)
def test_every_page_is_whole_and_keeps_nobody_out(browser, everything, known, width, scheme, scripts):
    with Looker(browser, everything.url, width=width, scheme=scheme, scripts=scripts) as looker:

        def look(path):
            assert looker.page.title()
            if scripts:
                keeps_nobody_out(looker, path)
            if scripts and not FULL:  # one page is looked at in two ways; in the long form, each way has its own round
                looker.change(width="phone", scheme="dark")
                keeps_nobody_out(looker, path, "color-contrast")
                looker.change(width=width, scheme=scheme)

        every = FULL and (width, scheme) == ("wide", "light")
        seen = reachable(looker, known, look, most=MOST if every else 1, whole=FULL)
        assert {template_of(path, known) for path in seen} == set(known)
        assert looker.wrong == []
        told = "each looked at by axe-core, " if scripts else ""
        print(f"{width}, {scheme}, scripts {scripts}: {len(seen)} pages of {len(known)} kinds, {told}nothing wrong")


@pytest.mark.skipif(BARE is None, reason="make browser presses everything; `test_pages_forms.py` sends every form")
@pytest.mark.parametrize(("width", "scripts"), [("wide", True), ("phone", True), ("tablet", False)])
def test_whatever_is_typed_and_pressed_is_text(browser, everything, known, width, scripts):
    with Looker(browser, everything.url, width=width, scripts=scripts) as looker:
        seen = reachable(looker, known, lambda _: open_all(looker.page), most=1, whole=False)
        assert looker.wrong == []
        pressed = press_all(looker, seen, known)
        assert pressed >= {"/catalog", "/runs", "/sql", "/sql/save", "/access/audit", "/predictions"}
        assert [one for one in looker.wrong if "status of 4" not in one] == []  # what cannot be is refused, and told


def test_the_morning_round_is_three_clicks(browser, server):
    """Is a model well, why not, which feature, whose source, and what changed: read and clicked as somebody new would."""
    with Looker(browser, server.url) as looker:
        page = looker.page
        looker.go("/")
        told = page.inner_text("#needs")
        assert "splurge:1" in told
        assert "not as in training" in told, "is a model well, and why not"
        page.click("#needs >> text=splurge:1")
        page.wait_for_url(re.compile("/monitor/splurge"))
        first = page.locator("tbody tr:has(.state.bad) th a").first
        name = first.inner_text()
        assert name in told, "which feature: the first of the list"
        page.click("tbody th >> text=last_amount")
        page.wait_for_url(re.compile("/catalog/feature/spending/last_amount"))
        side = page.inner_text("aside")
        assert "Whose rows" in side
        assert "orders" in side
        assert "spending v1" in page.inner_text("section:has(#changed-title)"), "what changed"
        assert "shift" in page.inner_text("section:has(#inputs-title)"), "and how it is in use"
        page.click("section:has(#sources-title) a")
        page.wait_for_url(re.compile("/catalog/source/orders"))
        assert "Owner" in looker.text()
        assert looker.wrong == []


def test_one_prediction_is_followed_to_its_rows(browser, server):
    with Looker(browser, server.url, scripts=False) as looker:
        page = looker.page
        looker.go("/predictions")
        page.click("tbody th a >> nth=0")
        page.wait_for_url(re.compile("/predictions/[0-9a-f]{32}"))
        assert "Known from" in page.inner_text("details.behind")
        page.click("details.behind p a >> text=orders")
        page.wait_for_url(re.compile("/catalog/source/orders"))
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


def test_an_open_page_moves_and_does_not_keep_the_server(browser, built_shop, tmp_path):
    path = shutil.copytree(built_shop, tmp_path / "shop.tm")
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
