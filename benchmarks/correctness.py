"""Ask tinymlops and its peers the twenty questions of `cases.py`, and write what each answered into docs/benchmarks.md.

    python benchmarks/correctness.py          # needs `make bench-peers` for all of them
    python benchmarks/correctness.py --print  # leaves the page alone

Every peer is asked by the same code that is timed in `point_in_time.py`, three times, in a process of its own. A peer
without a feature that a case needs (created times, deletes, a strict boundary) answers without it, as its join would in a
training set.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from cases import CASES, REFUSED, Case
from peers import BY_NAME, OURS, SEGMENTS, Entry

if TYPE_CHECKING:
    from peers import Task

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- correctness: written by benchmarks/correctness.py -->", "<!-- correctness: end -->"
ASKED = 3
TITLES = {
    "tinymlops": "tinymlops",
    "DuckDB ASOF, tables": "DuckDB ASOF",
    "Polars join_asof with sort": "Polars join_asof",
    "pandas merge_asof with sort": "pandas merge_asof",
    "ClickHouse ASOF, memory tables": "ClickHouse ASOF",
    "Feast, DuckDB store": "Feast, DuckDB",
    "Feast, Dask store": "Feast, Dask",
}


def answer(entry: Entry, case: Case, folder: Path) -> Any:
    """Return what a peer answers: the values by spine row, "lost" for a row that did not come back, or an error."""
    task = case.write(folder)
    if task.deletes and entry is OURS:
        entry = SEGMENTS  # only a source can have deletes; two bare frames have none
    told: list[Any] = []
    for _ in range(ASKED):
        try:
            peer = entry.make()
            peer.load(task)
            told.append(_values(peer.read(peer.run()), task, pl.DataFrame(case.spine).height))
        except Exception as error:  # noqa: BLE001 - an error of any kind is an answer
            told.append({"error": type(error).__name__, "message": str(error)[:300]})
    return told[0] if all(one == told[0] for one in told) else {"varies": told}


def _values(result: pl.DataFrame, task: Task, rows: int) -> list[Any]:
    """Put a result in order; NaN is a peer's null."""
    by_row: dict[int, list[Any]] = {row: [] for row in range(rows)}
    for row, value in result.select("row", pl.col(task.values[0]).cast(pl.Float64).fill_nan(None)).iter_rows():
        by_row[row].append(value)
    return [found[0] if len(found) == 1 else found or "lost" for found in by_row.values()]


def cell(told: Any, right: Any) -> str:
    """Write an answer as a cell of the table."""
    if isinstance(told, dict) and "error" in told:
        return "right" if right == REFUSED else f"error: {told['error']}"
    if isinstance(told, dict):
        return "**varies**: " + " or ".join(sorted({_text(one) for one in told["varies"]}))
    return "right" if told == right else f"**{_text(told)}**"


def _text(values: Any) -> str:
    if isinstance(values, dict):
        return f"error: {values['error']}"
    return ", ".join(map(_word, values))


def _word(value: Any) -> str:
    match value:
        case None:
            return "null"
        case "lost":
            return "row lost"
        case list():
            return f"{len(value)} rows for one"
        case _:
            return f"{value:g}"


def table(answers: dict[str, list[Any]], versions: dict[str, str]) -> str:
    """Write the table in Markdown."""
    titles = [f"{TITLES[name]} {versions[name]}" for name in answers]
    lines = [f"| case | right | {' | '.join(titles)} |", "|" + "---|" * (2 + len(titles))]
    for i, case in enumerate(CASES):
        right = case.right if case.right == REFUSED else _text(case.right)
        cells = [cell(told[i], case.right) for told in answers.values()]
        lines.append(f"| {case.name} | {right}: {case.why} | {' | '.join(cells)} |")
    columns = [[cell(told[i], case.right) for i, case in enumerate(CASES)] for told in answers.values()]
    for title, mark in (("wrong answers", "**"), ("errors where there is an answer", "error")):
        counts = [str(sum(one.startswith(mark) for one in column)) for column in columns]
        lines.append(f"| {title} | of {len(CASES)} | {' | '.join(counts)} |")
    return "\n".join(lines)


def write_into(page: Path, text: str) -> None:
    """Put the table between the page's marks."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def ask_alone(entry: Entry) -> list[Any]:
    """Ask a peer everything, in a process of its own."""
    command = [str(entry.python), __file__, "--ask", entry.name]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{entry.name}: {done.stderr[-2000:]}")
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def ask(entry: Entry) -> list[Any]:
    """Ask a peer everything, in this process."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        return [answer(entry, case, Path(folder) / str(i)) for i, case in enumerate(CASES)]


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--print", action="store_true", help="leave docs/benchmarks.md alone")
    parser.add_argument("--ask", choices=list(TITLES), help="ask one peer in this process and print JSON")
    options = parser.parse_args()
    if options.ask:
        print(json.dumps(ask(BY_NAME[options.ask])))
        return
    from harness import RESULTS, version_of

    entries = [BY_NAME[name] for name in TITLES if BY_NAME[name].available]
    if len(entries) < len(TITLES):
        sys.exit("some peers are not installed: `make bench-peers`")
    answers = {entry.name: ask_alone(entry) for entry in entries}
    versions = {entry.name: version_of(entry) for entry in entries}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "correctness.json").write_text(json.dumps({"versions": versions, "answers": answers}, indent=1))
    text = table(answers, versions)
    print(text)
    if not options.print:
        write_into(PAGE, text)


if __name__ == "__main__":
    main()
