"""Secrets: where they come from, and that nothing that a workspace writes or prints tells one."""

import contextlib
import copy
import json
import os
import pickle
import time
import traceback

import msgspec
import pytest
from command_line import launch, registered_shop, run, succeed

import tinymlops as tm
from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError, TinyMLOpsError
from tinymlops.secrets import Secret, read_secret, read_secret_file, without_secrets

VALUE = "correct-horse-battery"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "token"
    path.write_text(VALUE + "\n")
    path.chmod(0o600)
    return path


def shown(secret):
    return [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>40}",
        f"{[secret]} { ({'token': secret}) }",
        "%s %r" % (secret, secret),  # noqa: UP031
        msgspec.json.encode({"token": secret}, enc_hook=str).decode(),
        json.dumps(secret, default=str),
        str(copy.copy(secret)),
        str(copy.deepcopy([secret])),
        str(getattr(secret, "__dict__", "")),
    ]


def test_a_secret_is_shown_nowhere_and_revealed_when_asked():
    secret = Secret(VALUE)
    assert not [text for text in shown(secret) if VALUE in text]
    assert secret.reveal() == VALUE
    assert secret == Secret(VALUE) != Secret("other")
    assert secret != VALUE
    assert len({secret, Secret(VALUE)}) == 1
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(secret, protocol)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_a_traceback_with_its_locals_does_not_show_it():
    secret = Secret(VALUE)
    try:
        int(f"failed with {secret}")
    except ValueError as error:
        found = traceback.TracebackException.from_exception(error, capture_locals=True)
    told = "".join(found.format())
    assert "secret = <secret>" in told
    assert f"'{VALUE}'" not in told.replace("VALUE = ", "")


def test_it_comes_from_the_environment_or_a_private_file(file):
    assert read_secret("SHOP", {}) is None
    assert read_secret("SHOP", {"SHOP": VALUE}) == read_secret("SHOP", {"SHOP_FILE": str(file)}) == Secret(VALUE)
    file.write_bytes(VALUE.encode() + b"\r\n")
    assert read_secret_file(file) == Secret(VALUE)
    link = file.with_name("link")  # as a cluster mounts them
    link.symlink_to(file)
    assert read_secret_file(link) == Secret(VALUE)
    with pytest.raises(DefinitionError, match="both SHOP and SHOP_FILE are set") as caught:
        read_secret("SHOP", {"SHOP": VALUE, "SHOP_FILE": str(file)})
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644, 0o777, 0o610])
def test_a_file_that_others_may_read_is_refused_with_its_mode_and_what_to_do(file, mode):
    file.chmod(mode)
    with pytest.raises(AccessError, match=f"its mode is {mode:04o}") as caught:
        read_secret_file(file)
    assert f"chmod 600 {file}" in caught.value.hint
    assert VALUE not in f"{caught.value} {caught.value.hint}"


@pytest.mark.skipif(os.geteuid() != 0, reason="only a superuser can give a file away")
def test_a_file_of_another_user_is_refused(file, monkeypatch):
    monkeypatch.delenv("SUDO_UID", raising=False)
    os.chown(file, 65534, -1)
    with pytest.raises(AccessError, match="belongs to another user"):
        read_secret_file(file)
    monkeypatch.setenv("SUDO_UID", "65534")
    assert read_secret_file(file) == Secret(VALUE)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b" x", b"x ", b"a\nb", b"a\0b", b"\xff\xfe" + VALUE.encode(), b"x" * 70_000]
)
def test_what_is_not_one_line_of_text_is_refused_and_not_quoted(file, content):
    file.write_bytes(content)
    with pytest.raises(DataError, match="holds no secret that can be used") as caught:
        read_secret_file(file)
    assert VALUE not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path):
    with pytest.raises(NotFoundError, match="there is no file"):
        read_secret_file(tmp_path / "token")
    os.mkfifo(tmp_path / "pipe", 0o600)
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(TinyMLOpsError, match="not a regular file|cannot be read"):
            read_secret_file(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing here", "nothing here"),
        ("password pw-123456!", "password <secret>"),
        ("pw-123456!pw-123456!", "<secret><secret>"),
        ("abc", "abc"),  # too short: it is in many words
        ("tm_7_c29tZXRoaW5n.", "tm_7_<secret>."),
        ("xtm_7_c29tZXRoaW5n", "xtm_7_c29tZXRoaW5n"),
        ("postgresql://me:hunter2@db:5432/shop", "postgresql://me:<secret>@db:5432/shop"),
        ("https://db/shop:1@2", "https://db/shop:1@2"),
        ("/home/me", "/home/me"),
    ],
)
def test_what_is_a_secret_is_left_out_of_a_text(text, told):
    environment = {"PGPASSWORD": "pw-123456!", "TOKEN": "abc", "HOME": "/home/me"}
    assert without_secrets(text, environment) == told


# What a workspace writes and prints

