"""docs/mlflow.md lists the routes that are there, with their classes, and what is refused as the server refuses it."""

import re
from pathlib import Path

import tinymlops as tm
from tinymlops.server.mlflow.refused import FAMILIES
from tinymlops.server.route_class import class_of

TEXT = Path("docs/mlflow.md").read_text()


def test_the_page_lists_every_route_of_the_protocol(workspace):
    spoken = {
        f"`{method} {re.sub(r':[a-z]+}', '}', route.path.removeprefix('/api/2.0/'))}` | {class_of(handler)}"
        for route in tm.create_app(workspace).routes
        if route.path.startswith("/api/")
        for handler in route.route_handlers
        for method in handler.http_methods - {"OPTIONS"}
    }
    listed = {one.rstrip() for one in re.findall(r"^\| (`[A-Z]+ mlflow[^|]*\| [a-z]+)", TEXT, re.MULTILINE)}
    assert listed == spoken


def test_the_page_says_why_something_is_refused():
    listed = dict(re.findall(r"^\| `([a-z-]+)` \| (.*) \|$", TEXT, re.MULTILINE))
    assert listed == FAMILIES


def test_no_call_is_both_spoken_and_refused():
    spoken, _, refused = TEXT.partition("## The client, call by call")[2].partition("## Refused")
    calls = [set(re.findall(r"`([a-z_]+)`", part)) for part in (spoken, refused.partition("| path | why |")[0])]
    assert min(map(len, calls)) > 50
    assert calls[0] & calls[1] == set()
