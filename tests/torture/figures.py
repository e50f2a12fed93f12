"""Figures of the torture tests: a table at the end of the run, and a JSON file each under `results/` if it was the whole."""

import json
import os
from pathlib import Path

FULL = os.environ.get("TINYMLOPS_TORTURE") == "full"
RESULTS = Path(__file__).with_name("results")
_recorded = {}


def record(name, **figures):
    """Print the figures of a test at the end; the full version also stores them."""
    _recorded[name] = figures
    if FULL:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n")


def recorded():
    """Return the figures of this process."""
    return dict(_recorded)


def add(figures):
    """Take the figures of another process."""
    _recorded.update(figures)


def table():
    """Return the lines to print."""
    width = max(map(len, _recorded), default=0)
    for name, figures in _recorded.items():
        shown = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in figures.items() if _is_number(value))
        yield f"{name.replace('_', ' '):<{width}}  {shown}"


def _is_number(value):
    return isinstance(value, int | float)
