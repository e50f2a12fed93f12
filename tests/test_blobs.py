"""Files by hash: published durably, verified on read."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fuzzing import examples
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from tinymlops import errors
from tinymlops.errors import DataError, IntegrityError, NotFoundError, TinyMLOpsError
from tinymlops.stores import publish as publish_module
from tinymlops.stores.blobs import Blobs
from tinymlops.stores.publish import publish, remove_stale, scratch_directory

PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
DIES_WRITING = """
import os, sys
from pathlib import Path
from tinymlops.stores.publish import publish
def write(stream):
    stream.write(b"half")
    os.kill(os.getpid(), 9)
root = Path(sys.argv[1])
publish(write, lambda sha256: root / "blobs" / sha256, root / "tmp")
"""


@pytest.fixture
def blobs(tmp_path):
    for name in ("blobs", "tmp"):
        (tmp_path / name).mkdir()
    return Blobs(tmp_path / "blobs", tmp_path / "tmp")


def flip_a_byte(path, position=0):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@examples(20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary())
def test_bytes_come_back_under_their_hash(blobs, data):
    sha256 = blobs.put(data)
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert blobs.read(sha256) == blobs.path(sha256).read_bytes() == data
    assert blobs.exists(sha256)
    assert blobs.bytes_of(sha256) == len(data)


def test_a_file_is_copied_and_nothing_is_left_in_tmp(blobs, tmp_path):
    source = tmp_path / "model.bin"
    source.write_bytes(os.urandom(3_000_000))
    sha256 = blobs.put_file(source)
    assert blobs.path(sha256) == tmp_path / "blobs" / sha256[:2] / sha256
    assert blobs.read(sha256) == source.read_bytes()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_only_regular_files_enter(blobs, tmp_path):
    with pytest.raises(DataError, match="not a regular file"):
        blobs.put_file(tmp_path)
    with pytest.raises(NotFoundError, match=r"no file .*nothing"):
        blobs.put_file(tmp_path / "nothing")


def test_what_is_there_is_not_written_again(blobs):
    path = blobs.path(blobs.put(b"same"))
    inode = path.stat().st_ino
    blobs.put(b"same")
    assert path.stat().st_ino == inode


def test_a_damaged_file_is_replaced_by_the_next_put(blobs):
    sha256 = blobs.put(b"content")
    flip_a_byte(blobs.path(sha256))
    blobs.put(b"content")
    assert blobs.read(sha256) == b"content"


def test_a_flipped_byte_is_detected_and_the_file_named(blobs):
    sha256 = blobs.put(b"content" * 1000)
    path = blobs.path(sha256)
    flip_a_byte(path, 3500)
    os.utime(path, ns=(0, 0))
    with pytest.raises(IntegrityError, match=f"{sha256} is damaged"):
        blobs.read(sha256)
    with pytest.raises(IntegrityError, match=f"{sha256} is damaged"):
        blobs.path(sha256)


def test_a_missing_file_is_named(blobs):
    sha256 = "0" * 64
    assert not blobs.exists(sha256)
    for ask in (blobs.read, blobs.path, blobs.bytes_of):
        with pytest.raises(IntegrityError, match=f"{sha256} is missing"):
            ask(sha256)


@pytest.mark.parametrize("name", ["../meta.db", "A" * 64, "", "0" * 63, "0" * 64 + "\n"])
def test_a_name_that_is_no_hash_is_refused(blobs, name):
    with pytest.raises(DataError, match="is not a SHA-256"):
        blobs.read(name)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_file_is_synced_before_it_is_renamed_and_its_directory_after(blobs, monkeypatch):
    log = []
    fsync, rename = publish_module.fsync, Path.rename

    def logged_fsync(descriptor):
        log.append(("fsync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def logged_rename(path, target):
        log.append(("rename", str(path)))
        return rename(path, target)

    monkeypatch.setattr(publish_module, "fsync", logged_fsync)
    monkeypatch.setattr(Path, "rename", logged_rename)
    path = blobs.path(blobs.put(b"x"))
    part = log[0][1]
    assert part.endswith(".part")
    assert log == [
        ("fsync", part),
        ("fsync", str(path.parent.parent)),
        ("rename", part),
        ("fsync", str(path.parent)),
    ]


def test_a_full_disk_is_a_clear_error_and_leaves_nothing(blobs, tmp_path):
    def write(stream):
        stream.write(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TinyMLOpsError, match="is full; nothing was stored"):
        publish(write, lambda sha256: tmp_path / "blobs" / sha256, tmp_path / "tmp")
    assert list((tmp_path / "tmp").iterdir()) == []
    assert list((tmp_path / "blobs").iterdir()) == []


def test_a_process_killed_while_writing_leaves_only_what_the_next_open_removes(blobs, tmp_path):
    assert subprocess.run([sys.executable, "-c", DIES_WRITING, str(tmp_path)], env=PYTHONPATH).returncode == -9
    (left,) = (tmp_path / "tmp").iterdir()
    assert list((tmp_path / "blobs").iterdir()) == []
    assert remove_stale(tmp_path / "tmp") == 0, "it may have been made this very moment"
    os.utime(left, (time.time() - 3600,) * 2)
    assert remove_stale(tmp_path / "tmp") == 1


def test_what_a_live_process_writes_is_not_removed(blobs, tmp_path):
    with scratch_directory(tmp_path / "tmp") as directory, (tmp_path / "tmp" / "x.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for path in (directory, tmp_path / "tmp" / "x.part"):
            os.utime(path, (0, 0))
        assert remove_stale(tmp_path / "tmp") == 0
        assert directory.is_dir()
    assert not directory.exists()
    os.utime(tmp_path / "tmp" / "x.part", (0, 0))
    assert remove_stale(tmp_path / "tmp") == 1


def test_a_file_that_comes_piece_by_piece_is_the_same_file(blobs, tmp_path):
    with blobs.begin() as file:
        for piece in (b"half ", b"", b"and half"):
            file.write(piece)
        published = blobs.publish(file)
    assert published.sha256 == blobs.put(b"half and half")
    assert published.bytes == len(b"half and half")
    with blobs.open(published.sha256) as stream:
        assert stream.read() == b"half and half"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_file_that_is_not_published_is_gone(blobs, tmp_path):
    with pytest.raises(ZeroDivisionError), blobs.begin() as file:
        file.write(b"half")
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        1 / 0  # noqa: B018
    assert list((tmp_path / "tmp").iterdir()) == []
