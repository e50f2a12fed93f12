"""The client speaks to a real server with the words of the workspace, and a retry counts once."""

import ast
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import served_shop
from command_line import run
from inside import database_of
from test_server import ROW
from test_server_running import Running

import tinymlops as tm
from tinymlops.client import Client, answers, connection
from tinymlops.client.rows import rows_of
from tinymlops.errors import AccessError, ConflictError, DataError, NotFoundError, UnavailableError
from tinymlops.records import Prediction

CLICK = {"click": 1, "shopper": "a", "at": "2024-01-31T00:00:00Z", "seconds": 1.0}


@pytest.fixture(scope="module")
def path(shop_path, tmp_path_factory):
    return shutil.copytree(shop_path, tmp_path_factory.mktemp("client") / "shop.tm")


@pytest.fixture(scope="module")
def tokens(path):
    with tm.connect(path) as ws:
        return {role: ws.tokens.create(f"the-{role}", role).token for role in ("editor", "reader", "auditor")}


@pytest.fixture(scope="module")
def server(path, tokens):
    running = Running(path)
    yield running
    running.process.kill()
    running.process.communicate(timeout=60)


@pytest.fixture
def client(server, tokens):
    with tm.connect(server.url, token=tokens["editor"]) as made:
        yield made


@pytest.fixture
def ws(path):
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as opened:
        yield opened


def test_features_are_those_of_the_workspace(client, ws):
    found = client.get_online_features(["spending"], [{"customer": 1}, {"customer": 2}], consumer="billing")
    here = ws.get_online_features(["spending"], [{"customer": 1}, {"customer": 2}])
    assert found.to_dict() == here.to_dict()
    assert (found.timestamp, found.sequence) == (here.timestamp, here.sequence)


def test_a_prediction_is_that_of_the_workspace_and_is_logged(client, ws):
    answers = client.predict("splurge@champion", [ROW, {**ROW, "customer": 2}], sync=True)
    here = ws.predict("splurge@champion", [ROW, {**ROW, "customer": 2}])
    assert [one["prediction"] for one in answers] == [one["prediction"] for one in here]
    assert (answers.model, answers.version, len(answers)) == ("splurge", 1, 2)
    kept = [database_of(ws).get(Prediction, id=one["id"]) for one in answers]
    assert [one.output["prediction"] for one in kept] == [one["prediction"] for one in answers]


def test_models_are_listed_and_shown(client):
    (summary,) = (one for one in client.models.list() if one.name == "splurge")  # others share the workspace
    assert client.models.get("splurge").version == summary.aliases["champion"]
    with pytest.raises(NotFoundError):
        client.models.get("splurg")


def test_outcomes_and_pushes_come_in(client, ws):
    answer = client.predict("splurge", [ROW], sync=True)[0]
    assert client.log_outcomes([{"prediction_id": answer["id"], "value": True}]).outcomes == 1
    pushed = client.push("clicks", [{**CLICK, "click": 900}])
    assert (pushed.rows_new, pushed.rows_known) == (1, 0)
    assert client.push("clicks", [{**CLICK, "click": 900}]).rows_known == 1


AT = datetime(2024, 1, 31, tzinfo=UTC)
ROWS = {"click": [7_001, 7_002], "shopper": ["é", None], "at": [AT, AT], "seconds": [1.5, None]}
TABLES = {
    "dicts": lambda: [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)],
    "columns": lambda: ROWS,
    "arrays": lambda: {**ROWS, "click": np.array(ROWS["click"])},
    "polars": lambda: pl.DataFrame(ROWS),
    "pandas": lambda: pd.DataFrame(ROWS),
    "nullable": lambda: pd.DataFrame(ROWS).convert_dtypes(),
    "categorical": lambda: pd.DataFrame(ROWS).astype({"shopper": "category"}),
    "arrow": lambda: pa.table(ROWS),
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_table_says_the_same(kind):
    rows = rows_of(TABLES[kind]())
    at = "2024-01-31T00:00:00+00:00"
    assert rows == [
        {"click": 7_001, "shopper": "é", "at": at, "seconds": 1.5},
        {"click": 7_002, "shopper": None, "at": at, "seconds": None},
    ]
    assert [type(value) for value in rows[0].values()] == [int, str, str, float]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), "nan has no JSON"),
        (float("inf"), "inf has no JSON"),
        (np.float64("-inf"), "-inf has no JSON"),
        (Decimal("1.1"), "a Decimal has no JSON"),
        (b"x", "a bytes has no JSON"),
        (datetime(2024, 1, 1), "has no time zone"),
        ([1.0, float("nan")], "nan has no JSON"),
        (object(), "a object has no JSON"),
    ],
)
def test_a_value_without_json_is_refused_with_its_place(value, message):
    with pytest.raises(DataError, match="row 1, column 'x'") as caught:
        rows_of([{"x": 1}, {"x": value}])
    assert message in str(caught.value)


