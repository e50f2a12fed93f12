"""A plugin of pytest: figures of the torture tests, as a table at the end of the run, and each as a JSON file under `results/`
if it was the whole.
"""

import json
import os
from pathlib import Path

import pytest

FULL = os.environ.get("TINYMLOPS_TORTURE") == "full"
RESULTS = Path(__file__).with_name("results")
_recorded = {}


def record(name, **figures):
    """Print the figures of a test at the end; the full version also stores them."""
    _recorded[name] = figures
    if FULL:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


def _table():
    """Return the lines to print."""
    width = max(map(len, _recorded), default=0)
    for name, figures in _recorded.items():
        shown = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in figures.items() if _is_number(value))
        yield f"{name.replace('_', ' '):<{width}}  {shown}"


def _is_number(value):
    return isinstance(value, int | float)


def pytest_sessionfinish(session):
    """Hand the figures of a process of pytest-xdist to the one that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["torture"] = _recorded


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take the figures of another process."""
    _recorded.update(getattr(node, "workeroutput", {}).get("torture", {}))


def pytest_terminal_summary(terminalreporter):
    """Print the table."""
    lines = list(_table())
    if lines:
        terminalreporter.section("torture")
        for line in lines:
            terminalreporter.write_line(line)
