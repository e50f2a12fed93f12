"""Small reads onto a long history store by row indexes what they store without, and what a look at every row says."""

import os
import random
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest
from conftest import START, at
from inside import environment_of, set_clock
from polars.testing import assert_frame_equal

import tinymlops as tm
from tinymlops.features.intake import taking_in
from tinymlops.stores import lookup, row_index, segments

KINDS = {
    "int": lambda n: n - 3,
    "uint64": lambda n: 2**64 - 1 - n,
    "text": lambda n: ["", "ß", "日本", "id\0", "عربى", "é"][n % 6] + (str(n) if n > 5 else ""),
    "float": lambda n: [0.0, -0.5, 1e300, 5e-324][n] if n < 4 else n / 3,
    "decimal": lambda n: Decimal(n).scaleb(-2),
    "date": lambda n: date(2024, 1, 1) + timedelta(days=n),
    "time": lambda n: at(n),
    "binary": lambda n: bytes([n, 0]),
    "bool": lambda n: n % 2 == 0,
    "list": lambda n: [n, None],
    "struct": lambda n: {"shop": n % 2, "number": str(n)},
    "none": None,
}
DTYPES = {"uint64": pl.UInt64, "decimal": pl.Decimal(10, 2)}
FULL = os.environ.get("TINYMLOPS_TORTURE") == "full"
COUNTS = ("rows_read", "rows_new", "rows_corrected", "rows_known", "rows_deleted")


def frame_of(rows, kind):
    """Rows are (number of the id or None, customer, number of the event time, amount, deleted)."""
    identify = KINDS[kind] or (lambda n: n)
    dtype = DTYPES.get(kind, pl.Series([identify(1)]).dtype)
    return pl.DataFrame(
        {
            "order": pl.Series([None if n is None else identify(n) for n, *_ in rows], dtype=dtype),
            "customer": pl.Series([row[1] for row in rows], dtype=pl.Int64),
            "at": pl.Series([at(row[2]) for row in rows], dtype=pl.Datetime("us", "UTC")),
            "amount": pl.Series([row[3] for row in rows], dtype=pl.Float64),
            "deleted": pl.Series([row[4] for row in rows], dtype=pl.Boolean),
        }
    )


class Shop:
    """A workspace with two sources of the same rows, whose small reads go by indexes or never."""

    def __init__(self, path, kind, *, indexed):
        self.kind, self._indexed, self._frame = kind, indexed, None
        project = tm.Project("shop")
        customer = project.entity("customer", key="customer")
        options = {} if kind == "none" else {"id": "order"}

        @project.source(timestamp="at", **options)
        def orders() -> pl.DataFrame:
            return self._frame

        @project.source(timestamp="at", **options)
        def returns() -> pl.DataFrame:
            return self._frame

        @project.feature_view(entity=customer)
        def spending(orders: tm.Rows) -> tm.Features:
            return {"last": orders["amount"].last()}

        self.ws = tm.connect(path, create=True, clock=tm.ReplayClock(START + timedelta(days=60)))
        self.ws.apply(project)

    def ingest(self, rows, **options):
        """Return the counts of both sources."""
        self._frame = frame_of(rows, self.kind)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(taking_in, "_SMALL", 0 if self._indexed else 10**9)
            patch.setattr(segments, "PIECE", 4)
            patch.setattr(lookup, "PIECE", 4)
            patch.setattr(segments, "_BATCH_ROWS", 12)
            reports = self.ws.ingest("orders", "returns", **options)
        return [[getattr(report, name) for name in COUNTS] for report in reports]

    def history(self):
        return [self.ws.sql(f"select * from {name}_history order by __sequence") for name in ("orders", "returns")]

    def close(self):
        self.ws.close()

    @property
    def indexes(self):
        return list(row_index.listed(environment_of(self.ws).indexes_dir))


