"""Sources in an object store: Parquet and CSV by S3's protocol, all files of one listing."""

import io
import traceback
from datetime import UTC, datetime

import object_server
import polars as pl
import pytest
from connected_shop import applied, rows_of

from tinymlops.connectors.queries import files_of
from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError, UnavailableError

AT = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def served():
    with object_server.running() as one:
        yield one


@pytest.fixture
def store(served, monkeypatch):
    served.objects, served.refuses, served.before_get = {}, False, lambda name: None
    monkeypatch.setenv("LAKE_URL", served.url(prefix="raw"))
    return served


@pytest.fixture
def shop(tmp_path, store):
    with applied(tmp_path, "env:LAKE_URL", "orders/*.parquet") as make:
        yield make


def parquet(*ids, **columns):
    content = io.BytesIO()
    pl.DataFrame({"order_id": ids, "customer": [1] * len(ids), "at": [AT] * len(ids), **columns}).write_parquet(content)
    return content.getvalue()


def test_the_files_of_a_pattern_are_one_table(shop, store):
    store.put("raw/orders/a.parquet", parquet(1, 2))
    store.put("raw/orders/b.parquet", parquet(3, amount=[1.5]))
    store.put("raw/orders/old/c.parquet", parquet(4))
    store.put("raw/orders/a.parquet.crc", b"no table")
    ws = shop()
    assert ws.ingest()[0].rows_new == 3
    assert rows_of(ws, "order_id, amount").rows() == [(1, None), (2, None), (3, 1.5)]
    store.put("raw/orders/d.parquet", parquet(5, amount=[2.0]))
    assert ws.ingest()[0].rows_new == 1
    assert shop("orders/**/*.parquet").ingest()[0].rows_new == 1


def test_csv_is_read_too_and_rows_of_a_file_that_is_gone_are_deleted(shop, store):
    store.put("raw/day=1/orders.csv", "order_id,customer,at,name\n1,1,2024-01-01T00:00:00Z,é\n".encode())
    store.put("raw/day=2/orders.csv", b"order_id,customer,at,name\n2,1,2024-01-01T00:00:00Z,b\n")
    ws = shop("day=*/orders.csv", snapshot_deletes=True)
    ws.ingest()
    assert rows_of(ws, "order_id, name").rows() == [(1, "é"), (2, "b")]
    del store.objects["raw/day=1/orders.csv"]
    assert ws.ingest()[0].rows_deleted == 1


def test_files_that_change_while_they_are_read_are_read_again(shop, store):
    store.put("raw/orders/a.parquet", parquet(1))
    ws = shop()
    seen = []

    def once(name):
        if not seen:
            store.put("raw/orders/b.parquet", parquet(2))
        seen.append(name)

    store.before_get = once
    assert ws.ingest()[0].rows_new == 2
    numbers = iter(range(3, 99))
    store.before_get = lambda name: store.put(f"raw/orders/{next(numbers)}.parquet", parquet(9))
    with pytest.raises(UnavailableError, match="changes while it is read"):
        ws.ingest()
    assert rows_of(ws).height == 2


@pytest.mark.parametrize(
    ("text", "options", "kind", "said"),
    [
        ("ordres/*.parquet", {}, DefinitionError, r"has no file 'ordres/\*.parquet'"),
        ("orders", {}, DefinitionError, "names no files"),
        ("orders/*.parquet", {"cursor": "at"}, DefinitionError, "are read whole each time"),
        ("orders/*.parquet", {"timestamp": "when"}, DataError, "no column 'when'"),
    ],
)
def test_what_cannot_be_read_is_named(shop, store, text, options, kind, said):
    store.put("raw/orders/a.parquet", parquet(1))
    with pytest.raises(kind, match=said):
        shop(text, **options).ingest()


def test_a_file_that_is_cut_off_leaves_nothing_half_done(shop, store):
    store.put("raw/orders/a.parquet", parquet(1))
    ws = shop()
    store.put("raw/orders/b.parquet", parquet(2)[:-20])
    with pytest.raises(DataError, match=r"b.parquet' cannot be read"):
        ws.ingest()
    del store.objects["raw/orders/b.parquet"]
    assert ws.ingest()[0].rows_new == 1


def test_a_store_that_refuses_or_is_not_there_is_named_without_a_secret(shop, store, monkeypatch):
    store.put("raw/orders/a.parquet", parquet(1))
    ws = shop()
    store.refuses = True
    with pytest.raises(AccessError, match="refuses the login") as raised:
        ws.ingest()
    told = "".join([repr(raised.value), *traceback.format_exception(raised.value)])
    assert object_server.SECRET not in told
    assert "s3cret%2F" not in told
    store.refuses = False
    monkeypatch.setenv("LAKE_URL", store.url(bucket="nowhere"))
    with pytest.raises(NotFoundError, match="no bucket at s3://nowhere"):
        ws.ingest()
    monkeypatch.setenv("LAKE_URL", store.url().replace(f"%3A{store.port}", "%3A1"))
    with pytest.raises(UnavailableError, match="cannot be read"):
        ws.ingest()


def test_a_check_lists_the_store(shop, store):
    store.put("raw/orders/a.parquet", parquet(1))
    (found,) = shop().connections.check()
    assert (found.ok, found.server) == (True, "S3")
    assert found.place == f"s3://lake/raw at http://127.0.0.1:{store.port}"
    assert found.sources[0].said == "order_id, customer, at"


@pytest.mark.parametrize("text", ["/orders.csv", "../orders.csv", "a/../b.csv", "orders.txt", "select 1 -- a.csv;"])
def test_a_path_stays_below_the_prefix(text):
    assert files_of(text) is None
