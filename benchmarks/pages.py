"""What pages cost: the server's time for each, the bytes of script and style, and the time until Chromium can be used.

python benchmarks/pages.py                # 1,000 definitions, 200 jobs' runs, 20,000 changes
python benchmarks/pages.py --quick        # small sizes, to see that it works
python benchmarks/pages.py --keep DIR     # make the workspace there once, and use it again

A part of the workspace is a function in `PARTS`, and the pages that show it are its value: others add theirs there.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from litestar.testing import TestClient

import tinymlops as tm
from catalog_lineage import many_definitions
from harness import Report
from pages_browser import measure_browser
from pages_models import PREDICTED, add_model, add_predictions, add_report, add_texts
from pages_runs import LONG, add_curves, add_runs, run_id
from tinymlops.records import JobAttempt, JobLog, JobRun, JobState
from tinymlops.server.pages.addresses import job_run_path
from tinymlops.times import system_clock

if TYPE_CHECKING:
    from collections.abc import Callable

LOCAL = "http://127.0.0.1:8000"
PAGE_MS, SEARCH_MS, BYTES = 100.0, 50.0, 150_000


class Sizes(NamedTuple):
    """How much of each there is."""

    sources: int = 75
    """Each has about 13 definitions."""
    jobs: int = 50
    runs: int = 400
    """Of each job."""
    changes: int = 20_000
    tracked: int = 10_000
    """Experiment runs."""
    points: int = 1_000_000
    """Of each of three curves."""
    predictions: int = 1_000_000
    rows: int = 40_000
    """Of the source behind a model, and of its spine."""
    texts: int = 20_000


class Look(NamedTuple):
    """A page that is timed."""

    path: str
    allowed_ms: float = PAGE_MS


def add_definitions(ws: tm.Workspace, sizes: Sizes) -> None:
    """Sources, transformations, views, labels and training sets."""
    ws.apply(many_definitions(sizes.sources), message="as a benchmark needs them")


def add_jobs(ws: tm.Workspace, sizes: Sizes) -> None:
    """Jobs of an hour, each with runs that succeeded, and a few that failed."""
    end = system_clock().replace(minute=0, second=0, microsecond=0)
    for job in range(sizes.jobs):
        name = f"job_{job}"
        with ws.jobs._scope.write(audit=None) as tx:  # noqa: SLF001 - rows as a runner leaves them
            tx.put(JobState(job=name, schedule="every 1h", through=end, seen_at=end))
            for number in range(sizes.runs):
                due = end - timedelta(hours=sizes.runs - number)
                state = "failed" if number % 50 == 7 else "succeeded"
                attempt = tx.insert(
                    JobAttempt(
                        job=name, due=due, number=1, state=state, started_at=due, ended_at=due + timedelta(minutes=2)
                    )
                )
                tx.insert(
                    JobRun(
                        job=name,
                        due=due,
                        state=state,
                        cause="schedule",
                        first=due,
                        attempt=attempt.id,
                        attempts=1,
                        not_before=due,
                        ended_at=due + timedelta(minutes=2),
                    )
                )
                if number > sizes.runs - 100:
                    tx.put(JobLog(attempt=attempt.id or 0, text="a line of a log\n" * 500))


def add_changes(ws: tm.Workspace, sizes: Sizes) -> None:
    """Entries of the audit log."""
    for start in range(0, sizes.changes, 1_000):
        with ws.jobs._scope.write(audit="inside") as tx:  # noqa: SLF001 - many entries in one commit
            for number in range(start, start + 1_000):
                tx.audit("job.start", f"job:job_{number % 50}", due=number)


def add_queries(ws: tm.Workspace, sizes: Sizes) -> None:
    """Saved queries."""
    for number in range(min(100, sizes.jobs)):
        ws.queries.save(f"query {number}", f"select {number}")


PARTS: dict[Callable[[tm.Workspace, Sizes], None], list[Look]] = {
    add_definitions: [
        Look("/"),
        Look("/catalog"),
        Look("/catalog?kind=view&first=300"),
        Look("/catalog?q=mean", SEARCH_MS),
        Look("/catalog?q=transfomation", SEARCH_MS),
        Look("/catalog/source/s0"),
        Look("/catalog/view/v0_1"),
        Look("/catalog/training-set/ts0"),
        Look("/catalog/feature/v0_1/f0"),
        Look("/lineage/source/s0"),
        Look("/lineage/entity/customer"),
        Look("/lineage/training-set/ts0"),
        Look("/lineage/source/s0?part=c0&down=feature_view:v0_0&down=training_set:ts0"),
    ],
    add_queries: [Look("/sql"), Look("/sql?table=s0"), Look("/sql?q=from+s0&chart=line")],
    add_jobs: [Look("/jobs"), Look("/jobs/job_0"), Look("/jobs/job_0?state=failed"), Look("{job_run}")],
    add_changes: [
        Look("/access"),
        Look("/access/audit"),
        Look("/access/audit?subject=job_7"),
        Look("/access/audit?who=nobody"),
        Look("/access/tokens"),
    ],
    add_runs: [
        Look("/runs"),
        Look("/runs?order=-metrics.m3.best"),
        Look("/runs?q=metrics.m3.best+%3E+0.9+and+params.depth+%3D+3"),
        Look("/runs?by=group"),
        Look("/runs?differs=1&first=5000"),
        Look("/runs/rows?first=5000&column=metrics.m1&column=params.depth"),
        Look(f"/runs/{run_id(0)}"),
        Look("/runs/compare?" + "&".join(f"run={run_id(number)}" for number in range(3))),
    ],
    add_curves: [
        Look(f"/runs/{LONG}"),
        Look(f"/runs/{LONG}/metric?name=loss0&start=500000&stop=600000"),
        Look(f"/runs/{LONG}/curve?name=loss0&pixels=1000"),
    ],
    add_model: [
        Look("/models"),
        Look("/models/delay"),
        Look("/models/delay/1"),
        Look("/try/delay"),
        Look("/lineage/model/delay:1"),
        Look("/lineage/source/orders?down=feature_view:spending"),
        Look("/training-sets"),
        Look("/training-sets/{build}"),
        Look("/training-sets/{build}?other={earlier}"),
    ],
    add_predictions: [
        Look("/predictions"),
        Look("/predictions?field=buyer&value=7"),
        Look(f"/predictions/{PREDICTED}"),
    ],
    add_report: [Look("/monitor"), Look("/monitor/delay"), Look("/catalog/feature/spending/spent_7d")],
    add_texts: [
        Look("/vectors"),
        Look("/vectors/words"),
        Look("/vectors/words?q=a+broken+parcel"),
        Look("/vectors/words?q=a+broken+parcel&mode=hybrid"),
    ],
}
"""What makes a part of the workspace, and the pages that show it."""


def timed(client: TestClient, path: str, runs: int) -> tuple[float, float, int]:
    """Return the milliseconds of the first answer and the median of later ones, and the page's bytes."""
    taken, size = [], 0
    for _ in range(runs + 1):
        begun = time.perf_counter()
        answer = client.get(path, headers={"accept": "text/html"})
        taken.append((time.perf_counter() - begun) * 1e3)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[-500:])
        size = len(answer.content)
    return taken[0], median(taken[1:]), size


