"""How fast an incremental read of PostgreSQL is beside ADBC's bare read of the same rows.

    python benchmarks/connections.py --rows 1000000 --new 100000

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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import adbc_driver_postgresql.dbapi as dbapi
from connected_shop import define
from postgres_server import Server, running

import tinymlops as tm
from tinymlops.config import ConnectionConfig
from tinymlops.connectors.addresses import address_of
from tinymlops.connectors.connector import Asked
from tinymlops.connectors.opening import connector_of

TABLE = """create table orders as select n as order_id, (n % 50000)::int as customer, (n % 977) * 1.25::float8 as amount,
    md5(n::text) as code, n % 3 = 0 as paid, timestamptz '2026-01-01' + n * interval '1 second' as at,
    now() - interval '9 days' as updated_at from generate_series(1, {rows}) n"""
NEW = """insert into orders select n, (n % 50000)::int, (n % 977) * 1.25, md5(n::text), n % 3 = 0,
    timestamptz '2026-01-01' + n * interval '1 second', now() from generate_series({first}, {last}) n"""


def timed(work: Callable[[], Any], times: int = 5) -> tuple[float, Any]:
    """Return the median seconds, and the last result."""
    spent = []
    for _ in range(times):
        begun = time.perf_counter()
        result = work()
        spent.append(time.perf_counter() - begun)
    return statistics.median(spent), result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, running() as server:
        folder = Path(name)
        server.sql(
            TABLE.format(rows=asked.rows),
            "alter table orders add primary key (order_id)",
            "create index on orders (updated_at)",
            "analyze orders",
            "grant select on all tables in schema public to reader",
        )
        os.environ["SHOP_URL"] = server.url()
        project = define(folder, "env:SHOP_URL", cursor="updated_at", overlap="1h")
        with tm.connect(folder / "shop.tm", create=True) as ws:
            ws.apply(project)
            first, _ = timed(ws.ingest, 1)
            # The cursor then stands at the end, and a read takes what is new.
            server.sql(NEW.format(first=asked.rows + 1, last=asked.rows + 1))
            ws.ingest()
            server.sql(NEW.format(first=asked.rows + 2, last=asked.rows + asked.new), "analyze orders")
            result = measure(server)
            second, _ = timed(ws.ingest, 1)
    result |= {"rows": asked.rows, "new": asked.new, "first_ingest_s": first, "ingest_of_new_s": second}
    print(json.dumps({name: round(value, 4) for name, value in result.items()}, indent=2))


def measure(server: Server) -> dict[str, float]:
    """Read the new rows by our connector and by the bare driver."""
    sql = "select * from orders where updated_at >= now() - interval '1 hour'"

    def bare() -> Any:
        with dbapi.connect(server.url(), autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetch_arrow_table()

    since = datetime.now(UTC) - timedelta(hours=1)
    address = address_of("shop", {"shop": ConnectionConfig(url="env:SHOP_URL")}, Path("/"))
    connector = connector_of(address, timeout=10**9)
    ours, read = timed(lambda: connector.read(Asked("orders", cursor="updated_at", since=since)))
    plain, table = timed(bare)
    assert read.frame.height == table.num_rows
    return {"bare_read_s": plain, "our_read_s": ours, "share_of_bare": plain / ours}


if __name__ == "__main__":
    main()