def test_what_json_says_otherwise_is_sent_as_it_reads():
    row = {"day": date(2024, 1, 1), "list": (1, 2), "struct": {"a": np.int64(3)}, "big": 2**62, "flag": np.bool_(True)}
    assert rows_of([row]) == [{"day": "2024-01-01", "list": [1, 2], "struct": {"a": 3}, "big": 2**62, "flag": True}]


@pytest.mark.parametrize(
    "table", [None, 7, "rows", b"rows", [1], [[1]], {"a": [1], "b": [1, 2]}, {"a": [1], "b": 2}, {1: [2]}]
)
def test_what_is_no_table_is_refused(table):
    with pytest.raises(DataError):
        rows_of(table)


def test_the_errors_are_those_of_the_workspace(client, server, tokens):
    with pytest.raises(NotFoundError, match="there is no feature view 'spendin'") as caught:
        client.get_online_features(["spendin"], [{"customer": 1}])
    assert caught.value.hint == "did you mean 'spending'?"
    with pytest.raises(DataError):
        client.get_online_features(["spending"], [{"shop": 1}])
    with pytest.raises(DataError, match="is not a list"):
        client.get_online_features("spending", [{"customer": 1}])
    with tm.connect(server.url, token=tokens["reader"]) as reader, pytest.raises(AccessError, match="may not use"):
        reader.push("clicks", [CLICK])
    with tm.connect(server.url, token="tm_x") as stranger, pytest.raises(AccessError, match="not known here"):
        stranger.models.list()
    with pytest.raises(ConflictError):
        client.push("clicks", [{**CLICK, "click": 901}], batch_id="one")
        client.push("clicks", [{**CLICK, "click": 902}], batch_id="one")


def test_the_token_comes_from_the_environment_and_is_never_shown(server, tokens, monkeypatch):
    monkeypatch.setenv("TINYMLOPS_TOKEN", tokens["auditor"])
    with tm.connect(server.url) as made:
        assert made.models.list()
        assert made.ready()
        assert tokens["auditor"] not in repr(made) + str(vars(made)["models"])


