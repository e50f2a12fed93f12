"""An unmodified client of MLflow, with all that it brings, asks a server: `make conformance`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinymlops as tm

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from network import Server  # noqa: E402 - a module of the tests beside this directory

PYTHON = ROOT / os.environ.get("MLFLOW", ".venv-mlflow") / "bin" / "python"
STEPS = re.findall(r"^@step\ndef (\w+)", (HERE / "mlflow_client.py").read_text(), re.MULTILINE)

if not PYTHON.exists():
    pytest.skip(f"make conformance makes {PYTHON}", allow_module_level=True)


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each step said."""
    path = tmp_path_factory.mktemp("conformance") / "shop.tm"
    with tm.connect(path, create=True) as ws:
        token = ws.tokens.create("trainer", "admin").token
    with Server(path) as server:
        asked = subprocess.run(
            [PYTHON, HERE / "mlflow_client.py", server.url],
            capture_output=True,
            text=True,
            timeout=900,
            env={**os.environ, "MLFLOW_TRACKING_TOKEN": token, "PYTHONPATH": ""},
        )
    lines = [json.loads(line) for line in asked.stdout.splitlines() if line.startswith("{")]
    assert lines, asked.stderr
    print(f"\nMLflow {lines[0]['version']}")
    for one in lines[1:]:
        print(f"  {one['step']:24} {'failed' if one['error'] else 'as expected':12} {one['seconds']:6.2f} s")
    with tm.connect(path) as ws:
        assert {one.origin for one in ws.runs.search(limit=None)} == {"http"}
    return {one["step"]: one for one in lines[1:]}


@pytest.mark.parametrize("step", STEPS)
def test_the_client_gets_what_it_expects(said, step):
    assert said[step]["error"] is None, said[step]["error"]


def test_the_page_lists_every_call_of_the_client_as_spoken_or_refused(said):
    text = (ROOT / "docs" / "mlflow.md").read_text().partition("## The client, call by call")[2]
    listed = set(re.findall(r"`([a-z_]+)`", text.partition("| path | why |")[0]))
    missing = set(said["calls"]["answer"]) - listed
    assert missing == set()
