"""Every error of every command: an exit code of its class, and with --json one object as the last line of standard error."""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess

import polars as pl
import pytest
from command_line import PROGRAM, SHOP, launch, run, succeed, write_shop
from test_cli import ROW, invocations, leaves

import tinymlops as tm
from tinymlops.errors import DataError, IngestError, NotFoundError
from tinymlops_cli.failures import EXIT_CODES, exit_code

WITHOUT_PROJECT = {("init",), ("bench",), ("import", "feast"), ("client", "write")}
"""Commands that need none."""
OF_A_WORKSPACE = [words for words, _ in leaves() if words not in {*WITHOUT_PROJECT, ("serve",), ("ui",)}]


def told(result, *, code=None):
    """Return the one object of a command that failed, after checking everything that --help promises about it."""
    stdout, stderr = result.stdout, result.stderr
    status = result.exit_code if hasattr(result, "exit_code") else result.returncode
    assert status == code or (code is None and status in EXIT_CODES.values()), (status, stderr)
    assert stdout == ""
    *before, last = stderr.splitlines()
    assert all(line.startswith("warning: ") for line in before), stderr
    error = json.loads(last)["error"]
    assert set(error) >= {"class", "message", "hint", "exit_code"}
    assert error["exit_code"] == status
    assert error["message"]
    return error


