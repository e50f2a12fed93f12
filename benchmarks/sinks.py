"""How fast a sink writes predictions and features to PostgreSQL, beside ADBC's bare ingest of the same rows.

    python benchmarks/sinks.py --rows 200000

It runs a server of its own from Debian's package. Ratios are what to read: the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import adbc_driver_postgresql.dbapi as dbapi
import polars as pl
from inside import database_of
from postgres_server import Server, running
from sunk_shop import MODEL, predict

import tinymlops as tm
from tinymlops.records import ModelVersion

BARE = """create table bare (id text primary key, model text, version bigint, at timestamptz, sequence bigint,
    request text, features text, output text)"""


def seconds(work: Callable[[], Any]) -> float:
    """Return how long something takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def project_of(rows: int) -> tm.Project:
    """Return a project with a view of as many keys, and two sinks."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")
    number = pl.int_range(rows, eager=True)

    @project.source(timestamp="at", id="order")
    def orders() -> pl.DataFrame:
        at = pl.lit(datetime(2026, 1, 1, tzinfo=UTC)).cast(pl.Datetime("us", "UTC")).alias("at")
        return pl.DataFrame({"order": number, "customer": number, "amount": number * 0.25}).with_columns(at)

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"last_amount": orders["amount"].last(), "orders_30d": orders.count(window="30d")}

    project.sink("scores", predictions=MODEL, connection="shop", table="scores", create=True)
    project.sink("spent", features=spending, connection="shop", table="spent", create=True)
    return project


def bare(server: Server, table: Any) -> float:
    """Write rows by the driver alone, into a table with the same key, in one transaction."""
    server.sql("drop table if exists bare", BARE)

    def work() -> None:
        with dbapi.connect(server.url("owner", "")) as connection, connection.cursor() as cursor:
            cursor.adbc_ingest("bare", table, mode="append")
            connection.commit()

    return seconds(work)


def measure(server: Server, ws: tm.Workspace, rows: int) -> dict[str, float]:
    """Write everything, then nothing new, then a hundredth more."""
    database = database_of(ws)
    with database.write(actor=None) as tx:
        now = datetime.now(UTC)
        version = {"run": "", "logged_name": "model", "manifest_sha256": "0" * 64, "registered_at": now}
        tx.insert(ModelVersion(name=MODEL, version=1, **version))
    predict(database, *(f"{one:012}" for one in range(rows)))
    table = ws.sql("select * from predictions").to_arrow(compat_level=pl.CompatLevel.oldest())
    plain = statistics.median(bare(server, table) for _ in range(3))
    found = {"bare_ingest_s": plain, "sink_all_s": seconds(lambda: ws.sinks.run("scores"))}
    found["share_of_bare"] = plain / found["sink_all_s"]
    found["rows_per_second"] = rows / found["sink_all_s"]
    found["sink_nothing_new_s"] = seconds(lambda: ws.sinks.run("scores"))
    predict(database, *(f"x{one:012}" for one in range(rows // 100)))
    found["sink_1_percent_s"] = seconds(lambda: ws.sinks.run("scores"))
    found["sink_full_s"] = seconds(lambda: ws.sinks.run("scores", full=True))
    found["features_all_s"] = seconds(lambda: ws.sinks.run("spent"))
    found["features_again_s"] = seconds(lambda: ws.sinks.run("spent"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running() as server:
        folder = Path(name)
        (folder / "tinymlops.toml").write_text('[connections.shop]\nurl = "env:SHOP_URL"\n')
        os.environ["SHOP_URL"] = server.url("owner", "")
        with tm.connect(folder / "shop.tm", create=True) as ws:
            ws.apply(project_of(asked.rows))
            ws.ingest()
            result = measure(server, ws, asked.rows)
    print(json.dumps({"rows": asked.rows, **{name: round(value, 4) for name, value in result.items()}}, indent=2))


if __name__ == "__main__":
    main()
