"""What the catalog and the law over definitions cost: one function a figure.

Run it alone: `python benchmarks/catalog.py` (needs `examples/flights/data`, which `make demo` writes).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

FLIGHTS = Path(__file__).parent.parent / "examples" / "flights"


def lint_of_flights() -> float:
    """Return the seconds that a lint of the flights example takes, with a replay of 200 rows: at most 20."""
    import tinymlops as tm

    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        shutil.copytree(FLIGHTS / "data", root / "data")
        sys.path.insert(0, str(FLIGHTS))
        from flights import project

        with tm.connect(root / "flights.tm", create=True) as ws:
            ws.apply(project)
            ws.ingest()
            begun = time.perf_counter()
            report = ws.lint(replay=200)
            seconds = time.perf_counter() - begun
    if not report.clean or report.replayed != 200:
        raise SystemExit(f"the flights example is not clean:\n{report}")
    return seconds


def main() -> None:
    """Print every figure beside its target."""
    for name, target, figure in [("lint of flights, 200 rows replayed", 20.0, lint_of_flights)]:
        print(f"{name:<40}{figure():>8.2f} s   (at most {target:.0f} s)")


if __name__ == "__main__":
    main()
