"""Directories of a run: regular files alone, each as it was at one time."""

import os
import socket
import stat
import subprocess
import threading

import pytest

from tinymlops.errors import AccessError, ConflictError, DataError, NotFoundError
from tinymlops.stores.blobs import Blobs
from tinymlops.stores.copies import copy_unchanged, open_source
from tinymlops.training.contents.directories import directory_files


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "model"
    (root / "b" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    for name in ("z.txt", "b/two", "b/deep/größe 🙂.bin", ".hidden"):
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def blobs(tmp_path):
    for name in ("blobs", "tmp"):
        (tmp_path / name).mkdir()
    return Blobs(tmp_path / "blobs", tmp_path / "tmp")


def test_every_file_below_has_the_way_to_it_as_its_name(tree):
    files = directory_files("best", tree)
    assert [file.name for file in files] == ["best/.hidden", "best/b/deep/größe 🙂.bin", "best/b/two", "best/z.txt"]
    assert directory_files("", tree)[0].name == ".hidden"
    assert directory_files("best/", tree)[0].name == "best/.hidden"
    assert all(file.path.read_bytes().decode() == file.name.removeprefix("best/") for file in files)


def test_a_tree_deeper_than_the_stack_is_walked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    with open("leaf", "w"):
        pass
    os.chdir(tmp_path)
    try:
        files = directory_files("", tmp_path)
    except DataError as error:  # the path is longer than the system takes
        assert "too long" in str(error)
    else:
        assert files[0].name.endswith("/leaf")
    finally:
        subprocess.run(["rm", "-rf", "d"], cwd=tmp_path, check=True)  # Python would need a deeper stack


@pytest.mark.parametrize("kind", ["pipe", "link", "link to a directory", "dangling link", "socket"])
def test_what_is_no_file_is_named(tree, monkeypatch, kind):
    path = tree / "b" / "odd"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tree / "b")
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("odd")
    else:
        path.symlink_to({"link": tree / "z.txt", "link to a directory": tree / "empty"}.get(kind, "nowhere"))
    with pytest.raises(DataError, match=rf"b/odd is a (symbolic )?{kind.split()[-1] if kind[0] in 'ps' else 'link'}"):
        directory_files("model", tree)


def test_a_directory_that_is_not_there_or_is_empty_is_refused(tree):
    for path in (tree / "none", tree / "z.txt"):
        with pytest.raises(NotFoundError, match="there is no directory"):
            directory_files("model", path)
    with pytest.raises(DataError, match="holds no files"):
        directory_files("model", tree / "empty")


def test_a_name_that_is_not_text_is_refused(tree):
    with open(os.fsencode(tree) + b"/\xff", "w"):
        pass
    with pytest.raises(DataError, match="is not text in UTF-8"):
        directory_files("model", tree)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_this_user_may_not_read_is_named(tree, blobs):
    (tree / "z.txt").chmod(0)
    with pytest.raises(AccessError, match=r"z\.txt cannot be read"):
        blobs.put_file(tree / "z.txt")
    (tree / "b").chmod(0)
    with pytest.raises(AccessError, match="b cannot be read"):
        directory_files("model", tree)
    (tree / "b").chmod(stat.S_IRWXU)


def test_files_are_stored_several_at_a_time_in_their_order(tree, blobs):
    steps = []
    paths = [file.path for file in directory_files("", tree)] * 20
    stored = blobs.put_files(paths, steps.append)
    assert [blobs.read(one.sha256) for one in stored] == [path.read_bytes() for path in paths]
    assert [one.bytes for one in stored] == [path.stat().st_size for path in paths]
    assert sum(steps) == len(paths)
    assert blobs.put_files([], steps.append) == []


def test_files_are_removed_several_at_a_time(tree, blobs):
    stored = blobs.put_files([file.path for file in directory_files("", tree)], lambda _: None)
    gone, kept = stored[:-1], stored[-1]
    blobs.remove([*(one.sha256 for one in gone), "0" * 64])
    assert [blobs.exists(one.sha256) for one in stored] == [False] * len(gone) + [True]
    assert blobs.bytes_of(kept.sha256) == kept.bytes


def test_one_bad_file_is_an_error_of_ours_and_leaves_nothing_unfinished(tree, blobs, tmp_path):
    (tree / "odd").symlink_to(tree / "z.txt")
    with pytest.raises(DataError, match="odd is a symbolic link"):
        blobs.put_files([tree / "z.txt", tree / "odd", *[tree / "b/two"] * 50], lambda _: None)
    assert os.listdir(tmp_path / "tmp") == []
    with pytest.raises(NotFoundError, match="there is no file"):
        blobs.put_files([tree / "gone"], lambda _: None)
    assert blobs.read(blobs.put_file(tree / "odd")) == b"z.txt"  # a link that is named itself is followed


class WritesMeanwhile:
    """A target during whose first write another writer changes the source."""

    def __init__(self, change):
        self.change = change

    def write(self, data):
        self.change()
        self.change = lambda: None
        return len(data)


@pytest.mark.parametrize("how", ["grows", "shrinks", "is written over"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, how):
    path = tmp_path / "log"
    path.write_bytes(bytes(3 << 20))
    os.utime(path, (1, 1))

    def change():
        with path.open("r+b") as file:
            if how == "grows":
                file.seek(0, os.SEEK_END)
            if how == "shrinks":
                file.truncate(1 << 20)
            else:
                file.write(b"new")

    with open_source(path, follow=False) as source, pytest.raises(ConflictError, match="log changed while it was read"):
        copy_unchanged(source, WritesMeanwhile(change), path)


def test_a_pipe_or_a_device_is_not_waited_for(tmp_path, blobs):
    os.mkfifo(tmp_path / "pipe")
    done = threading.Event()

    def put(path):
        with pytest.raises(DataError, match="not a regular file"):
            blobs.put_file(path)
        done.set()

    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        done.clear()
        thread = threading.Thread(target=put, args=(path,), daemon=True)
        thread.start()
        assert done.wait(10)
