"""Something else in place of a regular file: it is neither trusted nor waited for, and the error names it."""

import os

import polars as pl
import pytest
from command_line import ask, put_instead, run, succeed
from conftest import at, shop
from inside import environment_of

import tinymlops as tm
from tinymlops.errors import IntegrityError, TinyMLOpsError
from tinymlops.features.history import reading_notes
from tinymlops.stores import images
from tinymlops.stores.blobs import Blobs
from tinymlops.stores.publish import unreadable, unwritable

KINDS = ("pipe", "directory", "link", "dangling link", "socket")


@pytest.fixture
def filled(tmp_path, monkeypatch):
    """A closed workspace with a segment, a blob, a join image, and an online view."""
    monkeypatch.chdir(tmp_path)  # the path of a socket has a limit
    monkeypatch.setattr(reading_notes, "MANY_ROWS", 0)
    (tmp_path / "tinymlops.toml").write_text('workspace = "shop.tm"\n')
    rows = pl.DataFrame({"customer": ["a"] * 3, "at": [at(i) for i in range(3)], "amount": [1.0] * 3})
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        ws.apply(shop(rows))
        ws.ingest("orders")
        ws.materialize()
        with ws.start_run("r") as done:
            done.log_artifact("notes.txt", b"some notes")
        spent(ws)
    return tmp_path / "shop.tm"


def spent(ws):
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(20)]})
    return ws.get_historical_features(spine, ["spending"])["spent_1d"].to_list()


def the_file(root, part):
    return next(path for path in sorted((root / part).rglob("*")) if path.is_file())


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("part", ["segments", "blobs"])
def test_a_read_and_doctor_name_what_stands_in_place_of_a_file(filled, tmp_path, what, part):
    path = the_file(filled, part)
    put_instead(path, what, path.rename(tmp_path / "kept"))
    result = run("doctor", "--project", tmp_path, "--json")
    assert result.exit_code == 8
    assert str(path) in result.stdout
    assert "orphans" in result.stdout  # it went on to the end
    with tm.connect(filled) as ws:
        with pytest.raises(IntegrityError, match=f"{path} is (damaged: it is not a regular file|missing)"):
            ws.runs.read_artifact(ws.runs.get("r").id, "notes.txt") if part == "blobs" else ws.compact()
            environment_of(ws).blobs.path(path.name) if part == "blobs" else list(ws.sql("select * from orders"))
            prepared_anew(ws)
        with pytest.raises(IntegrityError):
            ws.backup(tmp_path / "copy")
        assert ws.gc(grace="1us") is not None


def prepared_anew(ws):
    for image in images.listed(environment_of(ws).path / "images"):
        images._remove(image)
    spent(ws)


@pytest.mark.parametrize("what", KINDS)
def test_storing_the_same_content_again_puts_the_file_back(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    for name in ("blobs", "tmp"):
        (tmp_path / name).mkdir()
    blobs = Blobs(tmp_path / "blobs", tmp_path / "tmp")
    path = blobs.path(blobs.put(b"content"))
    put_instead(path, what, path.rename(tmp_path / "kept"))
    if what == "directory":
        with pytest.raises(IntegrityError, match="cannot be written: Is a directory"):
            blobs.put(b"content")
        return
    assert blobs.read(blobs.put(b"content")) == b"content"


@pytest.mark.parametrize("what", KINDS)
@pytest.mark.parametrize("level", ["table", "manifest", "image"])
def test_an_image_is_found_by_doctor_and_made_anew(filled, tmp_path, what, level):
    (image,) = images.listed(filled / "images")
    path = {"table": next(iter(image.glob("*.arrow"))), "manifest": image / "manifest", "image": image}[level]
    put_instead(path, what, path.rename(tmp_path / "kept"))
    found = {one["check"]: one for one in ask_damaged(tmp_path)}
    if (level, what) != ("image", "dangling link") and not (level == "image" and what in ("directory", "link")):
        assert found["join images"]["level"] == "damaged"
    with tm.connect(filled) as ws:
        assert spent(ws) == spent(ws) == [3.0]
    assert {one["check"]: one["level"] for one in ask("doctor", "--project", tmp_path)["findings"]}[
        "join images"
    ] == "ok"


def ask_damaged(project):
    import json

    result = run("doctor", "--project", project, "--json")
    assert result.exit_code in (0, 8), result.output
    return json.loads(result.stdout)["findings"]


@pytest.mark.parametrize("what", ["pipe", "link", "socket"])
@pytest.mark.parametrize("name", ["meta.db.last", "online/state", "online/views.json"])
def test_a_small_file_beside_a_store_is_not_waited_for(filled, tmp_path, what, name):
    path = filled / name
    path.exists() and path.rename(tmp_path / "kept")
    put_instead(path, what, tmp_path / "kept")
    try:
        with tm.connect(filled) as ws:
            assert spent(ws) == [3.0]
    except TinyMLOpsError as error:
        assert name in str(error)
    path.unlink()
    succeed("doctor", "--project", tmp_path)


@pytest.mark.parametrize("wrong", [unreadable, unwritable])
@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        ("ENOMEM", "no memory left", "ulimit -v"),
        ("EMFILE", "too many files", "ulimit -n"),
        ("EIO", "Input/output error", "check the disk"),
        ("EACCES", "by this user", "make it"),
        ("EISDIR", "Is a directory", "check the disk"),
    ],
)
def test_an_error_of_the_system_says_what_ran_out(tmp_path, wrong, code, said, hint):
    import errno

    number = getattr(errno, code)
    error = wrong(tmp_path / "file", OSError(number, os.strerror(number)))
    assert isinstance(error, TinyMLOpsError)
    assert said in error.message
    assert "full" not in error.message
    assert hint in error.hint


def test_a_full_disk_is_still_a_full_disk(tmp_path):
    import errno

    assert "is full" in unwritable(tmp_path, OSError(errno.ENOSPC, "No space left on device")).message