def failed(*arguments, code=None):
    return told(run(*arguments, "--json"), code=code)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A project with a workspace in which nothing is applied, to copy."""
    folder = write_shop(tmp_path_factory.mktemp("begun") / "shop")
    succeed("init", folder)
    return folder


@pytest.fixture(scope="module")
def applied(begun, tmp_path_factory):
    """The project, with a workspace in which it is applied, to copy."""
    folder = shutil.copytree(begun, tmp_path_factory.mktemp("applied") / "shop")
    succeed("apply", "--project", folder)
    return folder


@pytest.fixture
def shop(begun, tmp_path, monkeypatch):
    """A project with a workspace in which nothing is applied."""
    folder = shutil.copytree(begun, tmp_path / "shop")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def in_force(applied, tmp_path, monkeypatch):
    """A project whose definitions are in force."""
    folder = shutil.copytree(applied, tmp_path / "shop")
    monkeypatch.chdir(folder)
    return folder


# Every command, in places where it cannot work


@pytest.mark.parametrize("words", OF_A_WORKSPACE, ids=" ".join)
def test_where_no_project_is(tmp_path, monkeypatch, words):
    arguments = invocations(tmp_path)[words]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    if words == ("restore",):
        arguments = arguments[:1]
    error = failed(*words, *arguments, code=4)
    assert "tinymlops.toml" in error["message"]
    assert "tinymlops init" in error["hint"]


@pytest.mark.parametrize("words", OF_A_WORKSPACE, ids=" ".join)
@pytest.mark.parametrize("text", ['workspace = "shop.tm', "worksapce = 'shop.tm'", "workspace = 7", "\x00", ""])
def test_where_the_settings_are_wrong(tmp_path, monkeypatch, words, text):
    arguments = invocations(tmp_path)[words]
    if words == ("restore",):
        arguments = arguments[:1]
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "tinymlops.toml").write_text(text)
    monkeypatch.chdir(tmp_path / "bad")
    assert "tinymlops.toml" in failed(*words, *arguments, code=3)["message"]


@pytest.mark.parametrize("words", [words for words in OF_A_WORKSPACE if words != ("restore",)], ids=" ".join)
def test_where_the_workspace_is_missing(tmp_path, monkeypatch, words):
    arguments = invocations(tmp_path)[words]
    folder = write_shop(tmp_path / "shop")
    monkeypatch.chdir(folder)
    assert "shop.tm" in failed(*words, *arguments, code=4)["message"]


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (3, ["ingest"]),
        (3, ["ingest", "orders"]),
        (4, ["push", "clicks", ROW]),
        (3, ["materialize"]),
        (3, ["materialize", "spending"]),
        (4, ["features", "online", "spending", ROW]),
        (4, ["features", "historical", "spending", ROW, "timestamp=2024-01-01T00:00:00Z"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_before_apply_a_command_says_so(shop, code, arguments):
    if arguments[:2] == ["features", "historical"]:
        arguments = ["features", "historical", "spending", "customer_id=1", arguments[-1]]
    error = failed(*arguments, code=code)
    assert "nothing is applied to this workspace yet" in error["message"] + error["hint"]
    assert "tinymlops apply" in error["hint"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "orderz"],
        ["push", "clickz", ROW],
        ["materialize", "spendin"],
        ["features", "online", "spendin", ROW],
        ["verify", "buyerz"],
        ["runs", "show", "baselin"],
        ["runs", "console", "baselin"],
        ["models", "show", "buyy"],
        ["models", "register", "buy", "--run", "baselin"],
        ["promote", "buyy", 1],
        ["rollback", "buyy"],
        ["predict", "buyy", ROW],
        ["monitor", "buyy"],
        ["outcomes", "log", "gone.json"],
        ["restore", "gone"],
        ["sql", "select * from orderz"],
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_unknown_names(in_force, arguments):
    failed(*arguments, code=4)


# What the user's own code does


@pytest.mark.parametrize(
    "line",
    [
        "raise OSError('no disk')",
        "raise SystemExit(5)",
        "import sys; sys.exit()",
        "1 / 0",
        "x =",
        "import nothing_of_that_name",
        "raise MemoryError",
        "raise UnicodeDecodeError('utf-8', b'', 0, 1, 'x')",
        "import warnings; warnings.warn('beware\\nof this'); raise ValueError('two\\nlines')",
        "import tinymlops as tm; raise tm.TinyMLOpsError('of ours', hint='do')",
    ],
)
@pytest.mark.parametrize("verb", ["plan", "apply"])
def test_a_module_that_cannot_be_imported(shop, verb, line):
    (shop / "features.py").write_text(f"{line}\n")
    failed(verb, code=1 if "of ours" in line else 3)


FAILING = SHOP.replace("    return \"select * from read_csv('data/orders.csv')\"", "    {body}").replace(
    "def orders() -> str", "def orders() -> pl.DataFrame"
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('the database is down')", "OSError: the database is down (features.py, line 12)"),
        ("raise KeyError('x')", "KeyError: 'x' (features.py, line 12)"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("return pl.read_csv('gone.csv')", "gone.csv"),
        ("return 7", "orders"),
    ],
)
def test_a_source_that_fails(shop, body, said):
    (shop / "features.py").write_text(FAILING.replace("{body}", body))
    succeed("apply")
    assert said in failed("ingest", "orders")["message"]
    every = failed("ingest")
    assert every["class"] == "IngestError"
    assert [one["source"] for one in every["errors"]] == ["orders"]
    assert said in every["errors"][0]["message"]
    assert [(report["source"], report["rows_new"]) for report in every["reports"]] == [("visits", 80)]


def test_people_see_a_table_of_what_was_ingested_and_what_was_not(shop):
    (shop / "features.py").write_text(FAILING.replace("{body}", "raise OSError('the database is down')"))
    succeed("apply")
    result = run("ingest")
    assert (result.exit_code, result.stdout) == (EXIT_CODES[DataError], "")
    head, visits, orders, error, hint, *_ = result.stderr.splitlines()
    assert head.split() == ["source", "read", "new", "error"]
    assert visits.split() == ["visits", "80", "80"]
    assert orders.split()[:4] == ["orders", "source", "'orders'", "failed:"]
    assert error == "error: 1 source could not be ingested: orders"
    assert hint.startswith("hint: ")


def test_people_are_told_of_each_source_what_to_do(in_force):
    succeed("ingest")
    features = in_force / "features.py"
    features.write_text(features.read_text().replace(', id="order_id"', ""))
    succeed("apply")
    result = run("ingest")
    assert "hint: orders: " in result.stderr
    assert "tinymlops ingest orders --rebuild" in result.stderr


def test_errors_of_one_class_have_its_code_and_of_several_the_roots():
    assert exit_code(IngestError({"a": NotFoundError("x"), "b": NotFoundError("y")})) == 4
    assert exit_code(IngestError({"a": NotFoundError("x"), "b": DataError("y")})) == 1


def test_a_read_in_full_shows_the_rows_that_were_deleted(in_force):
    succeed("ingest", "orders")
    path = in_force / "data" / "orders.csv"
    path.write_text("\n".join([*path.read_text().splitlines()[:-3], ""]))
    head, row = succeed("ingest", "orders", "--full").splitlines()
    found = dict(zip([name.strip() for name in head.split("  ") if name.strip()], row.split(), strict=True))
    assert (found["read"], found["deleted"], found["known"]) == ("38", "3", "38")


def test_where_nothing_is_to_be_done_a_line_says_why(tmp_path, monkeypatch):
    (tmp_path / "tinymlops.toml").write_text('workspace = "p.tm"\nmodules = ["features"]\n')
    source = 'import tinymlops as tm\nproject = tm.Project("p")\n\n@project.source(timestamp="at")\n'
    (tmp_path / "features.py").write_text(
        f'{source}def pings() -> tm.Schema:\n    return {{"at": "Datetime[us, UTC]"}}\n'
    )
    monkeypatch.chdir(tmp_path)
    succeed("init")
    succeed("apply")
    assert succeed("ingest") == "there is no source to ingest: all of them take pushes\n"
    assert succeed("materialize") == "there is no feature view to materialize\n"


# The program


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "--jsn", "--json"],
        ["nothing", "--json"],
        ["promote", "buy", "one", "--json"],
        ["promote", "--json"],
        ["serve", "--port", "99999", "--json"],
        ["models", "nothing", "--json"],
        ["runs", "list", "--limit", "--json"],
    ],
    ids=" ".join,
)
def test_a_command_line_that_cannot_be_understood(tmp_path, arguments):
    assert told(launch(*arguments, cwd=tmp_path), code=2)["class"] == "UsageError"


def test_help_and_version_are_no_errors(tmp_path):
    for arguments in (["--help"], ["ingest", "--help", "--json"], ["--version"]):
        result = launch(*arguments, cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, ""), arguments
        assert result.stdout


def test_a_traceback_is_shown_to_who_asks_for_it(shop):
    (shop / "features.py").write_text(FAILING.replace("{body}", "raise OSError('down')"))
    succeed("apply")
    quiet = launch("ingest", "orders", "--json", cwd=shop)
    assert "Traceback" not in quiet.stderr
    loud = launch("ingest", "orders", "--json", cwd=shop, TYPER_STANDARD_TRACEBACK="1")
    assert loud.stderr.startswith("Traceback (most recent call last):")
    assert json.loads(loud.stderr.splitlines()[-1]) == json.loads(quiet.stderr)


@pytest.mark.parametrize("where", ["the project's module", "a library"])
def test_an_interrupt_while_importing_is_130(shop, tmp_path, where):
    interrupt = f"import os, signal\nos.kill(os.getpid(), signal.{signal.SIGINT.name})\nwhile True: pass\n"
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (shop / "features.py" if where == "the project's module" else libraries / "typer.py").write_text(interrupt)
    path = os.pathsep.join([str(libraries), os.environ.get("PYTHONPATH", "")])
    error = told(launch("plan", "--json", cwd=shop, PYTHONPATH=path), code=130)
    assert error == {"class": "KeyboardInterrupt", "message": "interrupted", "hint": "", "exit_code": 130}
    plain = launch("plan", cwd=shop, PYTHONPATH=path)
    assert (plain.returncode, plain.stdout, plain.stderr) == (130, "", "interrupted\n")


def test_a_reader_that_goes_away_is_no_error(in_force):
    writer = subprocess.Popen(
        [str(PROGRAM), "sql", "select * from range(100000)", "--json"],
        cwd=in_force,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    writer.stdout.close()
    assert b"Traceback" not in writer.stderr.read()
    writer.stderr.close()
    writer.wait()


# Control characters

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202egnp.exe\u2028\r\ud800"
SHOWN = "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\x7f\\u202egnp.exe\\u2028\\r"


@pytest.fixture
def hostile(in_force):
    """A workspace with a pushed value, a column of a run and an error's text that command a terminal."""
    value = HOSTILE[:-1]  # half of a pair cannot be stored
    with tm.connect("shop.tm") as ws:
        row = {"click_id": value, "customer_id": 1, "at": "2024-02-01T00:00:00Z", "seconds": 1.0}
        ws.push("clicks", pl.DataFrame([row]).with_columns(pl.col("at").str.to_datetime(time_zone="UTC")))
        with ws.start_run("run", params={"text": value}, tags={"note": value}):
            pass
    return value


