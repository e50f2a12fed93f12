"""The number of examples for a property, and the report of a long run: `make fuzz`.

`TINYMLOPS_FUZZ=8` runs eight times as many as `make test`, and reports the number for each property.
"""

import functools
import json
import os
import platform
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

from hypothesis import settings

SCALE = float(os.environ.get("TINYMLOPS_FUZZ", "0"))
settings.register_profile("patient", deadline=None)  # the time of an example means nothing on a busy machine
settings.load_profile("patient")

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results" / "fuzz.json"

tried = Counter()
"""Test to examples that ran to their end."""
steps = Counter()
"""Stateful test to steps that ran to their end; its runs are examples."""
cross_checks = Counter()
"""Test to columns of answers that another engine gave alike."""


def scaled(count, *, heavy=False):
    """Return the number of examples in `make test`, multiplied in `make fuzz`; for heavy ones, by the square root."""
    times = SCALE**0.5 if heavy and SCALE > 1 else SCALE or 1
    return max(1, round(count * times))


def examples(count, *, heavy=False, **options):
    """Run a property with that many examples, without a deadline; placed above `@given`.

    `heavy` ones make a workspace each, which takes as long as a hundred others.
    """

    def decorate(test):
        test = settings(max_examples=scaled(count, heavy=heavy), deadline=None, **options)(test)
        inner = test.hypothesis.inner_test

        @functools.wraps(inner)
        def counted(*args, **kwargs):
            inner(*args, **kwargs)
            tried[running()] += 1

        test.hypothesis.inner_test = counted
        return test

    return decorate


def count_steps(machine):
    """Count the stories of a stateful test that ran to their end as examples, and the steps of each."""
    begin, look, end = machine.__init__, machine.check_invariants, machine.teardown

    def counted_begin(self):
        begin(self)
        self.looks = 0

    def counted_look(self, *args):
        look(self, *args)
        self.looks += 1

    def counted_end(self):
        end(self)
        if sys.exc_info()[0] is None:
            tried[running()] += 1
            steps[running()] += self.looks - 1  # the first look is before any step

    machine.__init__, machine.check_invariants, machine.teardown = counted_begin, counted_look, counted_end
    return machine


def running():
    return os.environ["PYTEST_CURRENT_TEST"].rpartition(" ")[0]


def pytest_terminal_summary(terminalreporter, config):
    if SCALE < 1:
        return
    seed = config.getoption("--hypothesis-seed")
    terminalreporter.section("examples tried")
    counted = {"examples": tried, "steps": steps, "columns as another engine gives them": cross_checks}
    for title, counts in counted.items():
        for test, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count:>9,}  {test.removeprefix('tests/')}")
        terminalreporter.write_line(f"{counts.total():>9,}  {title} in all, seed {seed}")
    RESULTS.parent.mkdir(exist_ok=True)
    packages = ("tinymlops", "duckdb", "hypothesis", "numba", "numpy", "polars")
    RESULTS.write_text(
        json.dumps(
            {
                "seed": seed,
                "scale": SCALE,
                "passed": len(terminalreporter.stats.get("passed", [])),
                "failed": [report.nodeid for report in terminalreporter.stats.get("failed", [])],
                "examples": {"total": tried.total(), "by_test": dict(sorted(tried.items()))},
                "steps": {"total": steps.total(), "by_test": dict(sorted(steps.items()))},
                "cross_checks": {"total": cross_checks.total(), "by_test": dict(sorted(cross_checks.items()))},
                "versions": {
                    "python": platform.python_version(),
                    **{name: metadata.version(name) for name in packages},
                },
            },
            indent=2,
        )
        + "\n"
    )
