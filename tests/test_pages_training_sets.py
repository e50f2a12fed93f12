"""The pages of training sets: builds, what each left out and why, and what differs between two."""

import re

import pytest
import served_shop
from litestar.testing import TestClient
from test_pages_runs import text_of
from test_server import LOCAL

import tinymlops as tm


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("builds") / "shop.tm"
    with tm.connect(path, create=True, clock=(clock := tm.ReplayClock(served_shop.NOW))) as ws:
        ws.apply(served_shop.project)
        ws.ingest()
        first = ws.get_training_data(served_shop.visits_to_orders)
        clock.advance("1h")
        second = ws.get_training_data(served_shop.visits_to_orders, test_from="2024-01-15")
        with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
            yield ws, client, first, second


def test_builds_are_listed_the_newest_first(shop):
    _, client, first, second = shop
    page = client.get("/training-sets").text
    assert page.index(second.build_id) < page.index(first.build_id)
    assert "2 builds" in text_of(page)
    assert "no build" in text_of(client.get("/training-sets?name=other").text)


def test_a_build_says_what_it_left_out_and_why(shop):
    _, client, _, second = shop
    text = text_of(client.get(f"/training-sets/{second.build_id}").text)
    report = second.report
    assert report.purged
    assert report.test_rows
    for label, count in (("Train", report.train_rows), ("Test", report.test_rows), ("Purged", report.purged)):
        assert re.search(rf"{label}\s+{count:,}\s", text)
    assert "before 2024-01-15 00:00:00 UTC" in text
    assert f"tinymlops verify {second.build_id[:12]}" in text
    assert "spending:last_amount" in text


def test_its_features_and_its_definitions_are_linked_while_they_are_in_force(shop):
    _, client, first, _ = shop
    page = client.get(f"/training-sets/{first.build_id}").text
    for path in (
        "/catalog/feature/spending/last_amount",
        "/catalog/source/visits",
        "/catalog/training-set/visits_to_orders",
    ):
        assert f'href="{path}"' in page
        assert client.get(path).status_code == 200


def test_two_builds_show_only_what_differs_and_the_command_for_the_cells(shop):
    _, client, first, second = shop
    text = text_of(client.get(f"/training-sets/{second.build_id}", params={"other": first.build_id}).text)
    assert re.search(rf"Train rows\s+{first.report.train_rows:,}\s+{second.report.train_rows:,}", text)
    assert re.search(r"Test from\s+\S\s+2024-01-15", text)
    assert "Spine rows" not in text
    assert f"tinymlops diff {first.build_id[:12]} {second.build_id[:12]}" in text
    assert client.get("/training-sets/nothing").status_code == 404
    assert client.get(f"/training-sets/{second.build_id}?other=nothing").status_code == 404


def test_a_build_and_its_runs_are_linked_both_ways(shop):
    ws, client, first, _ = shop
    with ws.start_run("linear", data=first, system=False, console=False, patch=False) as run:
        pass
    assert f"/runs/{run.id}" in client.get(f"/training-sets/{first.build_id}").text
    assert f"/training-sets/{first.build_id}" in client.get(f"/runs/{run.id}").text
