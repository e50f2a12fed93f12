"""Which pages there are, which of them links lead to, and what becomes of what is typed and pressed on each."""

import re
from collections import Counter
from urllib.parse import parse_qs, quote, urlsplit

import pages_shop

import tinymlops as tm
from tinymlops.server.pages.nouns import PAGES

NO_PAGES = re.compile("^/runs/rows$|/curve$|/(file|patch|console)$")
"""What scripts of a page ask for, and downloads."""
FIELDS = "input:not([type]), input[type=text], input[type=search], textarea"
INJECTED = "document.querySelectorAll('img[src=x], svg script, script:not([src])').length"


def templates(folder):
    """Return the paths of all pages as their handlers have them, those without a parameter first."""
    with tm.connect(folder / "empty.tm", create=True) as ws:
        handlers = [handler for routes in PAGES for handler in routes(ws)]
    found = {path for handler in handlers if "GET" in handler.http_methods for path in handler.paths}
    return sorted((path for path in {*found, "/sql"} if not NO_PAGES.search(path)), key=lambda path: path.count("{"))


def template_of(path, known):
    """Return the handler's path that this one belongs to; None if it is not that of a page."""
    bare = urlsplit(path).path
    return next((one for one in known if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", one), bare)), None)


def kind_of_page(path, known, whole):
    """Return what tells two pages of one handler from others: with `whole`, also which parameters are given."""
    names = set(parse_qs(urlsplit(path).query))
    return template_of(path, known), tuple(sorted(names if whole else names & {"q"}))


def reachable(looker, known, look, *, most, whole):
    """Look at every page that links lead to; return their paths.

    Args:
        looker: The window.
        known: The paths of handlers.
        look: Called on each page.
        most: The most pages of a kind.
        whole: As for `kind_of_page`.
    """
    seen, kinds, waiting = [], Counter(), first_pages(looker)
    while waiting:
        path = waiting.pop(0).partition("#")[0]
        kind = kind_of_page(path, known, whole)
        if path in seen or kind[0] is None or kinds[kind] >= most:
            continue
        status = looker.go(path)
        assert status == 200, (path, status)
        look(path)
        seen.append(path)
        kinds[kind] += 1
        waiting += [link for link in looker.links() if link not in waiting]
    return seen


def first_pages(looker):
    """Return pages with texts of users, of which the short form sees what it meets first, and those that need a choice."""
    looker.go("/runs?q=" + quote('name = "train" or name = "broken"') + "&order=-name")
    runs = looker.page.locator("tbody th a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    pages = ["/", "/catalog/view/spending", "/lineage/source/orders?down=feature_view%3Aspending", "/jobs/orders"]
    compared = "&".join(path.replace("/runs/", "run=") for path in runs[:2])
    return [*pages, "/catalog?q=spending", f"/runs/compare?{compared}", *runs[:2]]


def open_all(page):
    """Open and close whatever opens on a page."""
    for summary in page.locator("summary").all():
        if summary.is_visible():
            summary.click()


def press(looker, path, number):
    """Type into every field of a form, choose the last of each choice and send it; return whether it could be sent."""
    page = looker.page
    looker.go(path)
    open_all(page)
    form = page.locator("form").nth(number)
    for field in form.locator(FIELDS).all():
        if field.is_visible():
            field.fill(pages_shop.HOSTILE)
    for choice in form.locator("select").all():
        if choice.is_visible():
            choice.select_option(index=choice.locator("option").count() - 1)
    button = form.locator("button").first
    if form.locator("button").count() and button.is_visible():
        button.click()
    elif form.locator(FIELDS).count():
        form.locator(FIELDS).first.press("Enter")
    else:
        return False
    page.wait_for_load_state("load")
    return True


def press_all(looker, paths, known):
    """Press what every kind of form has, and check that what was typed is text; return the actions of the forms."""
    pressed = set()
    for path in paths:
        looker.go(path)
        actions = looker.page.locator("form").evaluate_all("all => all.map(one => one.method + ' ' + one.action)")
        for number, action in enumerate(actions):
            kind = (template_of(path, known), number, re.sub(r"\?.*", "", action.replace(looker.base, "")))
            if kind in pressed or not press(looker, path, number):
                continue
            pressed.add(kind)
            assert looker.page.evaluate(INJECTED) == 0, (path, action)
            assert looker.page.title(), (path, action)
    return {kind[2].partition(" ")[2] for kind in pressed}
