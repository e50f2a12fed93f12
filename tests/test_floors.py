"""The floors: a module imports only from below its own, imports inside functions included."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SQL = re.compile(
    r"\b(SELECT\b.*\bFROM|SELECT (EXISTS|DISTINCT|count)|INSERT (OR \w+ )?INTO|UPDATE \S+ SET|DELETE FROM|CREATE TABLE"
    r"|PRAGMA|WHERE \S+ (=|<|>|IN|IS|NOT)|(ORDER|GROUP) BY)",
    re.DOTALL,
)
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(folder):
    """Run the contracts of a pyproject.toml over the packages beside it, without the shared cache."""
    environment = {"PATH": "", "PYTHONPATH": f"{folder}:{folder / 'cli'}", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [str(LINTER), "--config", str(folder / "pyproject.toml"), "--no-cache"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def tree(tmp_path):
    """A copy of the two packages that a test may change."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tinymlops", tmp_path / "tinymlops", ignore=ignore)
    shutil.copytree(ROOT / "cli", tmp_path / "cli", ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def spoil(tree, module, code):
    with (tree / module).open("a") as file:
        file.write(f"\n\n{code}\n")


def test_the_tree_keeps_its_contracts():
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 broken" in result.stdout


def test_an_import_from_a_higher_floor_inside_a_function_breaks_them(tree):
    spoil(
        tree,
        "tinymlops/kernels/drift.py",
        "def lazily() -> object:\n    import tinymlops.stores.blobs as up\n    return up",
    )
    result = lint(tree)
    assert result.returncode == 1
    assert "tinymlops.kernels is not allowed to import tinymlops.stores" in result.stdout
    assert "tinymlops.kernels.drift -> tinymlops.stores.blobs" in result.stdout


def test_an_import_for_typing_only_counts_too(tree):
    code = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tinymlops.features.definitions.project import Project"
    spoil(tree, "tinymlops/stores/blobs.py", code)
    result = lint(tree)
    assert result.returncode == 1
    assert "tinymlops.stores.blobs -> tinymlops.features.definitions.project" in result.stdout


def test_a_cycle_of_siblings_inside_functions_breaks_them(tree):
    spoil(
        tree,
        "tinymlops/kernels/drift.py",
        "def there() -> object:\n    import tinymlops.kernels.asof as a\n    return a",
    )
    spoil(
        tree,
        "tinymlops/kernels/asof.py",
        "def back() -> object:\n    import tinymlops.kernels.drift as d\n    return d",
    )
    result = lint(tree)
    assert result.returncode == 1
    assert re.search(r"Siblings have no cycles\s+BROKEN", result.stdout)


@pytest.mark.parametrize(
    ("room", "module", "of"),
    [
        ("join/search.py", "tinymlops.features.compute.arranged", "tinymlops.features.compute"),
        ("compute/views.py", "tinymlops.features.context", "tinymlops.features.context"),
    ],
)
def test_a_room_of_features_imports_only_from_the_rooms_before_it(tree, room, module, of):
    spoil(tree, f"tinymlops/features/{room}", f"def lazily() -> object:\n    import {module} as up\n    return up")
    result = lint(tree)
    assert result.returncode == 1
    source = f"tinymlops.features.{room.partition('/')[0]}"
    assert f"{source} is not allowed to import {of}" in result.stdout


def test_every_package_of_the_library_stands_on_a_floor():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = next(c["layers"] for c in config["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    named = {layer.strip("()") for layer in layers}
    packages = {f"tinymlops.{path.parent.name}" for path in (ROOT / "tinymlops").glob("*/__init__.py")}
    assert packages <= named


def test_the_architecture_page_names_every_floor_there_is():
    page = (ROOT / "docs" / "architecture.md").read_text()
    packages = [f"`tinymlops/{path.parent.name}/`" for path in (ROOT / "tinymlops").glob("*/__init__.py")]
    assert [package for package in packages if package not in page] == []


def sql_outside(folder):
    """Return the places above the registry with SQL over the database, or a write that bypasses `Scope`."""
    found = []
    for path in [*(folder / "tinymlops").rglob("*.py"), *(folder / "cli").rglob("*.py")]:
        name = path.relative_to(folder).as_posix()
        if not name.startswith(("tinymlops/stores/", "tinymlops/registry/")):
            nodes = list(ast.walk(ast.parse(path.read_text())))
            prose = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            found += [f"{name}:{text.lineno}" for text in texts if id(text) not in prose and SQL.search(text.value)]
            found += [
                f"{name}:{node.value.lineno}"
                for node in nodes
                if isinstance(node, ast.keyword) and node.arg == "actor" and isinstance(node.value, ast.Constant)
            ]
    return found


def test_sql_stands_in_the_stores_and_the_registry_alone():
    assert sql_outside(ROOT) == []


@pytest.mark.parametrize(
    "code",
    [
        'ROWS = "SELECT name FROM runs"',
        'def rows(database: Any, n: int) -> Any:\n    return database.select(Run, f"WHERE n < {n} ORDER BY n")',
        'def write(database: Any) -> Any:\n    return database.write(actor="somebody")',
    ],
)
def test_sql_elsewhere_is_found(tree, code):
    spoil(tree, "tinymlops/serving/log.py", code)
    (where,) = {one.partition(":")[0] for one in sql_outside(tree)}
    assert where == "tinymlops/serving/log.py"


def test_a_private_module_of_another_package_breaks_them(tree):
    code = "def there() -> object:\n    import tinymlops.stores._gate as gate\n    return gate"
    spoil(tree, "tinymlops/features/standing.py", code)
    spoil(
        tree, "cli/tinymlops_cli/rows.py", "def there() -> object:\n    import tinymlops._warn as warn\n    return warn"
    )
    result = lint(tree)
    assert result.returncode == 1
    assert "tinymlops.features.standing -> tinymlops.stores._gate" in result.stdout
    assert "tinymlops_cli.rows -> tinymlops._warn" in result.stdout
