"""A workspace in a place where it cannot work: opening it reports that, with what to do."""

import errno
import os
import sqlite3
import sys

import pytest
from command_line import ask, refused, run, succeed

import tinymlops as tm
from tinymlops.errors import AccessError, IntegrityError
from tinymlops.stores import environment, file_systems
from tinymlops.stores.migrations import SCHEMA_VERSION


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tinymlops.toml").write_text('workspace = "shop.tm"\n')
    with tm.connect(tmp_path / "shop.tm", create=True):
        pass
    return tmp_path


@pytest.mark.parametrize("name", ["shop.tm", "shop.tm/meta.db"])
def test_a_read_only_workspace_is_refused(folder, monkeypatch, name):
    # A superuser may write regardless of the mode, so the system's answer is faked here.
    allowed = environment.os.access
    monkeypatch.setattr(
        environment.os, "access", lambda path, mode: path != (folder / name).resolve() and allowed(path, mode)
    )
    with pytest.raises(AccessError, match=f"{name} cannot be written") as caught:
        tm.connect(folder / "shop.tm")
    assert "writable" in caught.value.hint
    assert "cannot be written" in refused(11, "ingest", "--project", folder)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_workspace_is_not_made_where_nothing_may_be_written(tmp_path, monkeypatch, code):
    # As above; the test after this one asks the system itself, where it would refuse.
    make = environment.Path.mkdir

    def refuse(path, *arguments, **options):
        if path.name == "shop.tm":
            raise OSError(code, os.strerror(code), str(path))
        make(path, *arguments, **options)

    monkeypatch.setattr(environment.Path, "mkdir", refuse)
    with pytest.raises(AccessError, match="shop.tm cannot be written by this user") as caught:
        tm.connect(tmp_path / "shop.tm", create=True)
    assert "writable" in caught.value.hint
    assert "cannot be written" in refused(11, "init", tmp_path / "new")


@pytest.mark.skipif(os.geteuid() == 0, reason="a superuser may write and search every directory")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_directory_that_is_read_only_or_closed_is_refused(tmp_path, mode):
    (tmp_path / "closed").mkdir(mode=mode)
    try:
        with pytest.raises(AccessError, match=r"cannot be (written|read) by this user"):
            tm.connect(tmp_path / "closed" / "shop.tm", create=True)
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_workspace_of_a_newer_version_is_refused_and_left_alone(folder):
    database = folder / "shop.tm" / "meta.db"
    with sqlite3.connect(database) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = database.read_bytes()
    with pytest.raises(IntegrityError, match=f"knows only {SCHEMA_VERSION}") as caught:
        tm.connect(folder / "shop.tm")
    assert "upgrade" in caught.value.hint
    assert "knows only" in refused(8, "sql", "select 1", "--project", folder)
    assert database.read_bytes() == before


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_doctor_warns_of_a_network_file_system(folder, monkeypatch, kind):
    monkeypatch.setattr(file_systems, "kind_of", lambda _: kind)
    report = ask("doctor", "--project", folder)
    (finding,) = [finding for finding in report["findings"] if finding["check"] == "file system"]
    assert finding["level"] == "warning"
    assert f"{kind} is a network file system" in finding["detail"]


def test_connect_warns_of_a_network_file_system_once(tmp_path, monkeypatch):
    monkeypatch.setattr(file_systems, "kind_of", lambda _: "nfs4")
    with pytest.warns(UserWarning, match="shop.tm: nfs4 is a network file system: keep the workspace on a") as caught:
        tm.connect(tmp_path / "shop.tm", create=True).close()
    assert caught[0].filename == __file__
    tm.connect(tmp_path / "shop.tm").close()  # any warning would be an error


def test_a_workspace_that_was_warned_of_as_an_error_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(file_systems, "kind_of", lambda _: "nfs4")
    with pytest.raises(UserWarning):
        tm.connect(tmp_path / "shop.tm", create=True)
    assert not environment._open


@pytest.mark.parametrize(
    ("mode", "said"), [(0o777, "write to"), (0o775, "write to"), (0o755, "read"), (0o710, "read"), (0o705, "read")]
)
def test_connect_and_doctor_warn_of_a_workspace_that_others_may_enter(folder, mode, said):
    place = folder / "shop.tm"
    place.chmod(mode)
    file_systems._looked_at.clear()
    with pytest.warns(UserWarning, match=f"other users may {said} this workspace .*: chmod 700 {place}") as caught:
        tm.connect(place).close()
    assert caught[0].filename == __file__
    tm.connect(place).close()  # once per process
    found = {one["check"]: one for one in ask("doctor", "--project", folder)["findings"]}
    assert found["permissions"]["level"] == "warning"
    assert f"may {said}" in found["permissions"]["detail"]
    place.chmod(0o700)
    found = {one["check"]: one for one in ask("doctor", "--project", folder)["findings"]}
    assert (found["permissions"]["level"], found["permissions"]["detail"]) == ("ok", "only its owner may enter")


@pytest.mark.filterwarnings("default:.*network file system")
def test_a_command_shows_a_warning_as_a_line(tmp_path, monkeypatch):
    (tmp_path / "tinymlops.toml").write_text('workspace = "shop.tm"\n')
    succeed("init", tmp_path)
    monkeypatch.setattr(file_systems, "kind_of", lambda _: "nfs4")
    file_systems._looked_at.clear()
    result = run("runs", "list", "--project", tmp_path, "--json")
    place = (tmp_path / "shop.tm").resolve()
    assert result.stderr == f"warning: {place}: nfs4 is a network file system: keep the workspace on a local disk\n"
    assert result.exit_code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="mount points are listed on Linux")
def test_the_file_system_is_that_of_the_nearest_mount_point():
    from pathlib import Path

    assert file_systems.kind_of(Path("/proc/self")) == "proc"