@pytest.mark.parametrize(
    "url",
    ["http://", "https://user:secret@host", "http://host?token=x", "http://host#x", "http://ho st", "http://[::1"],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(DataError) as caught:
        tm.connect(url)
    assert "secret" not in str(caught.value)


def test_a_directory_takes_no_token_and_a_server_no_directory(tmp_path):
    with pytest.raises(DataError, match="needs no token"):
        tm.connect(tmp_path / "shop.tm", token="tm_x", create=True)
    with pytest.raises(DataError, match="is a server"):
        tm.connect("http://localhost:8000", create=True)


def test_a_token_over_an_open_network_is_warned_of():
    with pytest.warns(UserWarning, match="not encrypted"):
        Client("http://ml.example.com", token="tm_x").close()
    Client("https://ml.example.com", token="tm_x").close()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(connection, "_FIRST_PAUSE", 0.01)


class Between:
    """A proxy that breaks some answers after the server has done the work."""

    def __init__(self, target, broken):
        self.asked = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {"content-type": "application/json", "authorization": self.headers["authorization"]}
                answer = httpx.post(target + self.path, content=body, headers=headers)
                outer.asked[self.path] += 1
                if outer.asked[self.path] <= broken:
                    self.close_connection = True
                    return  # no answer
                self.send_response(answer.status_code)
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def test_a_request_whose_answer_is_lost_counts_once(server, tokens, ws, quick):
    before = database_of(ws).count(Prediction)
    with Between(server.url, broken=2) as between, Client(between.url, token=tokens["editor"]) as client:
        answer = client.predict("splurge", [ROW, ROW], sync=True)
        assert database_of(ws).count(Prediction) - before == 2
        assert all(database_of(ws).get(Prediction, id=one["id"]) for one in answer)
        pushed = client.push("clicks", [{**CLICK, "click": 950}])
        assert pushed.rows_known + pushed.rows_new == 1
        assert sorted(between.asked.values()) == [3, 3]
    rows = ws.sql("SELECT count(*) AS n FROM clicks WHERE click = 950")
    assert rows["n"].to_list() == [1]


def test_a_server_that_is_not_there_is_named(quick):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with Client(url) as client:
        with pytest.raises(UnavailableError, match=f"no answer from {url}/ after 5 tries"):
            client.models.list()
        assert not client.ready()


def answering(status, headers=(), body=b"{}"):
    class Handler(BaseHTTPRequestHandler):
        turns = 0

        def do_GET(self):
            type(self).turns += 1
            self.send_response(status if self.turns < 3 else 200)
            for name, value in headers:
                self.send_header(name, value)
            content = body if self.turns < 3 else b'{"models": []}'
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_says_when_to_come_back_is_asked_again(status, quick):
    server, url = answering(status, [("retry-after", "0")])
    with Client(url) as client:
        assert client.models.list() == []
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (
            503,
            b'{"error": "the code is not what was applied", "hint": "", "type": "DefinitionError"}',
            UnavailableError,
        ),
        (500, b"<html>oops</html>", tm.TinyMLOpsError),
        (200, b"<html>a page of somebody else</html>", UnavailableError),
        (418, b'{"error": "tea", "hint": "", "type": "SystemExit"}', tm.TinyMLOpsError),
        (302, b"", tm.TinyMLOpsError),
    ],
)
def test_other_answers_are_errors_of_ours(status, body, kind, quick):
    server, url = answering(status, [("location", "http://evil.example/")], body)
    with Client(url) as client, pytest.raises(kind):
        client.models.list()
    server.shutdown()
    server.server_close()


def test_the_fields_are_those_of_the_openapi_document(server, tokens):
    document = httpx.get(f"{server.url}/schema", headers={"authorization": f"Bearer {tokens['reader']}"}).json()
    schemas = document["components"]["schemas"]
    pairs = {
        "Features": "FeaturesAnswer",
        "Answer": "PredictAnswer",
        "Pushed": "Pushed",
        "Outcomes": "OutcomeReport",
        "Model": "ModelAnswer",
        "ModelSummary": "ModelSummary",
        "Version": "VersionSummary",
        "ListedModels": "ModelsAnswer",
        "Job": "ListedJob",
        "ListedJobs": "JobsAnswer",
        "JobRun": "JobRun",
        "JobAttempt": "JobAttempt",
        "JobState": "JobState",
        "JobLog": "LogsAnswer",
        "HistoryOfJobs": "HistoryAnswer",
    }
    for name, schema in pairs.items():
        fields = set(getattr(answers, name).__struct_fields__)
        assert fields <= set(schemas[schema]["properties"]), name


def test_the_one_file_works_without_the_package(server, tokens, tmp_path):
    """Run with no site-packages but a folder that has httpx, msgspec and what those need, by name."""
    written = run("client", "write", tmp_path / "tinymlops_client.py")
    assert written.exit_code == 0, written.output
    tree = ast.parse((tmp_path / "tinymlops_client.py").read_text())
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("tinymlops")]
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "msgspec", "sniffio", "typing_extensions"):
        for found in (Path(httpx.__file__).parents[1] / name, Path(httpx.__file__).parents[1] / f"{name}.py"):
            if found.exists():
                (packages / found.name).symlink_to(found)
    script = f"""
import sys
from tinymlops_client import Client, DataError
with Client({server.url!r}, token={tokens["editor"]!r}) as client:
    print(client.predict("splurge", {ROW!r})[0]["prediction"], "splurge" in [one.name for one in client.models.list()])
    try:
        client.predict("splurge", [{{}}])
    except DataError as error:
        print("DataError")
print([name for name in sys.modules if name.split(".")[0] == "tinymlops"])
"""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{packages}:{tmp_path}"}
    result = subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["True True", "DataError", "[]"]


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path):
    target = tmp_path / "tinymlops_client.py"
    target.write_text("mine")
    assert run("client", "write", target).exit_code == 5
    assert target.read_text() == "mine"
    assert run("client", "write", target, "--replace").exit_code == 0
