"""Asking a model by hand: an answer that is logged as every other, and an outcome that somebody says."""

import re

import houses
import pytest
import served_shop
from inside import database_of
from litestar.testing import TestClient
from test_pages_runs import text_of
from test_pages_sign_in import mark_of, sign_in
from test_server import LOCAL

import tinymlops as tm
from tinymlops.records import Outcome, Prediction, RequestField
from tinymlops.server.pages.trying import read_field


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "shop.tm"
    served_shop.build(path)
    with (
        tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws,
        TestClient(tm.create_app(ws), base_url=LOCAL) as client,
    ):
        client.follow_redirects = False
        yield ws, client


def send(client, path, **fields):
    mark = mark_of(client.get("/try/splurge"))
    return client.post(path, data={"csrf": mark, **fields}, headers={"origin": LOCAL})


def test_a_model_answers_a_form_with_the_features_that_it_used(shop):
    ws, client = shop
    page = client.get("/try/splurge:2").text
    assert 'name="field.customer"' in page
    answer = send(client, "/try/splurge:2", **{"field.customer": "3", "field.budget": "20"})
    (record,) = database_of(ws).list(Prediction)
    assert (answer.status_code, record.version, record.request) == (200, 2, {"customer": 3, "budget": 20.0})
    text = text_of(answer.text)
    for name in ("last_amount", "spending:spent_7d", record.id):
        assert name in text
    assert 'value="20"' in answer.text


@pytest.mark.parametrize(("was", "turns"), [("right", False), ("wrong", True)])
def test_a_thumb_is_the_outcome_of_the_prediction(shop, was, turns):
    ws, client = shop
    send(client, "/try/splurge", **{"field.customer": "3", "field.budget": "20"})
    (record,) = database_of(ws).list(Prediction)
    answer = send(client, "/try/splurge/outcome", prediction=record.id, was=was)
    assert answer.headers["location"] == f"/predictions/{record.id}"
    (outcome,) = database_of(ws).list(Outcome)
    assert bool(outcome.value) == (record.output["prediction"] != turns)
    assert send(client, "/try/splurge/outcome", prediction="none", was=was).status_code == 422
    assert send(client, "/try/splurge/outcome", prediction=record.id, was="other", actual="<b>").status_code == 422


def test_a_number_is_said_in_a_form_of_its_own_and_what_is_not_said_changes_nothing(shop):
    ws, client = shop
    houses.register(ws)
    page = send(client, "/try/price", **{"field.house": "3"}).text
    forms = [one for one in re.findall(r"<form.*?</form>", page, flags=re.DOTALL) if "/outcome" in one]
    assert [("It was right" in one, "actual" in one) for one in forms] == [(True, False), (False, True)]
    assert re.search(r'<input id="actual"[^>]* required>', forms[1])
    (record,) = database_of(ws).list(Prediction)

    def say(**fields):
        return send(client, "/try/price/outcome", prediction=record.id, **fields).status_code

    assert say(was="other", actual="42") == 303
    for fields in ({"was": "other", "actual": " "}, {"was": "right", "actual": "43"}, {"actual": "43"}, {"was": "wrong"},
                   {"was": "wrong", "actual": "43"}, {"was": "other", "actual": "nan"}, {"was": "?"}):  # fmt: skip
        assert say(**fields) == 422, fields
    (outcome,) = database_of(ws).list(Outcome)
    assert outcome.value == 42.0
    assert say(was="right") == 303


def test_what_cannot_be_answered_is_said_and_kept_in_the_form(shop):
    ws, client = shop
    answer = send(client, "/try/splurge", **{"field.customer": "<script>alert(1)</script>", "field.budget": "1"})
    assert answer.status_code == 422
    assert "not a number" in text_of(answer.text)
    assert "<script>alert" not in answer.text
    assert re.search(r'value="&lt;script&gt;', answer.text)
    assert send(client, "/try/splurge", **{"field.customer": "9" * 30}).status_code == 422
    assert database_of(ws).count(Prediction) == 0
    assert client.get("/try/none").status_code == 404


def test_who_may_not_predict_is_not_asked_to(shop):
    ws, client = shop
    tokens = {role: ws.tokens.create(role, role).token for role in ("reader", "predictor", "editor")}
    for role, token in tokens.items():
        client.cookies.clear()
        sign_in(client, token)
        assert client.get("/try/splurge").status_code == (403 if role == "reader" else 200)
        assert ("Try it" in client.get("/models/splurge/1").text) == (role != "reader")
        if role == "predictor":
            page = send(client, "/try/splurge", **{"field.customer": "3", "field.budget": "1"})
            assert page.status_code == 200
            assert "It was right" not in page.text
            assert send(client, "/try/splurge/outcome", prediction="x", was="right").status_code == 403


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        ("Int64", " 3 ", 3),
        ("Float64", "1e-3", 0.001),
        ("Boolean", "Yes", True),
        ("Boolean", "0", False),
        ("String", " a ", " a "),
        ("Int64", " ", None),
    ],
)
def test_what_is_typed_is_of_the_type_of_its_field(dtype, text, value):
    assert read_field(RequestField("x", dtype, "request"), text) == value


@pytest.mark.parametrize(("dtype", "text"), [("Int64", "3.5"), ("Float64", "x"), ("Boolean", "maybe")])
def test_what_is_of_another_type_is_refused(dtype, text):
    with pytest.raises(tm.DataError):
        read_field(RequestField("x", dtype, "request"), text)
