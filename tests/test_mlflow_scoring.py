"""MLflow's scoring protocol, answered by a model of the workspace."""

import pytest
from inside import log_of
from mlflow_calls import JSON, asked

ROWS = [{"customer": 1, "budget": 30.0}, {"customer": 2, "budget": 5.0}]
SPLIT = {"columns": ["customer", "budget"], "index": [0, 1], "data": [[1, 30.0], [2, 5.0]]}


@pytest.fixture
def calls(served):
    with asked(served) as found:
        yield found


def invoke(calls, body, path="/invocations"):
    return calls.client.post(path, json=body)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": {"data": SPLIT["data"]}},
        {"dataframe_records": ROWS},
        {"instances": ROWS},
        {"instances": [[1, 30.0], [2, 5.0]]},
        {"inputs": {"customer": [1, 2], "budget": [30.0, 5.0]}},
        {"inputs": ROWS},
    ],
    ids=lambda body: next(iter(body)),
)
def test_each_form_of_rows_gets_the_same_answer(served, calls, body):
    expected = [one["prediction"] for one in served.predict("splurge@champion", ROWS).to_rows()]
    for path in ("/invocations", "/invocations?model=splurge@champion", "/v1/models/splurge/invocations"):
        answer = invoke(calls, body, path)
        assert (answer.status_code, answer.json()) == (200, {"predictions": expected}), answer.text


def test_answers_are_logged_as_every_prediction_is(served, calls):
    before = len(served.sql("select id from predictions"))
    assert invoke(calls, {"dataframe_records": ROWS}).status_code == 200
    log_of(served).flush()
    assert len(served.sql("select id from predictions")) == before + 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "0 of the forms"),
        ({"instances": ROWS, "inputs": ROWS}, "2 of the forms"),
        ({"dataframe_records": ROWS, "params": {"a": 1}}, "no params"),
        ({"instances": [[1, 2, 3, 4, 5, 6]]}, "values for"),
        ({"dataframe_split": {"columns": ["customer"], "data": [[1, 2]]}}, "2 values for 1 columns"),
        ({"inputs": {"customer": [1], "budget": [1.0, 2.0]}}, "differ in length"),
        ({"dataframe": ROWS}, "unknown field"),
        ({"dataframe_records": [{"customer": 1}]}, "budget"),
    ],
)
def test_rows_that_cannot_be_are_named(calls, body, said):
    answer = invoke(calls, body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text
    assert said in answer.json()["message"]


def test_no_rows_get_no_predictions_and_unknown_models_are_named(calls):
    assert invoke(calls, {"dataframe_records": []}).json() == {"predictions": []}
    answer = invoke(calls, {"dataframe_records": ROWS}, "/v1/models/splurg/invocations")
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "did you mean 'splurge'?" in answer.json()["message"]
    assert (
        calls.client.post("/invocations", content=b"a,b\n1,2", headers={"content-type": "text/csv"}).status_code == 415
    )


def test_without_a_model_there_is_nothing_to_ask(workspace):
    with asked(workspace) as calls:
        answer = invoke(calls, {"instances": ROWS})
        assert (answer.status_code, "there are 0 models" in answer.json()["message"]) == (404, True)
        assert calls.client.get("/ping").text == "\n"


def test_a_token_that_may_not_predict_is_refused_and_ping_needs_none(served):
    reader = served.tokens.create("scoring-reader", "reader").token
    predictor = served.tokens.create("scoring-predictor", "predictor").token
    with asked(served) as calls:
        content = b'{"dataframe_records": [{"customer": 1, "budget": 30.0}]}'
        for token, status in ((reader, 403), (predictor, 200), (None, 401)):
            headers = JSON | ({} if token is None else {"authorization": f"Bearer {token}"})
            assert calls.client.post("/invocations", content=content, headers=headers).status_code == status
        assert calls.client.get("/ping").status_code == 200