def commands(text):
    """What of a text a terminal would obey or be fooled by."""
    return [character for character in text if character != "\n" and not character.isprintable()]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sql", "select * from clicks"],
        ["sql", f'select 1 as "{HOSTILE[:-1]}"'],
        ["sql", "select [click_id] as listed, {'a': click_id} as packed from clicks"],
        ["runs", "list"],
        ["runs", "show", "run"],
        ["runs", "show", HOSTILE[:-1]],
        ["sql", f"select '{HOSTILE[:-1]}' from nothing"],
        ["ingest", HOSTILE[:-1]],
        ["push", "clicks", json.dumps({HOSTILE[:-1]: 1})],
        ["features", "online", HOSTILE[:-1], ROW],
        ["predict", HOSTILE[:-1], ROW],
    ],
    ids=lambda value: " ".join(value[:2]).encode("unicode_escape").decode()[:40],
)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
def test_control_characters_are_shown_and_never_sent(hostile, arguments, options):
    result = run(*arguments, *options)
    assert commands(result.stdout) == []
    assert commands(result.stderr) == []


def test_a_cell_stays_in_its_line(hostile):
    _, row = succeed("sql", "select click_id, 'a\nb\tc' as text from clicks").splitlines()
    assert SHOWN in row
    assert r"a\nb\tc" in row


