"""`tinymlops.toml`: found upwards, read strictly."""

import errno
import os

import pytest
from command_line import refused

import tinymlops as tm
from tinymlops.config import AlertsConfig, Config, SqlConfig, find_config, read_config
from tinymlops.errors import AccessError, DefinitionError, NotFoundError
from tinymlops.kernels.threads import set_threads, thread_count


def write(folder, text):
    (folder / "tinymlops.toml").write_text(text)
    return folder


def test_every_setting_is_read(tmp_path):
    text = (
        'workspace = "shop.tm"\nmodules = ["a", "b.c"]\ndata_dirs = ["../raw"]\nthreads = 2\ntrusted_types = ["a.B"]\n'
        "[sql]\nmax_rows = 9\n"
        '[alerts]\nsmtp = "env:SMTP_URL"\nfrom = "jobs@shop.example"\nto = ["ana@shop.example"]\n'
    )
    found = read_config(write(tmp_path, text))
    assert found == Config(
        workspace="shop.tm",
        modules=("a", "b.c"),
        data_dirs=("../raw",),
        threads=2,
        trusted_types=("a.B",),
        sql=SqlConfig(max_rows=9),
        alerts=AlertsConfig(smtp="env:SMTP_URL", sender="jobs@shop.example", to=("ana@shop.example",)),
    )


def test_a_directory_without_the_file_has_the_defaults(tmp_path):
    assert read_config(tmp_path) == Config()


def test_an_unknown_setting_is_refused_with_the_near_match(tmp_path):
    with pytest.raises(DefinitionError, match="tinymlops.toml cannot be used.*worksapce") as caught:
        read_config(write(tmp_path, 'worksapce = "shop.tm"\n'))
    assert caught.value.hint == "did you mean 'workspace'?"


def test_an_unknown_setting_that_is_near_to_none_is_refused_with_all_of_them(tmp_path):
    with pytest.raises(DefinitionError) as caught:
        read_config(write(tmp_path, "zebra = 1\n"))
    assert (
        caught.value.hint
        == "known names: alerts, connections, data_dirs, jobs, lint, modules, sql, threads, trusted_types, workspace"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('modules = "features"', "Expected `array`, got `str`"),
        ("workspace = 3", "Expected `str | null`, got `int`"),
        ("modules = [[\n", "Invalid"),
        ("threads = 0", "threads = 0"),
        ("threads = -1", "threads = -1"),
        ("[sql]\nmax_rows = 0", "max_rows = 0"),
        ("[sql]\ntimeout = 'soon'", "timeout='soon'"),
        ("[sql]\ningest_timeout = '0s'", "ingest_timeout='0s'"),
        ("[sql]\nrows = 3", "`$.sql`"),
        ('workspace = ""', "workspace"),
        ('[alerts]\nsmtp = "env:A"\nfrom = "a@b.c"', "missing required field `to`"),
        ('[alerts]\nsmtp = "env:A"\nfrom = "a@b.c"\nto = []', "alerts to nobody"),
        ('[alerts]\nsmtp = "env:A"\nfrom = "a@b.c"\nto = ["d@e", "ana"]', "'ana'"),
        ('[alerts]\nsmtp = "env:A"\nfrom = "a@b.c"\nto = ["Ana <ana@b.c>"]', "'Ana <ana@b.c>'"),
        ('[alerts]\nsmtp = "env:A"\nfrom = "a@b.c\\nBcc: d@e"\nto = ["d@e"]', "Bcc"),
        ('[alerts]\nsmtp = "env:A"\nfrom = "a@b.c\\n"\nto = ["d@e"]', "e-mail address"),
        ('[alerts]\nsmtp = "env:A"\nfrom = "a@münchen.de"\nto = ["d@e"]', "münchen"),
        ('[alerts]\nsmtp = "smtp://a:b@mail"\nfrom = "a@b.c"\nto = ["d@e"]', "holds the password of the mail server"),
        ('[alerts]\nsmtp = "env:A"\nsender = "a@b.c"\nto = ["d@e"]', "`$.alerts`"),
        ('modules = ["features.py"]', "features.py"),
        ('modules = ["my/features"]', "my/features"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, text, said):
    with pytest.raises(DefinitionError) as caught:
        read_config(write(tmp_path, text))
    assert said in caught.value.message
    assert "tinymlops.toml" in caught.value.message
    assert caught.value.hint


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path, "threads = 1\n") / "tinymlops.toml"

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(AccessError, match="tinymlops.toml cannot be read by this user") as caught:
        read_config(tmp_path)
    assert "readable" in caught.value.hint


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "tinymlops.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(DefinitionError, match="cannot be used"):
        read_config(tmp_path)


def test_the_nearest_file_is_found_from_below(tmp_path):
    deep = tmp_path / "inner" / "a" / "b"
    deep.mkdir(parents=True)
    write(tmp_path, "")
    inner = write(tmp_path / "inner", "")
    assert find_config(deep) == inner
    assert find_config(tmp_path) == tmp_path


@pytest.mark.parametrize("mark", [".git", ".hg", ".jj"])
def test_the_walk_ends_at_the_root_of_a_repository(tmp_path, mark):
    repository = tmp_path / "repository"
    (repository / "src").mkdir(parents=True)
    (repository / mark).mkdir()
    write(tmp_path, "")
    with pytest.raises(NotFoundError):
        find_config(repository / "src")
    write(repository, "")
    assert find_config(repository / "src") == repository


