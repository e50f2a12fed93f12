"""What definitions cost once there are many of them; each figure beside what it may be.

Run it alone: `python benchmarks/catalog_lineage.py`.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import tinymlops as tm
from harness import Report

RUNS = 21
SOURCES, VIEWS, FEATURES = 100, 10, 8
LINEAGE_MS = 200.0
QUERY = """
select customer, seen, c0 + c1 as c0, c2 * {number} as c1, sum(c3) over (partition by customer order by seen) as c2
from s{number} where c4 > 0
"""


def main() -> None:
    """Run the benchmark."""
    report = Report("catalog_lineage")
    nodes, taken = figures()
    assert nodes >= 10_000, nodes
    report.say(f"lineage over {nodes:,} nodes; {LINEAGE_MS:.0f} ms are allowed")
    for what, ms in taken.items():
        report.rows.append({"task": "lineage", "what": what, "nodes": nodes, "ms": ms, "allowed_ms": LINEAGE_MS})
        report.say(f"  {what:48}{ms:9.1f} ms")
    report.save()


def figures(*, sources: int = SOURCES) -> tuple[int, dict[str, float]]:
    """Return the number of nodes, and milliseconds of the first answer of a process and of later ones."""
    with tempfile.TemporaryDirectory() as folder, tm.connect(Path(folder) / "big.tm", create=True) as ws:
        ws.apply(many_definitions(sources))
        taken = {"the first of a process, SQL read": milliseconds(lambda: ws.lineage("s0.c0", downstream=True))}
        nodes = len(ws.lineage())
        for what, reference, side in (
            ("a column, downstream", "s0.c0", {"downstream": True}),
            ("a training set, upstream", "ts0", {"upstream": True}),
            ("everything", None, {}),
        ):
            runs = [milliseconds(lambda asked=(reference, side): ws.lineage(asked[0], **asked[1])) for _ in range(RUNS)]
            taken[what] = statistics.median(runs)
    return nodes, taken


def many_definitions(sources: int = SOURCES) -> tm.Project:
    """Return a project of many sources, half of them with a transformation in SQL, and views, labels and training sets."""
    names: dict[str, object] = {"tm": tm, "datetime": __import__("datetime").datetime}
    exec(_text(sources), names)  # a definition's source is named by its parameter
    project = names["project"]
    assert isinstance(project, tm.Project)
    return project


def _text(sources: int) -> str:
    columns = ", ".join(f'"c{number}": float' for number in range(8))
    lines = ['project = tm.Project("big")', 'customer = project.entity("customer", key="customer")']
    for number in range(sources):
        lines += [
            '@project.source(timestamp="seen")',
            f"def s{number}() -> tm.Schema:",
            f'    return {{"customer": str, "seen": datetime, {columns}}}',
        ]
        if number % 2 == 0:
            lines += [
                '@project.transformation(timestamp="seen")',
                f"def t{number}(s{number}: tm.Rows) -> str:",
                f"    return {QUERY!r}.format(number={number})",
            ]
        for view in range(VIEWS):
            derived = number % 2 == 0 and view % 2
            source, width = (f"t{number}", 3) if derived else (f"s{number}", 8)
            made = ", ".join(
                f'"f{one}": {source}["c{one % width}"].mean(window="{one + 1}d", where={source}["c0"] > 0)'
                for one in range(FEATURES)
            )
            lines += [
                "@project.feature_view(entity=customer)",
                f"def v{number}_{view}({source}: tm.Rows) -> tm.Features:",
                f"    return {{{made}}}",
            ]
        views = ", ".join(f'v{number}_{view}.on("customer", prefix="p{view}_")' for view in range(VIEWS))
        lines += [
            '@project.label(entity=customer, horizon="1d")',
            f"def l{number}(s{number}: tm.Rows) -> tm.Label:",
            f'    return (s{number}["c0"] > 0).last()',
            f'project.training_set("ts{number}", spine=s{number}, label=l{number}, features=[{views}])',
        ]
    return "\n".join(lines)


def milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return (time.perf_counter() - begun) * 1_000


if __name__ == "__main__":
    main()
