"""The linter finds nothing in the flights example: three weeks of it, and every definition run twice."""

import importlib.util
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from command_line import projects_forgotten

import tinymlops as tm
from tinymlops.features.definitions.code import import_modules

FLIGHTS = Path(__file__).parent.parent / "examples" / "flights"
UNTIL = datetime(2013, 1, 22, tzinfo=UTC)


def test_nothing_is_found_in_the_flights_example(tmp_path):
    spec = importlib.util.spec_from_file_location("flights_prepare", FLIGHTS / "prepare.py")
    prepare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prepare)
    prepare.prepare(tmp_path / "data", say=lambda line: None)
    for table, time in (("departures", "predict_at"), ("landings", "landed_at"), ("weather", "time_hour")):
        file = tmp_path / "data" / f"{table}.parquet"
        pl.read_parquet(file).filter(pl.col(time) < UNTIL).write_parquet(file)
    for name in ("flights.py", "tinymlops.toml"):
        shutil.copy(FLIGHTS / name, tmp_path / name)
    with projects_forgotten(), tm.connect(tmp_path / "flights.tm", create=True, root=tmp_path) as ws:
        (module,) = import_modules(["flights"], tmp_path)
        ws.apply(module.project)
        ws.ingest()
        report = ws.lint(replay=40, pure=True)
    assert report.findings == []
    assert (report.replayed, report.training_sets, report.run_twice) == (40, ["delays"], 13)
