"""Search by vectors: exact beside NumPy, DuckDB and LanceDB's flat scan, and by the index beside bare LanceDB.

python benchmarks/vectors.py --rows 100000            # exact
python benchmarks/vectors.py --rows 1000000 --index   # by the index
python benchmarks/vectors.py --neighbours             # of every row, each at its own time
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

import tinymlops as tm
from tinymlops_cli.machine import machine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DIMENSION = 384
K = 10
START = 1_577_836_800_000_000  # 2020
PART = 100_000


def main() -> None:
    """Run what the arguments say, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--index", action="store_true", help="search by the index too")
    parser.add_argument("--neighbours", action="store_true", help="of every row instead")
    parser.add_argument("--queries", type=int, default=20)
    arguments = parser.parse_args()
    print(machine(), "load", os.getloadavg())
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        if arguments.neighbours:
            of_all(Path(folder), arguments.rows)
        else:
            run(Path(folder), arguments.rows, arguments.queries, index=arguments.index)
    print(f"peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def run(folder: Path, rows: int, queries: int, *, index: bool) -> None:
    """Fill a workspace, open it, and time searches."""
    middles = np.random.default_rng(0).standard_normal((1_000, DIMENSION)).astype(np.float32)
    path = folder / "vectors.tm"
    filled(path, rows, middles)
    vectors = np.concatenate([part for _, part in parts(rows, middles)])
    chance = np.random.default_rng(9)
    asked = [noisy(middles[[n % 1_000]], chance)[0] for n in range(queries)]
    told("opening", timed(lambda: tm.connect(path).close(), 5))
    with tm.connect(path) as ws:
        exact(ws, vectors, asked, folder)
        if index:
            by_index(ws, vectors, asked, folder)
        late(ws, middles, rows)


def of_all(folder: Path, rows: int) -> None:
    """Find the five nearest of every row, as known at a later time of its own, beside NumPy's product alone."""
    middles = np.random.default_rng(0).standard_normal((1_000, DIMENSION)).astype(np.float32)
    path = folder / "vectors.tm"
    filled(path, rows, middles)
    vectors = np.concatenate([part for _, part in parts(rows, middles)])
    numbers = np.random.default_rng(5).permutation(rows)
    spine = pl.DataFrame(
        {"id": numbers, "at": pl.Series(rows * 1_000_000 + START + numbers).cast(pl.Datetime("us", "UTC"))}
    )
    with tm.connect(path) as ws:
        begun = time.perf_counter()
        found = ws.vectors.neighbours("near", spine, k=5, timestamp="at")
        told(f"neighbours of {rows:,} rows", [time.perf_counter() - begun])
    assert found.height == 5 * rows
    begun = time.perf_counter()
    for first in range(0, rows, 1_024):
        _ = vectors[first : first + 1_024] @ vectors.T
    told("NumPy: the products alone", [time.perf_counter() - begun])


def parts(rows: int, middles: Any) -> Iterator[tuple[int, Any]]:
    """Yield (first number, vectors) of parts."""
    for first in range(0, rows, PART):
        chance = np.random.default_rng(first + 1)
        count = min(PART, rows - first)
        yield first, noisy(middles[chance.integers(0, len(middles), count)], chance)


def noisy(vectors: Any, chance: Any) -> Any:
    """Return vectors near to others."""
    return (vectors + 0.5 * chance.standard_normal(vectors.shape)).astype(np.float32)


def frame_of(first: int, vectors: Any) -> pl.DataFrame:
    """Return rows, one a second, and one in three from Austria."""
    numbers = np.arange(first, first + len(vectors))
    return pl.DataFrame(
        {
            "id": numbers,
            "at": pl.Series(numbers * 1_000_000 + START).cast(pl.Datetime("us", "UTC")),
            "country": np.where(numbers % 3 == 0, "AT", "DE"),
            "v": pl.Series(vectors, dtype=pl.Array(pl.Float32, DIMENSION)),
        }
    )


project = tm.Project("vectors")
given = dict[str, pl.DataFrame]()


@project.source(timestamp="at", id="id")
def docs() -> pl.DataFrame:
    """Return the rows that come now."""
    return given["docs"]


project.embedding("near", source=docs, vector="v")


def filled(path: Path, rows: int, middles: Any) -> None:
    """Make a workspace with an embedding."""
    given["docs"] = frame_of(0, np.zeros((0, DIMENSION), np.float32))
    with tm.connect(path, create=True) as ws:
        ws.apply(project)
        begun = time.perf_counter()
        for first, vectors in parts(rows, middles):
            given["docs"] = frame_of(first, vectors)
            ws.ingest("docs")
        told("ingest", [time.perf_counter() - begun])
        begun = time.perf_counter()
        ws.vectors.follow()
        told("follow (image, and index if there are enough rows)", [time.perf_counter() - begun])
        print(ws.sql("select generation, refused, recall, probes, rows from vector_indexes").to_dicts())


def exact(ws: tm.Workspace, vectors: Any, asked: list[Any], folder: Path) -> None:
    """Compare exact searches, in turns, so that all have the same neighbours on the machine."""
    import duckdb

    lengths = np.linalg.norm(vectors, axis=1)
    half = pl.Series([START + 500_000 * len(vectors)]).cast(pl.Datetime("us", "UTC"))[0]
    places = np.flatnonzero(np.arange(len(vectors)) % 3 == 0)
    places = places[places <= len(vectors) // 2]
    flat = bare(folder, vectors, index=False)
    database = duckdb.connect(str(folder / "bare.duckdb"))
    database.execute(f"CREATE TABLE docs (id BIGINT, v FLOAT[{DIMENSION}])")
    for first in range(0, len(vectors), PART):
        batch = frame_of(first, vectors[first : first + PART]).select("id", "v").to_arrow()
        database.register("batch", batch)
        database.execute("INSERT INTO docs SELECT * FROM batch")
    sql = f"SELECT id FROM docs ORDER BY array_cosine_similarity(v, ?::FLOAT[{DIMENSION}]) DESC LIMIT {K}"
    where = tm.col("country") == "AT"
    in_turns(
        {
            "ours, exact": lambda q: ws.vectors.search("near", q, exact=True),
            "NumPy": lambda q: best_of(vectors, lengths, q),
            "ours, exact, at and where": lambda q: ws.vectors.search("near", q, at=half, where=where, exact=True),
            "NumPy, of the same rows": lambda q: best_of(vectors[places], lengths[places], q),
            "LanceDB, flat": lambda q: nearest_of(flat, q, "true"),
            "DuckDB": lambda q: database.execute(sql, [q.tolist()]).fetchall(),
        },
        asked,
    )
    for query in asked[:3]:
        found = ws.vectors.search("near", query, exact=True).to_polars()["id"].to_list()
        assert found == best_of(vectors, lengths, query).tolist(), "NumPy found others"
    database.close()


def by_index(ws: tm.Workspace, vectors: Any, asked: list[Any], folder: Path) -> None:
    """Compare searches by the index with bare LanceDB, for cuts of time."""
    (facts,) = ws.sql("select probes from vector_indexes").to_dicts()
    table = bare(folder, vectors, index=True)
    lengths = np.linalg.norm(vectors, axis=1)
    ws.vectors.search("near", asked[0])
    ws.vectors.search("near", asked[0])
    for share in (0.003, 0.03, 0.5, 1.0):
        many = max(K, int(share * len(vectors)))
        at = pl.Series([START + (many - 1) * 1_000_000]).cast(pl.Datetime("us", "UTC"))[0]
        name = f"{100 * share:g} %"
        in_turns(
            {
                f"ours, {name}": lambda q, at=at: ws.vectors.search("near", q, at=at),
                f"LanceDB, {name}": lambda q, many=many: nearest_of(table, q, f"id < {many}", facts["probes"]),
            },
            asked,
        )
        ours = theirs = 0
        for query in asked:
            right = set(best_of(vectors[:many], lengths[:many], query).tolist())
            found = ws.vectors.search("near", query, at=at)
            ours += len(right & set(found.to_polars()["id"].to_list()))
            theirs += len(right & set(nearest_of(table, query, f"id < {many}", facts["probes"])))
        every = K * len(asked)
        print(f"  recall@10 {name}: ours {ours / every:.4f} ({found.mode}), LanceDB {theirs / every:.4f}", flush=True)


def late(ws: tm.Workspace, middles: Any, rows: int) -> None:
    """Time how soon 10,000 new rows are found."""
    new = noisy(middles[np.arange(10_000) % 1_000], np.random.default_rng(77))
    given["docs"] = frame_of(rows, new)
    ws.apply(project)
    begun = time.perf_counter()
    ws.ingest("docs")
    stored = time.perf_counter()
    found = ws.vectors.search("near", new[5])
    told("10,000 new rows: ingest", [stored - begun])
    told("10,000 new rows: the first search", [time.perf_counter() - stored])
    assert found.to_polars()["id"][0] == rows + 5
    told("10,000 new rows: each search", timed(lambda: ws.vectors.search("near", new[7]), 5))


def bare(folder: Path, vectors: Any, *, index: bool) -> Any:
    """Return a table of LanceDB, with an index like ours or none."""
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfRq

    from tinymlops.stores.lance_index import partitions

    schema = pa.schema([("id", pa.int64()), ("v", pa.list_(pa.float32(), DIMENSION))])

    def batches() -> Iterator[Any]:
        for first in range(0, len(vectors), 8_192):
            part = vectors[first : first + 8_192]
            values = pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), DIMENSION)
            yield pa.record_batch([pa.array(np.arange(first, first + len(part))), values], schema=schema)

    table = lancedb.connect(str(folder / "bare")).create_table(f"docs{index}", batches(), schema=schema)
    if index:
        begun = time.perf_counter()
        config = IvfRq(distance_type="cosine", num_partitions=partitions(len(vectors)), num_bits=1)
        table.create_index("v", config=config)
        told("bare LanceDB builds its index", [time.perf_counter() - begun])
    return table


