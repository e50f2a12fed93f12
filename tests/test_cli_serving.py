"""The model side of the command line: predictions, their outcomes, the server."""

import json
import os
import re
import signal
import subprocess
import urllib.request

import polars as pl
import pytest
from command_line import PROGRAM, ask, launch, refused, registered_shop, succeed, write_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return registered_shop(tmp_path_factory.mktemp("serving") / "shop")


@pytest.fixture(autouse=True)
def in_shop(shop, monkeypatch):
    monkeypatch.chdir(shop)
    return shop


def test_rows_are_json_or_pairs_and_give_the_same_answer():
    by_pairs = ask("predict", "buy@champion", "customer_id=1")["predictions"]
    by_json = ask("predict", "buy@champion", '{"customer_id": 1}', '[{"customer_id": 2}]')["predictions"]
    assert len(by_json) == 2
    assert by_json[0]["probability"] == by_pairs[0]["probability"]
    assert by_json[0]["id"] != by_pairs[0]["id"]


def test_an_answer_is_durable_when_the_command_returns_and_takes_an_outcome(tmp_path):
    (answer,) = ask("predict", "buy", "customer_id=1")["predictions"]
    (tmp_path / "outcomes.csv").write_text(f"prediction_id,value\n{answer['id']},true\n")
    found = ask("outcomes", "log", tmp_path / "outcomes.csv")
    assert (found["outcomes"], found["unknown"], found["replaced"]) == (1, 0, 0)
    again = succeed("outcomes", "log", tmp_path / "outcomes.csv")
    assert again == "1 outcomes, 1 replaced an earlier one\n"


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_batch_is_read_from_any_kind_of_file_and_written_as_parquet(tmp_path, name):
    rows = pl.DataFrame({"customer_id": [1, 2, 1]})
    source = tmp_path / name
    {
        "json": lambda: source.write_text(json.dumps(rows.to_dicts())),
        "jsonl": lambda: rows.write_ndjson(source),
        "csv": lambda: rows.write_csv(source),
        "parquet": lambda: rows.write_parquet(source),
    }[name.partition(".")[2]]()
    report = ask("predict", "buy@champion", "--input", source, "--output", tmp_path / "out.parquet")
    assert report["rows"] == 3
    written = pl.read_parquet(tmp_path / "out.parquet")
    assert written["customer_id"].to_list() == [1, 2, 1]
    assert written["probability"].null_count() == 0


def test_a_batch_over_past_times_has_the_features_of_those_times(tmp_path):
    (tmp_path / "rows.json").write_text('[{"customer_id": 1, "at": "2024-01-05T12:00:00Z"}]')
    arguments = ("--input", tmp_path / "rows.json", "--output", tmp_path / "out.parquet", "--timestamp", "at")
    assert "1 predictions of buy:1" in succeed("predict", "buy@champion", *arguments)


def test_history_is_written_to_a_file(tmp_path):
    (tmp_path / "spine.csv").write_text("customer_id,at\n1,2024-01-05T12:00:00\n3,2024-01-02T00:00:00\n")
    arguments = ("--input", tmp_path / "spine.csv", "--timestamp", "at", "--tz", "UTC")
    shown = ask("features", "historical", "spending", *arguments)["rows"]
    assert [row["last_amount"] for row in shown] == [4.5, None]
    written = ask("features", "historical", "spending", *arguments, "--output", tmp_path / "out.parquet")
    assert written == {"rows": 2, "output": str(tmp_path / "out.parquet")}
    assert pl.read_parquet(tmp_path / "out.parquet")["last_amount"].to_list() == [4.5, None]
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []
    gone = tmp_path / "gone" / "out.parquet"
    assert "cannot be written" in refused(6, "features", "historical", "spending", *arguments, "--output", gone)


def test_pushed_rows_come_from_a_file_and_are_features_at_once(tmp_path):
    (tmp_path / "clicks.jsonl").write_text(
        '{"click_id": "a", "customer_id": 5, "at": "2024-02-01T00:00:00Z", "seconds": 2.5}\n\n'
        '{"click_id": "b", "customer_id": 5, "at": "2024-02-01T00:00:01Z", "seconds": 4}\n'
    )
    pushed = ask("push", "clicks", "--input", tmp_path / "clicks.jsonl")
    assert pushed["rows_new"] == 2
    assert ask("push", "clicks", "--input", tmp_path / "clicks.jsonl")["rows_known"] == 2


def test_text_of_a_csv_file_stays_text_whatever_it_looks_like(tmp_path):
    (tmp_path / "clicks.csv").write_text(
        "click_id,customer_id,at,seconds\n007,5,2024-02-01T00:00:00Z,2\n1e5,5,2024-02-01T00:00:01Z,\n"
    )
    assert ask("push", "clicks", "--input", tmp_path / "clicks.csv")["rows_new"] == 2
    found = ask("sql", "select click_id from clicks where click_id in ('007', '1e5') order by 1")
    assert found["rows"] == [{"click_id": "007"}, {"click_id": "1e5"}]


def test_a_batch_without_ids_is_pushed_again_under_the_name_it_was_given(tmp_path, monkeypatch):
    project = write_shop(tmp_path / "shop")
    features = project / "features.py"
    features.write_text(features.read_text().replace('timestamp="at", id="click_id"', 'timestamp="at"'))
    monkeypatch.chdir(project)
    succeed("init")
    succeed("apply")
    push = ("push", "clicks", "click_id=a", "customer_id=5", "at=2024-02-01T00:00:00Z", "seconds=2.5")
    pushed = ask(*push)
    assert pushed["rows_new"] == 1
    assert ask(*push, "--batch-id", pushed["batch_id"])["rows_known"] == 1
    assert "batch_id" in succeed(*push)


def test_details_say_why_a_cell_is_empty():
    (row,) = ask("features", "online", "spending", "customer_id=77", "--details")["rows"]
    assert row["last_amount"] is None
    assert row["last_amount_status"] == "NOT_FOUND"


def test_a_report_for_people_names_the_model():
    succeed("predict", "buy", "customer_id=1")
    assert "buy" in succeed("monitor", "buy@champion")
    assert "2999" in refused(6, "monitor", "buy@champion", "--since", "2999")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "example.com"])
def test_any_other_address_than_loopback_is_a_usage_error_that_names_the_flag(host):
    result = launch("serve", "--host", host, "--port", "0")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: --host {host}")
    assert "hint: " in result.stderr
    assert "Traceback" not in result.stderr


def test_the_server_answers_until_it_is_told_to_stop(shop):
    process = subprocess.Popen(
        [str(PROGRAM), "serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        first = process.stderr.readline()
        address = re.search(r"http://\S+", first)
        assert address, first + process.stderr.read()
        with urllib.request.urlopen(f"{address[0]}/healthz", timeout=30) as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert process.returncode == 0, err
    assert json.loads(out)["stopped"]


def test_a_port_that_is_taken_is_a_conflict():
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert "is taken" in refused(5, "serve", "--port", listener.getsockname()[1])
