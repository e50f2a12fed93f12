"""The pages in a real browser: every page that a link leads to, at three widths, light and dark, with and without scripts."""

from itertools import product

import pytest
from browsing import WIDTHS, Looker, chromium
from network import FULL, Server, some

import tinymlops as tm

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{7*7}}\u202e"
LOOKS = list(product(WIDTHS, ("light", "dark"), (True, False)))
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    import served_shop

    path = tmp_path_factory.mktemp("pages") / "shop.tm"
    served_shop.build(path)
    with tm.connect(path) as ws:
        run = ws.start_run("train", params={"name": HOSTILE}, tags={"why": HOSTILE})
        run.log_metric("loss", 0.5)
        run.finish()
    with Server(path) as server:
        yield server


def reachable(looker, most=200):
    """Return every page that links lead to, the first first."""
    seen, waiting = [], ["/"]
    while waiting and len(seen) < most:
        path = waiting.pop(0)
        if path in seen or path.startswith("/sign-out"):
            continue
        status = looker.go(path)
        assert status == 200, (path, status)
        seen.append(path)
        waiting += [link for link in looker.links() if link not in seen and link not in waiting]
    return seen


@pytest.mark.parametrize(
    ("width", "scheme", "scripts"),
    some(LOOKS, ("wide", "light", True), ("phone", "dark", True), ("tablet", "dark", False)),
)
def test_every_page_is_whole_and_keeps_nobody_out(browser, server, width, scheme, scripts):
    with Looker(browser, server.url, width=width, scheme=scheme, scripts=scripts) as looker:
        for path in reachable(looker, 200 if FULL else 40):
            looker.go(path)
            assert looker.page.title()
            if scripts:
                assert not looker.overflows(), path
                assert looker.serious() == [], path
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
    import served_shop

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