def nearest_of(table: Any, query: Any, where: str, probes: int = 20) -> list[int]:
    """Search bare LanceDB."""
    search = table.search(query, vector_column_name="v").distance_type("cosine").nprobes(probes).refine_factor(20)
    found = search.where(where, prefilter=True).limit(K).select(["id", "_distance"]).to_arrow()
    return list(found["id"].to_pylist())


def best_of(vectors: Any, lengths: Any, query: Any) -> Any:
    """Return the places of the nearest vectors, by NumPy alone."""
    scores = (vectors @ query) / lengths
    best = np.argpartition(scores, -K)[-K:]
    return best[np.argsort(-scores[best])]


def in_turns(ways: dict[str, Callable[[Any], object]], asked: list[Any]) -> None:
    """Time several ways, one query after the other."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for query in [asked[0], *asked]:
        for name, way in ways.items():
            begun = time.perf_counter()
            way(query)
            times[name].append(time.perf_counter() - begun)
    for name, taken in times.items():
        told(name, taken[1:])


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Return how long each run took."""
    taken = []
    for _ in range(runs):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return taken


def told(what: str, taken: list[float]) -> None:
    """Print median and least."""
    print(f"{what:52} median {1e3 * statistics.median(taken):9.1f} ms, least {1e3 * min(taken):9.1f} ms", flush=True)


if __name__ == "__main__":
    main()
