"""A workspace in a place where it cannot work: opening it reports that, with what to do."""

import errno
import grp
import os
import sqlite3
import sys
import tempfile
from pathlib import Path

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


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o705])
def test_connect_and_doctor_warn_of_a_workspace_that_others_may_read(folder, mode):
    place = folder / "shop.tm"
    place.chmod(mode)
    file_systems._looked_at.clear()
    with pytest.warns(UserWarning, match=f"other users may read this workspace .*: chmod 700 {place}") as caught:
        tm.connect(place).close()
    assert caught[0].filename == __file__
    tm.connect(place).close()  # once per process
    assert permissions(folder)["level"] == "warning"
    assert "may read" in permissions(folder)["detail"]
    place.chmod(0o700)
    assert (permissions(folder)["level"], permissions(folder)["detail"]) == ("ok", "only its owner may enter")


def permissions(folder):
    """What doctor finds."""
    (found,) = [one for one in ask("doctor", "--project", folder)["findings"] if one["check"] == "permissions"]
    return found


# Who may write to it


@pytest.mark.parametrize("name", ["", "meta.db", "blobs", "segments", "tmp", "online"])
def test_a_workspace_that_others_may_write_to_is_refused_and_doctor_says_so(folder, name):
    place = folder / "shop.tm" / name
    place.chmod(0o777)
    with pytest.raises(AccessError, match=rf"is not used, because {place} may be written to by every user") as caught:
        tm.connect(folder / "shop.tm")
    assert f"chmod 700 {folder / 'shop.tm'}" in caught.value.hint
    assert "may be written to by every user (its mode is 0777)" in refused(11, "runs", "list", "--project", folder)
    assert permissions(folder)["level"] == "warning"
    assert f"{place} may be written to" in permissions(folder)["detail"]
    place.chmod(0o700)
    tm.connect(folder / "shop.tm").close()


def test_a_workspace_that_is_a_link_is_looked_at_where_it_leads(folder):
    (folder / "link.tm").symlink_to(folder / "shop.tm")
    tm.connect(folder / "link.tm").close()
    (folder / "shop.tm").chmod(0o757)
    with pytest.raises(AccessError, match="every user"):
        tm.connect(folder / "link.tm")


def test_a_directory_below_that_leads_elsewhere_is_looked_at_there(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere").chmod(0o777)
    (folder / "shop.tm" / "images").symlink_to(folder / "elsewhere")
    with pytest.raises(AccessError, match="images may be written to by every user"):
        tm.connect(folder / "shop.tm")


def test_doctor_looks_at_every_file(folder):
    with tm.connect(folder / "shop.tm") as ws, ws.start_run("r", patch=False) as run_:
        run_.log_artifact("a.txt", b"a")
        run_.log_artifact("b.txt", b"b")
    files = [file for file in (folder / "shop.tm" / "blobs").rglob("*") if file.is_file()]
    for file in files:
        file.chmod(0o666)
    tm.connect(folder / "shop.tm").close()  # nobody gets there
    told = permissions(folder)
    assert told["level"] == "warning"
    assert "may be written to by every user (its mode is 0666), and 1 more of its files" in told["detail"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser can give a file away")
def test_a_group_with_other_members_may_not_write(folder):
    others = next(group.gr_gid for group in grp.getgrall() if group.gr_gid and not group.gr_mem)
    place = folder / "shop.tm"
    place.chmod(0o770)
    file_systems._looked_at.clear()
    with pytest.warns(UserWarning, match="other users may read"):
        tm.connect(place).close()  # root's own group
    os.chown(place, -1, 54321)
    with pytest.raises(AccessError, match=r"may be written to by its group \(54321\)"):
        tm.connect(place)
    os.chown(place, 65534, others)  # a group with a name, which is not the owner's
    with pytest.raises(AccessError, match="may be written to|belongs to another user"):
        tm.connect(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser can give a file away")
def test_a_workspace_of_another_user_is_refused_and_the_superuser_is_warned(tmp_path):
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        place = Path(name, "shop.tm")
        tm.connect(place, create=True).close()
        os.chown(place, 65534, 65534)
        file_systems._looked_at.clear()
        with pytest.warns(UserWarning, match=r"shop.tm belongs to another user \(uid 65534\)"):
            tm.connect(place).close()
        place.chmod(0o755)
        pid = os.fork()
        if pid == 0:
            os.setuid(65533)
            try:
                file_systems.require_private(place)
            except AccessError as error:
                os._exit(0 if "belongs to another user (uid 65534)" in error.message else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_who_may_swap_the_workspace_is_warned_of(folder):
    folder.chmod(0o777)
    file_systems._looked_at.clear()
    with pytest.warns(UserWarning, match=f"put another directory in its place: {folder} may be written to by every"):
        tm.connect(folder / "shop.tm", root=folder / "shop.tm").close()
    folder.chmod(0o1777)  # where only owners may rename, as in the system's directory of temporary files
    file_systems._looked_at.clear()
    tm.connect(folder / "shop.tm").close()


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
    assert file_systems.kind_of(Path("/proc/self")) == "proc"
