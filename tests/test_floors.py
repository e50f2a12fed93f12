"""The floors: a module imports only from below its own, imports inside functions included."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
    """A copy of the two packages that a test may spoil."""
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
