"""The wheel: it holds the library and the command, and nothing else at the top level."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tinymlops

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel as built by the environment's own hatchling: no network, no isolated environment."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return wheel.read(name).decode()


def test_the_top_level_is_the_library_the_command_and_the_metadata(wheel):
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert top == {"tinymlops", "tinymlops_cli", f"tinymlops-{tinymlops.__version__}.dist-info"}


def test_it_is_pure_python_for_any_platform(wheel):
    assert Path(wheel.filename).name == f"tinymlops-{tinymlops.__version__}-py3-none-any.whl"


@pytest.mark.parametrize("package", ["tinymlops", "tinymlops_cli"])
def test_both_packages_say_that_they_are_typed(wheel, package):
    assert f"{package}/py.typed" in wheel.namelist()


def test_every_module_of_the_tree_is_in_it(wheel):
    folders = {"tinymlops": ROOT, "tinymlops_cli": ROOT / "cli"}
    modules = {
        path.relative_to(parent).as_posix()
        for package, parent in folders.items()
        for path in (parent / package).rglob("*.py")
    }
    assert modules <= set(wheel.namelist())


def test_it_carries_what_the_pages_are_made_of(wheel):
    pages = ROOT / "tinymlops" / "server" / "pages"
    files = {path.relative_to(ROOT).as_posix() for name in ("templates", "assets") for path in (pages / name).iterdir()}
    display = ROOT / "tinymlops" / "display"
    files |= {path.relative_to(ROOT).as_posix() for path in (*display.glob("templates/*.html"), display / "style.css")}
    assert len(files) > 8
    assert files <= set(wheel.namelist())


def test_it_carries_the_projects_that_init_writes(wheel):
    flights = ROOT / "examples" / "flights"
    wanted = {f"flights/{path.name}" for path in flights.iterdir() if path.suffix in (".py", ".toml", ".md")}
    wanted |= {"minimal/features.py", "minimal/tinymlops.toml"}
    prefix = "tinymlops_cli/templates/"
    assert {name.removeprefix(prefix) for name in wheel.namelist() if name.startswith(prefix)} == wanted
    assert wheel.read(f"{prefix}flights/flights.py") == (flights / "flights.py").read_bytes()


def test_from_the_wheel_alone_init_writes_the_flights_example(wheel, tmp_path):
    wheel.extractall(tmp_path / "installed")
    code = "from tinymlops_cli.main import main; main()"
    arguments = ["init", str(tmp_path / "flights"), "--template", "flights"]
    environment = {"PYTHONPATH": str(tmp_path / "installed"), "PATH": "", "HOME": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    written = (tmp_path / "flights" / "flights.py").read_bytes()
    assert written == (ROOT / "examples" / "flights" / "flights.py").read_bytes()


def test_it_holds_no_caches_tests_or_workspaces(wheel):
    unwanted = ("__pycache__", ".pyc", "tests/", ".tm/", ".parquet")
    assert [name for name in wheel.namelist() if any(part in name for part in unwanted)] == []


def test_it_carries_the_license_and_the_command(wheel):
    names = wheel.namelist()
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    (entry_points,) = (name for name in names if name.endswith("dist-info/entry_points.txt"))
    assert "tinymlops = tinymlops_cli.main:main" in wheel.read(entry_points).decode()


def test_its_metadata_says_version_python_and_extras(wheel):
    lines = metadata(wheel).splitlines()
    assert f"Version: {tinymlops.__version__}" in lines
    assert "Requires-Python: >=3.11" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert "Provides-Extra: examples" in lines


def test_every_dependency_has_its_reason_in_the_architecture(wheel):
    required = {
        re.split("[=>]", line.split(": ")[1])[0]
        for line in metadata(wheel).splitlines()
        if line.startswith("Requires-Dist: ")
    }
    table = (ROOT / "docs" / "architecture.md").read_text()
    unexplained = {name for name in required if f"| {name} |" not in table and f"`{name}`" not in table}
    assert unexplained == set()
