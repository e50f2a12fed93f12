"""The pages of models in use: they show the reports that were kept, with their time, and compute none."""

import re
from datetime import timedelta

import msgspec
import pytest
import served_shop
from inside import database_of
from litestar.testing import TestClient
from test_pages_catalog import words
from test_pages_runs import text_of
from test_server import LOCAL

import tinymlops as tm
from tinymlops.monitoring.drift import Drift
from tinymlops.monitoring.keeping import kept_reports
from tinymlops.records import KeptMonitorReport
from tinymlops.server.pages.monitoring import histogram_svg, most_served


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


def test_the_page_of_a_feature_shows_where_most_predictions_are_beside_training(shop):
    ws, client, _ = shop
    assert "in use" not in text_of(client.get("/catalog/feature/spending/spent_7d").text).partition("Models that")[0]
    report = ws.monitor("splurge", keep=True)
    (drift,) = (one for one in report.features if one.name == "spent_7d")
    label, now, before = most_served(drift)
    place = drift.labels.index(label)
    assert drift.served[place] == max(drift.served)
    assert (now, before) == (drift.served[place] / 60, drift.training[place] / report.training_rows)
    text = text_of(client.get("/catalog/feature/spending/spent_7d").text)
    assert f"{label}: {now:.0%}".removesuffix("%") in text
    assert "of the 60 predictions of splurge:1" in text
    assert most_served(Drift("x", 0, 0, None, 0.0, None, None)) is None
    assert most_served(Drift("x", 0, 2, None, 0.0, None, None, [1, 1], [0, 0], ["all", "null"])) is None


def waiting_on(client):
    """The row of outcomes to come on the first page: waiting, due by now, today, later."""
    part = client.get("/").text.partition('id="outcomes"')[2].partition("</section>")[0]
    return [int(one.replace(",", "")) for one in re.findall(r'<td class="num">([\d,]+)</td>', part)]


def test_outcomes_to_come_are_read_from_the_last_report_and_counted_by_when_they_are_due(shop):
    ws, client, clock = shop
    assert "not counted yet: tinymlops monitor splurge --keep" in words(client.get("/"))
    clock.advance("6h")
    ws.predict("splurge", [{"customer": n % 10, "budget": 10.0} for n in range(7)], sync=True)
    report = ws.monitor("splurge", keep=True)
    waits = client.get("/")
    assert "Outcomes to come" in text_of(waits.text)
    # 60 + 7 predictions, 40 outcomes; the label looks a day ahead, so 20 are due a day after the first and 7 after the second.
    assert report.waiting == 27
    assert report.coming.overdue == 0
    assert report.coming.days == {"2024-02-02": 27}
    assert (report.coming.next_at, report.coming.last_at) == (
        served_shop.NOW + timedelta(days=1),
        served_shop.NOW + timedelta(days=1, hours=6),
    )
    assert waiting_on(client) == [27, 0, 0, 27]
    clock.advance("18h")
    assert waiting_on(client) == [27, 0, 27, 0], "of the report's days, one is today"
    clock.advance("1d")
    assert waiting_on(client) == [27, 27, 0, 0]
    ws.log_outcomes([{"prediction_id": one, "value": True} for one in ids_waiting(ws)[:5]])
    assert waiting_on(client) == [27, 27, 0, 0], "a page counts no predictions"
    ws.monitor("splurge", keep=True)
    assert waiting_on(client) == [22, 22, 0, 0]


def ids_waiting(ws):
    return ws.sql("select id from predictions where id not in (select prediction_id from outcomes)")["id"].to_list()


def test_a_report_that_was_kept_before_they_were_counted_is_read(shop):
    ws, client, _ = shop
    ws.monitor("splurge", keep=True)
    database = database_of(ws)
    (record,) = database.list(KeptMonitorReport)
    content = msgspec.json.decode(record.content)
    del content["coming"]
    with database.write(actor=None) as tx:
        tx.put(msgspec.structs.replace(record, content=msgspec.json.encode(content)))
    assert "not counted yet" in text_of(client.get("/").text)
    assert client.get("/monitor/splurge").status_code == 200
