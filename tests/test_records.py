"""Records: each has a table and each table a record, and other code needs only what a record declares."""

import shutil
import string
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
from inside import database_of

from tinymlops.records import TABLES
from tinymlops.stores.migrations import SCHEMA_VERSION
from tinymlops.stores.rows import CHECK

ROOT = Path(__file__).parent.parent
OF_THE_TOOLS = {"_sqlite_migrations", "sqlite_sequence"}
"""Tables of sqlite-utils and of SQLite itself."""


def test_every_table_has_a_record_and_every_record_a_table(workspace):
    made = database_of(workspace).rows("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    assert [name for (name,) in made if name not in OF_THE_TOOLS] == [cls.table for cls in TABLES]


@pytest.mark.parametrize("cls", TABLES)
def test_the_columns_of_a_table_are_the_fields_of_its_record(workspace, cls):
    database = database_of(workspace)
    info = database.rows("SELECT name, pk FROM pragma_table_info(?)", [cls.table])
    # Columns that a later schema added stand behind the checksum.
    assert [name for name, _ in info if name != CHECK] == [*cls.__struct_fields__]
    assert CHECK in [name for name, _ in info]
    assert [name for name, pk in sorted(info, key=lambda row: row[1]) if pk] == [*cls.key]
    assert database.rows("SELECT strict FROM pragma_table_list WHERE name = ?", [cls.table]) == [(1,)]


@pytest.mark.parametrize("cls", TABLES)
def test_what_a_record_declares_are_columns_of_its_own(cls):
    told = [name for what in cls.files.values() for _, name, _, _ in string.Formatter().parse(what) if name]
    assert {*cls.key, *cls.files, *told, *cls.subjects, *cls.search} <= {*cls.__struct_fields__}


def test_no_two_records_have_one_table_or_one_name_in_sql():
    for names in ([cls.table for cls in TABLES], [cls.sql_name for cls in TABLES if cls.sql_name is not None]):
        assert len(set(names)) == len(names)


RECORD = '''
"""Letters about customers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import ClassVar

from tinymlops.records.record import Record

__all__ = ["Letter"]


class Letter(Record, frozen=True, kw_only=True):
    """A letter about a customer, with a scan of the letter."""

    table: ClassVar[str] = "letters"
    key: ClassVar[tuple[str, ...]] = ("name",)
    files: ClassVar[Mapping[str, str]] = {"scan_sha256": "scan of letter {name}"}
    subjects: ClassVar[tuple[str, ...]] = ("customer",)
    small: ClassVar[bool] = True
    sql_name: ClassVar[str | None] = "letters"
    search: ClassVar[tuple[str, ...]] = ("name",)

    name: str
    customer: str
    scan_sha256: str | None = None
    at: datetime
'''
REGISTRY = '''
"""The letters of a workspace."""

from __future__ import annotations

from tinymlops.records.letters import Letter

__all__ = ["Letters"]


class Letters:
    """Letters, each with a scan."""

    def __init__(self, scope):
        self._scope = scope

    def add(self, name, customer, scan):
        """Keep a letter."""
        with self._scope.publishing():
            sha256 = self._scope.environment.blobs.put(scan)
            letter = Letter(name=name, customer=customer, scan_sha256=sha256, at=self._scope.clock())
            with self._scope.write("letter.add", name) as tx:
                tx.insert(letter)
        return letter

    def list(self):
        """Return all letters."""
        return self._scope.environment.database.list(Letter)
'''
CLI = '''
"""`letters`: what was noted."""

from functools import partial

import typer

from tinymlops.records.letters import Letter
from tinymlops.registry.names import names_of
from tinymlops_cli.commands import command, group
from tinymlops_cli.completion import completing
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to", "names"]

names = completing(partial(names_of, cls=Letter))


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(group(app, "letters", "Letters."), "list")(list_letters)


def list_letters(session: Session) -> Answer:
    """List the letters."""
    letters = session.workspace.letters.list()
    return Answer({"letters": letters}, [letter.name for letter in letters])
'''
ROUTE = '''
"""`/v1/letters`: what was noted."""

from litestar import get
from litestar.handlers import HTTPRouteHandler

from tinymlops.records.letters import Letter
from tinymlops.server.route_class import READ
from tinymlops.workspace import Workspace

__all__ = ["letter_routes"]


def letter_routes(ws: Workspace) -> list[HTTPRouteHandler]:
    """Make the handler."""

    @get("/v1/letters", opt=READ, sync_to_thread=True)
    def list_letters() -> list[Letter]:
        """List the letters."""
        return ws.letters.list()

    return [list_letters]
'''
MIGRATION = '''
    @steps()
    def m_letters(db: Database) -> None:
        db.execute(
            f"""CREATE TABLE letters (
                name TEXT PRIMARY KEY,
                customer TEXT NOT NULL,
                scan_sha256 TEXT,
                at INTEGER NOT NULL,
                {CHECK} INTEGER NOT NULL
            ) STRICT"""
        )

    return steps
'''
NEW = {
    "tinymlops/records/letters.py": RECORD,
    "tinymlops/registry/letters.py": REGISTRY,
    "cli/tinymlops_cli/letters.py": CLI,
    "tinymlops/server/routes/letters.py": ROUTE,
}
LINES = {
    "tinymlops/records/__init__.py": [
        (
            "from tinymlops.records.pushes",
            "from tinymlops.records.letters import Letter\nfrom tinymlops.records.pushes",
        ),
        ('\n)\n"""Every record, in the order', '\n    Letter,\n)\n"""Every record, in the order'),
    ],
    "tinymlops/stores/migrations.py": [
        ("\n    return steps\n", MIGRATION),
        (f"SCHEMA_VERSION = {SCHEMA_VERSION}", f"SCHEMA_VERSION = {SCHEMA_VERSION + 1}"),
    ],
    "tinymlops/opened.py": [
        ("        self.models = ", "        self.letters = Letters(scope)\n        self.models = "),
        (
            "        from tinymlops.registry.runs",
            "        from tinymlops.registry.letters import Letters\n        from tinymlops.registry.runs",
        ),
    ],
    "cli/tinymlops_cli/app.py": [
        ("from tinymlops_cli import (\n", "from tinymlops_cli import (\n    letters,\n"),
        ("    bench,\n)", "    bench,\n    letters,\n)"),
    ],
    "tinymlops/server/routes/__init__.py": [
        ("    health_routes,\n)", "    health_routes,\n    letter_routes,\n)"),
        (
            "from tinymlops.server.routes.outcomes",
            "from tinymlops.server.routes.letters import letter_routes\nfrom tinymlops.server.routes.outcomes",
        ),
    ],
}
"""What stands in a table of its kind: a line for each noun, and the import that it needs."""


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the two packages with a noun more; as many files as are named above were touched."""
    tree = tmp_path_factory.mktemp("extended")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tinymlops", tree / "tinymlops", ignore=ignore)
    shutil.copytree(ROOT / "cli", tree / "cli", ignore=ignore)
    for name, text in NEW.items():
        (tree / name).write_text(text)
    for name, lines in LINES.items():
        text = (tree / name).read_text()
        for before, after in lines:
            assert text.count(before) == 1, (name, before)
            text = text.replace(before, after)
        (tree / name).write_text(text)
    return tree


def test_a_new_noun_costs_its_own_modules_and_a_line_in_their_tables(extended):
    copies = chain((extended / "tinymlops").rglob("*.py"), (extended / "cli").rglob("*.py"))
    names = [path.relative_to(extended).as_posix() for path in copies]
    touched = [
        one for one in names if not (ROOT / one).exists() or (ROOT / one).read_text() != (extended / one).read_text()
    ]
    assert sorted(touched) == sorted([*NEW, *LINES])
    assert (len(NEW), len(LINES)) == (4, 5)


SEEN = """
import os, sqlite3, time
from contextlib import closing
from pathlib import Path
import typer
from litestar.testing import TestClient
from typer.testing import CliRunner
import tinymlops as tm
from tinymlops.errors import IntegrityError
from tinymlops.stores.doctor import check

def levels(ws):
    return {one.check: one.detail for one in check(ws._environment, lambda _: None) if one.level == "damaged"}

with tm.connect("shop.tm", create=True) as ws:
    letter = ws.letters.add("letter", "Ada", b"scanned")
    path = ws._environment.blobs.path(letter.scan_sha256)
    os.utime(path, (0, 0))
    assert ws.gc(grace="1us").orphans == 0 and path.exists()
    assert levels(ws) == {}
    assert ws.sql("select name, customer from letters").rows() == [("letter", "Ada")]
    assert ("letters", "system") in ws.sql("show tables").rows()
    assert path.name in {Path(file.path).name for file in ws.backup("kept").files}
    client = TestClient(tm.create_app(ws, allowed_hosts=["testserver.local"]))
    assert [one["name"] for one in client.get("/v1/letters").json()] == ["letter"]

tm.restore("kept", "again.tm")
with tm.connect("again.tm") as ws:
    assert [one.customer for one in ws.letters.list()] == ["Ada"]

from tinymlops_cli import letters
from tinymlops_cli.app import app
done = CliRunner().invoke(app, ["letters", "list", "--workspace", "shop.tm"])
assert (done.exit_code, done.stdout) == (0, "letter\\n"), done.output
context = typer.Context(typer.main.get_command(app))
context.params = {"workspace_path": Path("shop.tm")}
assert letters.names(context, "l") == ["letter"]

with tm.connect("shop.tm") as ws:
    path.write_bytes(b"another")
    assert "scan of letter letter" in levels(ws)["files"]
    path.write_bytes(b"scanned")
    with closing(sqlite3.connect("shop.tm/meta.db")) as other, other:
        other.execute("UPDATE letters SET customer = 'Eve'")
    assert levels(ws) == {"rows": "the row with name='letter' in table letters is not what was written"}
    for refused in (lambda: ws.backup("damaged"), lambda: ws.gc()):
        try:
            refused()
        except IntegrityError as error:
            assert "table letters" in str(error)
        else:
            raise AssertionError("it was not noticed")
"""


def test_a_new_noun_is_seen_by_doctor_gc_backup_restore_sql_and_completion(extended, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SEEN],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PYTHONPATH": f"{extended}:{extended / 'cli'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
