"""Feast with its online store in SQLite: materialize, then read; run by `benchmarks/online.py` in Feast's environment.

Takes JSON: `folder` with `states.parquet` and `latest.parquet`, `keys` of reads, `calls`. Prints JSON: seconds to
materialize each, and microseconds of reads.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

os.environ["FEAST_USAGE"] = "False"  # it would report home

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64

END = datetime(2024, 2, 1, tzinfo=UTC)


def store_of(folder: Path, name: str, columns: list[str]) -> FeatureStore:
    """Make a store with one view over a file."""
    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(folder / f"{name}.registry.db"),
            offline_store={"type": "duckdb"},
            online_store={"type": "sqlite", "path": str(folder / f"{name}.online.db")},
            entity_key_serialization_version=3,
        )
    )
    entity = Entity(name="user", join_keys=["user"])
    view = FeatureView(
        name="state",
        entities=[entity],
        schema=[Field(name=column, dtype=Float64) for column in columns],
        source=FileSource(path=str(folder / f"{name}.parquet"), timestamp_field="at"),
        online=True,
    )
    store.apply([entity, view])
    return store


def main() -> None:
    request: dict[str, Any] = json.loads(sys.argv[1])
    folder, columns = Path(request["folder"]), [f"f{i}" for i in range(8)]
    answer: dict[str, Any] = {}
    for name in ("many", "state"):
        store = store_of(folder, name, columns)
        begun = time.perf_counter()
        store.materialize(datetime(2023, 12, 1, tzinfo=UTC), END)
        answer[f"materialize_{name}"] = time.perf_counter() - begun
    wanted = [f"state:{column}" for column in columns]
    draw = random.Random(1)
    for count, calls in request["reads"]:
        spent = []
        for _ in range(calls):
            rows = [{"user": draw.randrange(request["keys"])} for _ in range(count)]
            begun = time.perf_counter()
            store.get_online_features(features=wanted, entity_rows=rows).to_dict()
            spent.append(time.perf_counter() - begun)
        answer[f"read_{count}"] = sorted(spent)[len(spent) // 2] * 1e6
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
