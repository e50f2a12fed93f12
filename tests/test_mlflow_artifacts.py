"""Artifacts in MLflow's protocol: labels that reach no path, files that stream, and a limit of their own."""

import hashlib
import os

import pytest
from inside import environment_of
from mlflow_calls import FILES, asked

from tinymlops.server.mlflow import artifacts

BYTES = {"content-type": "application/octet-stream"}


@pytest.fixture
def calls(workspace):
    with asked(workspace) as found:
        yield found


def listed(calls, path):
    found = calls.client.get(FILES, params={"path": path})
    assert found.status_code == 200, found.text
    return [(one["path"], one["is_dir"], one.get("file_size")) for one in found.json().get("files", [])]


def unfinished(ws):
    return [one for one in os.listdir(environment_of(ws).tmp) if one.endswith(".part")]


def test_files_of_any_type_are_kept_as_they_are(workspace, calls):
    run = calls.run()
    content = os.urandom(3_000_000)
    for name, kind in (("a.bin", "application/octet-stream"), ("d/e/ü x.txt", "text/plain"), ("i.html", "text/html")):
        assert calls.put(f"runs/{run}/{name}", content, **{"content-type": kind}).json() == {}
        answer = calls.fetch(f"runs/{run}/{name}")
        assert (answer.content, answer.headers["content-type"]) == (content, "application/octet-stream")
        assert (answer.headers["content-disposition"], answer.headers["x-content-type-options"]) == (
            "attachment",
            "nosniff",
        )
    assert {one.name: one.sha256 for one in workspace.runs.artifacts(run)} == dict.fromkeys(
        ["a.bin", "d/e/ü x.txt", "i.html"], hashlib.sha256(content).hexdigest()
    )
    assert listed(calls, f"runs/{run}") == [
        ("a.bin", False, 3_000_000),
        ("d", True, None),
        ("i.html", False, 3_000_000),
    ]
    assert listed(calls, f"runs/{run}/d") == [("e", True, None)]
    assert listed(calls, f"runs/{run}/d/e/") == [("ü x.txt", False, 3_000_000)]
    assert listed(calls, f"runs/{run}/a.bin") == []
    found = calls.get("artifacts/list", run_id=run, path="d/e")
    assert [one["path"] for one in found["files"]] == ["d/e/ü x.txt"]
    assert found["root_uri"] == f"mlflow-artifacts:/runs/{run}"
    assert "files" not in calls.get("artifacts/list", run_id=run, path="a.bin")


def test_an_empty_file_is_a_file_and_a_second_one_takes_its_place(workspace, calls):
    run = calls.run()
    assert calls.put(f"runs/{run}/a", b"").status_code == 200
    assert calls.fetch(f"runs/{run}/a").content == b""
    assert calls.put(f"runs/{run}/a", b"more", **BYTES).status_code == 200
    assert calls.fetch(f"runs/{run}/a").content == b"more"
    assert [(one.name, one.bytes) for one in workspace.runs.artifacts(run)] == [("a", 4)]


@pytest.mark.parametrize("place", ["", "runs", "runs/none/a", "models/m-1/a", "experiments/0/a", "0/x/artifacts/a"])
def test_places_that_this_server_does_not_give_are_refused(calls, place):
    answer = calls.put(place, b"x", **BYTES)
    assert answer.status_code in (400, 404, 405), answer.text
    assert answer.json()["message"]


def test_a_file_that_is_too_large_leaves_nothing(workspace, calls, monkeypatch):
    run = calls.run()
    monkeypatch.setattr(artifacts, "MOST_BYTES", 1_000_000)
    assert calls.put(f"runs/{run}/fits", b"x" * 1_000_000, **BYTES).status_code == 200
    for content in (b"x" * 1_000_001, iter([b"x" * 400_000] * 3)):  # the second one does not say its length
        answer = calls.put(f"runs/{run}/large", content, **BYTES)
        assert (answer.status_code, answer.json()["error_code"]) == (413, "MAX_BLOCK_SIZE_EXCEEDED")
        assert "at most 1000000 bytes" in answer.json()["message"]
    assert [one.name for one in workspace.runs.artifacts(run)] == ["fits"]
    assert unfinished(workspace) == []


def test_a_full_disk_in_the_middle_is_said_and_leaves_nothing(workspace, calls, monkeypatch):
    run = calls.run()

    def write(stream, data):
        error = OSError(28, "No space left on device")
        stream.failure = error
        raise error

    monkeypatch.setattr("tinymlops.stores.publish._HashingStream.write", write)
    answer = calls.put(f"runs/{run}/a", b"x" * 3_000_000, **BYTES)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")
    assert "is full" in answer.json()["message"]
    assert workspace.runs.artifacts(run) == []
    assert unfinished(workspace) == []


def test_files_are_removed_one_by_one_and_below_a_path(workspace, calls):
    run = calls.run()
    for name in ("a", "ab", "a.d/b", "a.d/c/e", "z"):
        calls.put(f"runs/{run}/{name}", name.encode(), **BYTES)
    assert calls.client.delete(f"{FILES}/runs/{run}/a").status_code == 200
    assert [one.name for one in workspace.runs.artifacts(run)] == ["a.d/b", "a.d/c/e", "ab", "z"]
    assert calls.client.delete(f"{FILES}/runs/{run}/a.d").status_code == 200
    assert [one.name for one in workspace.runs.artifacts(run)] == ["ab", "z"]
    assert calls.client.delete(f"{FILES}/runs/{run}/none").status_code == 200
    assert calls.client.delete(f"{FILES}/runs/{run}").status_code == 200
    assert workspace.runs.artifacts(run) == []


def test_a_damaged_file_is_not_sent(workspace, calls):
    run = calls.run()
    calls.put(f"runs/{run}/a", b"precious", **BYTES)
    (found,) = workspace.runs.artifacts(run)
    path = environment_of(workspace).blobs.path(found.sha256)
    path.chmod(0o600)
    path.write_bytes(b"tampered")
    answer = calls.fetch(f"runs/{run}/a")
    assert (answer.status_code, "damaged" in answer.json()["message"]) == (500, True)