def test_the_walk_ends_at_home(tmp_path, monkeypatch):
    home = tmp_path / "homes" / "me"
    (home / "shop").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    write(tmp_path, "")
    with pytest.raises(NotFoundError):
        find_config(home / "shop")
    for above in (tmp_path / "homes", tmp_path):  # nothing that home is in is a project
        with pytest.raises(NotFoundError):
            find_config(above)
    write(home, "")
    assert find_config(home / "shop") == home


def test_outside_of_home_the_walk_ends_below_what_home_is_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    deep = tmp_path / "srv" / "shop" / "src"
    deep.mkdir(parents=True)
    (tmp_path / "home" / "me").mkdir(parents=True)
    write(tmp_path, 'modules = ["theirs"]\n')
    with pytest.raises(NotFoundError):
        find_config(deep)
    write(tmp_path / "srv", "")
    assert find_config(deep) == tmp_path / "srv"


def test_a_home_that_is_a_link_is_where_it_leads(tmp_path, monkeypatch):
    real = tmp_path / "disk" / "me"
    (real / "shop").mkdir(parents=True)
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "me"))
    write(tmp_path / "disk", "")
    for start in (tmp_path / "home" / "me" / "shop", real / "shop", tmp_path / "disk"):
        with pytest.raises(NotFoundError):
            find_config(start)
    write(real, "")
    assert find_config(tmp_path / "home" / "me" / "shop") == real


@pytest.mark.parametrize("home", ["~", "relative", ""])
def test_without_a_home_the_walk_ends_at_the_root(tmp_path, monkeypatch, home):
    monkeypatch.setenv("HOME", home)
    (tmp_path / "shop").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    write(tmp_path, "")
    assert find_config(tmp_path / "shop") == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser can give a file away")
def test_a_file_that_a_group_may_write_to_is_not_used_but_for_a_group_of_one(tmp_path):
    write(tmp_path, "")
    (tmp_path / "tinymlops.toml").chmod(0o664)
    assert find_config(tmp_path) == tmp_path  # root's own group, as with the umask 002
    os.chown(tmp_path / "tinymlops.toml", -1, 54321)
    with pytest.raises(AccessError, match=r"may be written to by its group \(54321\)"):
        find_config(tmp_path)


def test_a_link_into_a_directory_that_everybody_may_write_to_is_not_used(tmp_path):
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir()
    shared.mkdir()
    write(shared, "")
    (own / "tinymlops.toml").symlink_to(shared / "tinymlops.toml")
    assert find_config(own) == own
    shared.chmod(0o777)
    with pytest.raises(AccessError, match=f"{shared} may be written to by every user"):
        find_config(own)


@pytest.mark.parametrize("name", [".", "tinymlops.toml"])
def test_a_file_that_everybody_may_write_to_is_not_used(tmp_path, name):
    below = write(tmp_path, "") / "below"
    below.mkdir()
    (tmp_path / name).chmod((tmp_path / name).stat().st_mode | 0o002)
    with pytest.raises(AccessError, match="may be written to by every user") as caught:
        find_config(below)
    assert caught.value.hint.endswith(f"--project {tmp_path}")
    assert read_config(tmp_path) == Config()  # it was named


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser can give a file away")
@pytest.mark.parametrize("name", [".", "tinymlops.toml"])
def test_a_file_of_another_user_is_not_used_unless_it_is_named(tmp_path, monkeypatch, name):
    monkeypatch.delenv("SUDO_UID", raising=False)
    below = write(tmp_path, 'modules = ["theirs"]\nworkspace = "shop.tm"\n') / "below"
    below.mkdir()
    (tmp_path / "theirs.py").write_text("raise SystemExit('their code was run')")
    os.chown(tmp_path / name, 65534, -1)
    monkeypatch.chdir(below)
    with pytest.raises(AccessError, match=r"is not used, because .* belongs to another user \(uid 65534\)"):
        find_config(below)
    assert "their code" not in refused(11, "plan")
    monkeypatch.setenv("SUDO_UID", "65534")
    assert find_config(below) == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser can give a file away")
def test_a_link_that_another_user_left_is_not_used(tmp_path):
    own, shared = tmp_path / "own", tmp_path / "shared"
    own.mkdir()
    shared.mkdir()
    write(own, "")
    (shared / "tinymlops.toml").symlink_to(own / "tinymlops.toml")
    assert find_config(shared) == shared
    os.lchown(shared / "tinymlops.toml", 65534, -1)
    with pytest.raises(AccessError, match="belongs to another user"):
        find_config(shared)


def test_without_any_the_hint_is_init(tmp_path):
    with pytest.raises(NotFoundError, match="there is no tinymlops.toml in") as caught:
        find_config(tmp_path)
    assert "tinymlops init" in caught.value.hint


def test_threads_cap_the_pool_of_the_kernels(tmp_path):
    set_threads(None)
    before = thread_count()
    try:
        with tm.connect(write(tmp_path, "threads = 3\n") / "shop.tm", create=True):
            assert thread_count() == 3
        (tmp_path / "other").mkdir()
        with tm.connect(tmp_path / "other" / "shop.tm", create=True):
            assert thread_count() == 3  # a project that says nothing changes nothing
    finally:
        set_threads(None)
    assert thread_count() == before