def addresses(ws: tm.Workspace) -> dict[str, str]:
    """Return what stands in the braces of a path."""
    earlier, build = (ws.models.manifest(f"delay:{version}").training_set.id for version in (1, 2))
    return {"job_run": job_run_path("job_0", ws.jobs.get("job_0").due), "build": build, "earlier": earlier}


def weights(client: TestClient, paths: list[str]) -> dict[str, tuple[int, int]]:
    """Return the bytes of each script and style that pages name, plain and compressed."""
    found: dict[str, tuple[int, int]] = {}
    for page in paths:
        for path in re.findall(r'(?:src|href)="(/assets/[^"]+\.(?:js|css))"', client.get(page).text):
            content = client.get(path).content
            found[path.rpartition("/")[2]] = len(content), len(gzip.compress(content, mtime=0))
    return found


def built(folder: Path, sizes: Sizes) -> Path:
    """Make the workspace, if it is not there."""
    path = folder / f"pages-{'-'.join(map(str, sizes))}.tm"
    if not path.exists():
        with tm.connect(path, create=True) as ws:
            for add in PARTS:
                add(ws, sizes)
    return path


def measure(report: Report, path: Path, runs: int) -> list[str]:
    """Time every page of a workspace, as a server answers that has warmed its pages; return their addresses."""
    with tm.connect(path) as ws:
        names, paths = addresses(ws), list[str]()
    with tm.connect(path) as ws, TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        begun = time.perf_counter()
        client.app.state.warming.warm()
        report.say(f"\nthe pages are warm {time.perf_counter() - begun:.1f} s after the server has begun")
        report.say(f"{len(ws.catalog.list()):,} definitions; milliseconds on the server, median of {runs}")
        report.say(f"{'':76}{'first':>9}{'median':>9}{'at most':>9}{'kB':>7}")
        for look in (one for looks in PARTS.values() for one in looks):
            paths.append(look.path.format(**names))
            first, later, size = timed(client, paths[-1], runs)
            over = "  OVER" if later > look.allowed_ms else ""
            report.say(f"{look.path:76}{first:9.1f}{later:9.1f}{look.allowed_ms:9.0f}{size / 1e3:7.0f}{over}")
            report.rows.append(
                {"path": look.path, "first_ms": first, "ms": later, "allowed_ms": look.allowed_ms, "bytes": size}
            )
        found = weights(client, paths)
        report.say("\nscript and style, bytes (compressed)")
        for name, (plain, small) in found.items():
            report.say(f"{name:30}{plain:10,}{small:10,}")
            report.rows.append({"asset": name, "bytes": plain, "compressed": small})
        report.say(f"{'in all':30}{sum(plain for plain, _ in found.values()):10,} of {BYTES:,}")
    return paths


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where the workspace is made, and found again")
    parser.add_argument("--runs", type=int, default=9, help="timed answers of each page, after the first")
    options = parser.parse_args()
    sizes = Sizes(3, 2, 20, 1_000, 300, 30_000, 1_000, 4_000, 500) if options.quick else Sizes()
    report = Report("pages")
    report.say(f"load of the machine: {os.getloadavg()[0]:.1f}; begun {datetime.now().astimezone():%Y-%m-%d %H:%M}")
    with tempfile.TemporaryDirectory() as folder:
        path = built(options.keep or Path(folder), sizes)
        paths = measure(report, path, options.runs)
        measure_browser(report, path, paths)
    report.save()


if __name__ == "__main__":
    main()
