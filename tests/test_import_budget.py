"""The cost of importing tinymlops: nothing heavy is loaded until a verb needs it."""

import json
import subprocess
import sys

import pytest

import tinymlops as tm

HEAVY = {
    *("numpy", "pandas", "pyarrow", "duckdb", "polars", "numba", "lmdb"),
    *("lancedb", "sqlite_utils", "sqlglot", "litestar", "uvicorn", "sklearn", "skops", "rich"),
    *("onnxruntime", "tokenizers"),
}

DEFINITIONS = """
import tinymlops as tm
project = tm.Project("shop", tz="Europe/Vienna")
customer = project.entity("customer", key="customer_id")

@project.source(timestamp="at", id="order", delay="15m")
def orders() -> str:
    return "select * from read_parquet('orders.parquet')"

@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    return {"spent": (orders["amount"] * 2).sum(window="30d", where=orders["paid"])}

@project.label(entity=customer, horizon="7d")
def buys(orders: tm.Rows) -> tm.Label:
    return (orders["amount"] > 0).last()

project.training_set("buyers", spine=orders, label=buys, features=[spending])
"""

HELP = """
import sys
from tinymlops_cli.main import main
for arguments in (["--help"], ["features", "online", "--help"], ["--version"]):
    sys.argv = ["tinymlops", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code
"""

READING = """
import os, sys
import tinymlops as tm
from tinymlops_cli.main import main
folder = sys.argv[1]
for arguments in (["runs", "list"], ["models", "list"], ["runs", "list", "--json"]):
    sys.argv = ["tinymlops", *arguments, "--workspace", folder]
    try:
        main()
    except SystemExit as end:
        assert not end.code
"""


def loaded(code, *arguments):
    """Return the heavy packages that a fresh interpreter holds after the code."""
    code += f"\nimport json, sys\nprint(json.dumps(sorted({HEAVY!r} & set(sys.modules))))"
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "code",
    [
        "import tinymlops",
        "import tinymlops as tm; dir(tm); tm.__version__",
        "import tinymlops as tm; tm.Project",
        "import tinymlops as tm; tm.Rows, tm.Features, tm.Label, tm.Inputs, tm.Schema, tm.TinyMLOpsError",
        DEFINITIONS,
        "import tinymlops_cli.main",
        HELP,
    ],
    ids=["import", "dir", "Project", "words of definitions", "definitions", "the command line", "its help"],
)
def test_nothing_heavy_is_loaded_by(code):
    assert loaded(code) == []


def test_commands_that_read_runs_and_models_load_no_frames(tmp_path):
    tm.connect(tmp_path / "shop.tm", create=True).close()
    assert loaded(READING, str(tmp_path / "shop.tm")) == ["lmdb"]


def test_the_measure_would_notice_a_heavy_package():
    assert "numpy" in loaded("import tinymlops, numpy")


def test_every_public_name_can_be_had():
    missing = [name for name in tm.__all__ if getattr(tm, name, None) is None]
    assert missing == []


def test_the_lazy_names_are_the_public_ones():
    assert set(tm._HOMES) | {"__version__"} == set(tm.__all__)
    assert dir(tm) == sorted(tm.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'tinymlops' has no attribute 'Projekt'"):
        tm.Projekt  # noqa: B018
