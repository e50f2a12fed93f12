"""What `plan` and `apply` cost for 1,000 definitions, and for 1,000 of Python code; a plan may take a second.

Run it alone: `python benchmarks/catalog_plan.py`.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median

import tinymlops as tm
from harness import Report

SOURCES, VIEWS, RUNS = 100, 9, 9
PYTHON, HELPERS = 1_000, 50
ALLOWED_MS = 1_000.0


def project_of(window: str = "7d", *, sources: int = SOURCES) -> tm.Project:
    """Return sources with nine views each; the first view has this window."""
    lines = ['project = tm.Project("big")', 'customer = project.entity("customer", key="customer")']
    for number in range(sources):
        lines += [
            '@project.source(timestamp="at", id="id")',
            f"def source_{number}() -> tm.Schema:",
            '    return {"id": int, "customer": int, "at": datetime, "amount": float}',
        ]
        for view in range(VIEWS):
            chosen = window if number == view == 0 else "7d"
            lines += [
                "@project.feature_view(entity=customer)",
                f"def view_{number}_{view}(source_{number}: tm.Rows) -> tm.Features:",
                f'    return {{"spent_{number}_{view}": source_{number}["amount"].sum(window="{chosen}")}}',
            ]
    names: dict[str, object] = {"tm": tm, "datetime": datetime}
    exec("\n".join(lines), names)  # a view's source is named by its parameter
    project = names["project"]
    assert isinstance(project, tm.Project)
    return project


def python_project(folder: Path) -> tm.Project:
    """Return 1,000 Python sources in a module, which call 50 helpers of another; each calls the one before it."""
    helpers = ["import polars as pl", "SCALE = {'a': 1, 'b': 2}", "def helper_0(n: int) -> pl.DataFrame:"]
    helpers.append("    return pl.DataFrame({'n': [n * SCALE['a']]})")
    for number in range(1, HELPERS):
        helpers += [f"def helper_{number}(n: int) -> pl.DataFrame:", f"    return helper_{number - 1}(n + {number})"]
    lines = ["import polars as pl", "import tinymlops as tm", "import plan_helpers", 'project = tm.Project("python")']
    for number in range(PYTHON):
        lines += [
            '@project.source(timestamp="at")',
            f"def python_{number}() -> pl.DataFrame:",
            f"    return plan_helpers.helper_{number % HELPERS}({number})",
        ]
    (folder / "plan_helpers.py").write_text("\n".join(helpers) + "\n")
    (folder / "plan_sources.py").write_text("\n".join(lines) + "\n")
    sys.path.insert(0, str(folder))
    project = importlib.import_module("plan_sources").project
    assert isinstance(project, tm.Project)
    return project


def milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1e3


def figures(*, sources: int = SOURCES) -> tuple[int, dict[str, float]]:
    """Return the number of definitions, and milliseconds of each task."""
    first, changed = project_of(sources=sources), project_of("8d", sources=sources)
    with tempfile.TemporaryDirectory() as folder, tm.connect(Path(folder) / "big.tm", create=True) as ws:
        taken = {"plan of all as new": milliseconds(lambda: ws.plan(first))}
        taken["apply of all"] = milliseconds(lambda: ws.apply(first))
        for what, project in (("plan, nothing changed", first), ("plan, one view changed", changed)):
            taken[what] = median(milliseconds(lambda project=project: ws.plan(project)) for _ in range(RUNS))
        with tm.connect(Path(folder) / "python.tm", create=True) as other:
            project = python_project(Path(folder))
            taken["plan of 1,000 Python sources as new"] = milliseconds(lambda: other.plan(project))
            other.apply(project)
            taken["plan of them, nothing changed"] = median(
                milliseconds(lambda: other.plan(project)) for _ in range(RUNS)
            )
        return len(ws.catalog.list()), taken


def main() -> None:
    """Run the benchmark."""
    report = Report("catalog_plan")
    definitions, taken = figures()
    report.say(f"{definitions:,} definitions; a plan may take {ALLOWED_MS:.0f} ms")
    for what, ms in taken.items():
        report.rows.append({"what": what, "ms": ms})
        report.say(f"  {what:38}{ms:9.1f} ms")
    report.save()


if __name__ == "__main__":
    main()
