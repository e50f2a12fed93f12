"""The pages of models in use: they show the reports that were kept, with their time, and compute none."""

import re

import pytest
import served_shop
from inside import database_of
from litestar.testing import TestClient
from test_pages_runs import text_of
from test_server import LOCAL

import tinymlops as tm
from tinymlops.monitoring.drift import Drift
from tinymlops.monitoring.keeping import kept_reports
from tinymlops.records import KeptMonitorReport
from tinymlops.server.pages.monitoring import histogram_svg


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.tm"
    served_shop.build(path)
    clock = tm.ReplayClock(served_shop.NOW)
    with tm.connect(path, clock=clock) as ws, TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        made = list(ws.predict("splurge", [{"customer": n % 10, "budget": 10.0} for n in range(60)], sync=True))
        ws.log_outcomes([{"prediction_id": one["id"], "value": bool(n % 2)} for n, one in enumerate(made[:40])])
        yield ws, client, clock


def test_a_page_shows_the_last_report_with_its_time_and_how_to_renew_it(shop):
    ws, client, clock = shop
    text = text_of(client.get("/monitor/splurge").text)
    assert "No report on this version was kept" in text
    assert "tinymlops monitor splurge:1 --keep" in text
    ws.monitor("splurge")
    assert database_of(ws).count(KeptMonitorReport) == 0, "without keep nothing is written"
    report = ws.monitor("splurge", keep=True)
    page = client.get("/monitor/splurge").text
    text = text_of(page)
    assert re.search(r"Predictions\s+60", text)
    assert re.search(r"With outcome\s+40", text)
    assert "As of 2024-02-01 00:00:00 UTC" in text
    assert "tinymlops monitor splurge:1 --keep" in text
    assert page.count('<svg class="bars pair"') == 1 + len(report.features)
    assert "splurge" in text_of(client.get("/monitor").text)
    assert client.get("/monitor/splurge?version=2").status_code == 200
    assert client.get("/monitor/none").status_code == 404
    clock.advance("1d")
    ws.monitor("splurge", keep=True)
    ws.monitor("splurge", keep=True)
    assert len(kept_reports(database_of(ws), "splurge", 1)) == 2, "the last of each day"
    assert "2024-02-02 00:00:00" in text_of(client.get("/monitor/splurge").text)


def test_a_report_is_read_as_it_was_kept(shop):
    ws, _, _ = shop
    report = ws.monitor("splurge", keep=True)
    assert kept_reports(database_of(ws), "splurge", 1)[0].report == report
    for drift in report.features:
        assert sum(drift.served) == drift.rows == 60
        assert sum(drift.training) == report.training_rows
        assert len(drift.labels) == len(drift.served) == len(drift.training)


def test_a_part_is_not_kept(shop):
    ws, _, _ = shop
    with pytest.raises(tm.DataError, match="is not kept"):
        ws.monitor("splurge", since="2024-01-01", keep=True)
    assert database_of(ws).count(KeptMonitorReport) == 0


def test_a_histogram_tells_what_it_shows_and_escapes_it():
    drift = Drift("kind", 4, 3, 0.0, 0.0, 0.1, 0.1, [1, 1, 0, 0], [0, 2, 2, 0], ["<b>", "a", "other", "null"])
    picture = str(histogram_svg(drift))
    assert "&lt;b&gt; 50% then 0%" in picture
    assert "<b>" not in picture
    assert histogram_svg(Drift("kind", 0, 0, None, 0.0, None, None)) is None
    assert "NaN" not in str(histogram_svg(Drift("x", 0, 0, None, 0.0, None, None, [0, 0], [], ["all", "null"])))