class Model:
    """What is stored, by a look at every row: the versions of each id, the newest last, and how often each row without id is."""

    def __init__(self, *, by_content):
        self._by_content, self._versions, self._nameless = by_content, {}, Counter()

    def ingest(self, rows):
        """Return how many rows are new, corrected and known."""
        new = corrected = known = 0
        named = {}
        for row in sorted(rows, key=lambda row: row[2]):
            if self._by_content or row[0] is None:
                named.setdefault(None, []).append(row)
            else:
                named.setdefault(row[0], []).append(row)
        for identifier, several in named.items():
            versions = self._versions.setdefault(identifier, [])
            had = bool(versions)
            left = Counter(self._nameless if identifier is None else versions if len(several) > 1 else versions[-1:])
            fresh = []
            for row in several:
                fresh += [] if left[row] > 0 else [row]
                left[row] -= 1
            known += len(several) - len(fresh)
            if identifier is None:
                new += len(fresh)
                self._nameless.update(fresh)
            else:
                new, corrected = (new, corrected + len(fresh)) if had else (new + len(fresh), corrected)
                versions += fresh
        return new, corrected, known


def drawn(chance, kind):
    """Return a large read and then small ones, each with what happens to the workspace after it.

    The customer follows from the id, so that no row is taken back under another key; of rows with one id and event time
    only the first is there, so that their order is plain.
    """
    numbers = [None, 0, 1] if kind == "bool" else [None, *range(80)]
    disturbances = [*("compact", "gc", "flip", "cut", "remove", "repair", "full", "rebuild")]
    steps = []
    one, other = chance.sample(disturbances, 2)
    for what in ["", "", "", one, "", "", other]:  # most of them go by an index that the one before made
        rows = {}
        for _ in range(chance.choice([0, 1, 2, 3, 8]) if steps else 120):
            number, time = chance.choice(numbers), chance.randrange(40)
            amount = chance.choice([1.0, 2.0, -0.5, None])
            rows[number, time] = (number, 0 if number is None else number % 3, time, amount, False)
        steps.append((list(rows.values()), what))
    return steps


def disturb(shop, what, chance):
    """Do something to a workspace that must not change what is stored next."""
    if what == "compact":
        shop.ws.compact()
    elif what == "gc":
        set_clock(shop.ws, tm.ReplayClock(START + timedelta(days=61)))
        shop.ws.gc(grace="1us")
        set_clock(shop.ws, tm.ReplayClock(START + timedelta(days=60)))
    elif what == "repair":
        shop.ws.repair()
    for path in shop.indexes:
        content = bytearray(path.read_bytes())
        if what == "flip":
            content[chance.randrange(len(content))] ^= 1 + chance.randrange(255)
            path.write_bytes(content)
        elif what == "cut":
            path.write_bytes(content[: chance.randrange(len(content))])
        elif what == "remove":
            path.unlink()


@pytest.mark.filterwarnings("ignore:.*is not unique in what was read", "ignore:.*begins generation")
@pytest.mark.parametrize("seed", range(40 if FULL else 1))
@pytest.mark.parametrize(
    ("kind", "collide"),
    [*((kind, False) for kind in KINDS), *((kind, True) for kind in KINDS if FULL or kind in ("int", "text", "none"))],
)
def test_it_stores_what_it_would_by_a_look_at_all_rows(tmp_path, monkeypatch, kind, collide, seed):
    if collide:  # as if three bits of each hash were left
        hashed = lookup._hashed
        monkeypatch.setattr(lookup, "_hashed", lambda values: hashed(values) // 2**61 * 2**61)
    chance, model = random.Random(f"{seed} {kind} {collide}"), Model(by_content=kind == "none")
    with (
        closing(Shop(tmp_path / "indexed.tm", kind, indexed=True)) as indexed,
        closing(Shop(tmp_path / "plain.tm", kind, indexed=False)) as plain,
    ):
        for rows, what in drawn(chance, kind):
            asked = {"full": {"full": True}, "rebuild": {"rebuild": True, "drop_missing": True}}
            options = asked.get(what, {}) if kind != "none" or what != "full" else {}
            counts = indexed.ingest(rows, **options)
            assert counts == plain.ingest(rows, **options)
            if options:
                model = None  # it knows neither deletes nor generations
            if model is not None:
                assert [tuple(one[1:4]) for one in counts] == [model.ingest(rows)] * 2
            for one, other in zip(indexed.history(), plain.history(), strict=True):
                assert_frame_equal(one, other)
            disturb(indexed, what, chance)
            disturb(plain, "compact" if what == "compact" else "", chance)
        assert not plain.indexes