PLANTED = {
    "SHOP_PASSWORD": "plaintext-Pa55word",
    "WAREHOUSE_API_KEY": "AKIA-planted-0123456",
    "TINYMLOPS_TOKEN": "tm_planted_c2VjcmV0c2VjcmV0",
}
FROM_FILE = "planted-in-a-private-file"
ADDRESS = "planted-in-an-address"
LEAKY = """

import os
import warnings
from pathlib import Path

from tinymlops.secrets import read_secret

token = read_secret("LEAKY")


@project.source(timestamp="at", id="visit_id")
def leaky() -> pl.DataFrame:
    secrets = [os.environ[name] for name in ("SHOP_PASSWORD", "WAREHOUSE_API_KEY", "TINYMLOPS_TOKEN")]
    warnings.warn(f"as {secrets[0]}")
    raise ConnectionError(f"cannot reach postgresql://me:planted-in-an-address@db as {secrets} {token} {token.reveal()}")
"""


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    """A shop whose code fails with secrets in its messages, and all that its commands printed."""
    folder = registered_shop(tmp_path_factory.mktemp("leaky") / "shop")
    (folder / "features.py").write_text((folder / "features.py").read_text() + LEAKY)
    secret = folder / "secret.txt"
    secret.write_text(FROM_FILE)
    secret.chmod(0o600)
    environment = {**PLANTED, "LEAKY_FILE": str(secret)}
    commands = (
        *("apply", "plan", "status", "lint", "ingest", "ingest leaky", "runs list", "models list", "audit", "health"),
        *("audit --csv", "doctor", "doctor --report support.json", "docs build pages", "docs show spending", "lineage"),
        *("backup copy", "sql 'show tables'", "features online spending customer_id=1", "predict buy customer_id=1"),
        *("checks list", "datasets list", "why spending", "log spending", "show spending", "marks", "verify buyers"),
    )
    printed = []
    for text in commands:
        words = [word.strip("'") for word in text.split(" ", 2 if "'" in text else -1)]
        words = ["sql", "show tables"] if words[0] == "sql" else words
        with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            done = run(*words, "--json")
        printed.append((text, done.stdout + done.stderr, done.exit_code))
    done = launch("ingest", "leaky", cwd=folder, TYPER_STANDARD_TRACEBACK="1", **environment)
    printed += [("traceback", done.stdout + done.stderr, done.returncode)]
    done = launch("ingest", "leaky", cwd=folder, **environment)
    printed += [("text", done.stdout + done.stderr, done.returncode)]
    return folder, secret, printed


def test_no_command_prints_a_secret(leaky):
    _, _, printed = leaky
    told = {text: (said, code) for text, said, code in printed}
    assert "<secret>" in told["ingest leaky"][0]  # it did fail that way
    assert "<secret>" in told["text"][0]
    assert "Traceback" in told["traceback"][0]
    assert [text for text, said, _ in printed for one in (*PLANTED.values(), FROM_FILE, ADDRESS) if one in said] == []


def test_no_file_of_a_workspace_backup_page_or_report_holds_a_secret(leaky):
    folder, secret, _ = leaky
    with tm.connect(folder / "shop.tm", root=folder) as ws:
        with pytest.raises(ConnectionError), pytest.MonkeyPatch.context() as patch, ws.start_run("failing"):
            patch.setenv("SHOP_PASSWORD", PLANTED["SHOP_PASSWORD"])
            raise ConnectionError(
                f"mysql://me:{ADDRESS}@db as {PLANTED['TINYMLOPS_TOKEN']}, {PLANTED['SHOP_PASSWORD']}"
            )
        assert ws.runs.get("failing").error.count("<secret>") == 3
        ws.backup(folder / "copy2")
    files = [
        path for path in folder.rglob("*") if path.is_file() and path != secret and path.suffix not in (".py", ".pyc")
    ]
    assert {"support.json", "manifest.json", "meta.db"} <= {path.name for path in files}
    assert [path for path in files if path.is_relative_to(folder / "pages")]
    found = [
        path for path in files for one in (*PLANTED.values(), FROM_FILE, ADDRESS) if one.encode() in path.read_bytes()
    ]
    assert found == []


# The support file

NAMES = ("orders", "visits", "spending", "browsing", "buyers", "customer", "baseline", "buy", "clicks")


def test_the_support_file_has_no_data_and_no_names(leaky):
    folder, _, _ = leaky
    path = folder / "support.json"
    text = path.read_text()
    report = json.loads(text)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "no rows" in report["about"]
    del report["about"]
    assert report["settings"] == ["workspace", "modules"]
    assert report["rows"]["segments"] > 0
    assert report["versions"]["tinymlops"] == tm.__version__
    assert {one["level"] for one in report["checks"]} <= {"ok", "warning"}
    words = json.dumps({key: value for key, value in report.items() if key != "rows"})
    assert [name for name in (*NAMES, str(folder), folder.name, "features") if name in words] == []
    with tm.connect(folder / "shop.tm", root=folder) as ws:
        assert {entry.actor for entry in ws.audit.list()} - {"tinymlops"}
        assert not [run_.id for run_ in ws.runs.search() if run_.id in text]


def test_what_is_damaged_is_counted_and_not_named(tmp_path):
    folder = registered_shop(tmp_path / "shop")
    for segment in (folder / "shop.tm" / "segments" / "orders").iterdir():
        segment.write_bytes(b"damaged")
    assert run("doctor", "--project", folder, "--report", folder / "support.json").exit_code == 8
    text = (folder / "support.json").read_text()
    (found,) = [one for one in json.loads(text)["checks"] if one["level"] == "damaged"]
    assert found == {"check": "files", "level": "damaged", "findings": 1}
    assert "orders" not in text


def test_a_support_file_replaces_nothing(tmp_path):
    (tmp_path / "tinymlops.toml").write_text('workspace = "shop.tm"\n')
    succeed("init", tmp_path)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    for name in ("mine", "nowhere/support.json"):
        result = run("doctor", "--project", tmp_path, "--report", tmp_path / name)
        assert result.exit_code == 6
        assert "cannot be written" in result.stderr
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    "part", ["a", "a://", "a://u:", "a://u:b", "tm_", "tm_a", "tm_a_", "://", "a:@", ":", "a.b-c+"]
)
def test_a_long_text_takes_no_time_whatever_it_is_made_of(part):
    """A stranger chooses the path that an error quotes; the event loop must not wait for it."""
    begun = time.process_time()
    without_secrets(part * (60_000 // len(part)))
    assert time.process_time() - begun < 2