def test_json_says_the_same_with_them_written_out(hostile):
    (row,) = json.loads(run("sql", "select click_id from clicks", "--json").stdout)["rows"]
    assert row == {"click_id": hostile}


def test_in_a_terminal_a_table_is_as_safe(capsys, monkeypatch):
    from tinymlops_cli.output import Answer, Table, show

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    show(Answer(None, [Table([HOSTILE], [[HOSTILE]]), HOSTILE]), as_json=False)
    printed = capsys.readouterr().out
    assert commands(re.sub(r"\x1b\[[0-9;]*m", "", printed)) == []  # rich draws the head in bold
    assert printed.count("\\x1b[2J") == 3


def test_errors_and_warnings_of_python_are_as_safe():
    from tinymlops._warn import warn

    assert commands(str(DataError(HOSTILE, hint=HOSTILE))) == []
    assert DataError(HOSTILE).message == HOSTILE
    assert commands(str(IngestError({"a": DataError(HOSTILE)}))) == []
    with pytest.warns(UserWarning, match="2J") as caught:
        warn(HOSTILE)
    assert commands(str(caught[0].message)) == []


def test_completion_offers_no_name_that_a_shell_would_obey(hostile):
    import typer

    from tinymlops_cli import completion
    from tinymlops_cli.app import app

    context = typer.Context(typer.main.get_command(app))
    assert completion.sources(context, "") == ["clicks", "orders", "visits"]
    with contextlib.closing(sqlite3.connect("shop.tm/meta.db")) as database:
        database.execute("UPDATE definitions SET name = ? WHERE name = 'orders'", [hostile])
        database.commit()
    assert completion.sources(context, "") == ["clicks", "visits"]
