"""Datasets: a spine with its features, saved, read back as it was, and verified."""

import json
import pickle
import resource
import signal
import sys
from datetime import date, timedelta
from decimal import Decimal
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from command_line import ask, refused, succeed, write_shop
from conftest import at, shop
from inside import environment_of

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, IntegrityError, MissingDependencyError, NotFoundError
from tinymlops.features.history import saving
from tinymlops.features.history.content import table_hash

ORDERS = pl.DataFrame(
    {"customer": ["a", "b", "a", "b"], "at": [at(1), at(2), at(3), at(4)], "amount": [1.0, 2.0, 4.0, None]}
)


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(saving, "_PART_ROWS", 3)


def ready(ws, orders=ORDERS, **options):
    project = shop(orders, **options)
    ws.apply(project)
    ws.ingest("orders")
    return project


def spine(rows=8):
    return pl.DataFrame(
        {
            "customer": [("a", "b", "é", None)[row % 4] for row in range(rows)],
            "timestamp": [at(row) for row in range(rows)],
            "target": [row % 2 == 0 for row in range(rows)],
        },
        schema={"customer": pl.String, "timestamp": pl.Datetime("us", "UTC"), "target": pl.Boolean},
    )


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("rows", [0, 1, 3, 8])
def test_a_dataset_is_what_the_historical_read_gives(workspace, rows):
    ready(workspace)
    saved = workspace.save_dataset("buys", spine(rows), ["spending"])
    expected = workspace.get_historical_features(spine(rows), ["spending"])
    assert pl.concat(saved.batches()).equals(expected)
    assert (saved.rows, saved.sequence) == (rows, 4)
    assert saved.features == {"last_amount": "spending:last_amount", "spent_1d": "spending:spent_1d"}
    again = workspace.datasets.get("buys")
    assert [batch.height for batch in again.batches(2)] == ([2] * (rows // 2) + [1] * (rows % 2) or [0])
    assert pl.concat(again.batches(5, columns=["target", "last_amount"])).equals(
        expected.select("target", "last_amount")
    )
    assert repr(again) == f"<dataset buys: {rows} rows, 2 features; {again.fingerprint[:12]} at Q=4>"


@pytest.mark.usefixtures("small_parts")
def test_a_spine_in_files_is_read_some_rows_at_a_time(workspace, tmp_path):
    ready(workspace)
    for number in range(3):
        spine().write_parquet(tmp_path / f"{number}.parquet", row_group_size=2)
    expected = pl.concat([workspace.get_historical_features(spine(), ["spending"])] * 3)
    whole = pl.concat([spine()] * 3)
    fingerprint = workspace.save_dataset("whole", whole, ["spending"]).fingerprint
    for form in (tmp_path / "*.parquet", str(tmp_path / "*.parquet"), pl.scan_parquet(tmp_path / "*.parquet")):
        saved = workspace.save_dataset("files", form, ["spending"])
        assert pl.concat(saved.batches()).equals(expected)
        assert saved.fingerprint == fingerprint
    assert workspace.save_dataset("pandas", whole.to_pandas(), ["spending"]).rows == 24


@pytest.mark.usefixtures("small_parts")
def test_a_dataset_verifies_whatever_comes_later(workspace):
    project = ready(workspace)
    saved = workspace.save_dataset("buys", spine(), ["spending"])
    project.frames["orders"] = pl.concat([ORDERS, ORDERS.with_columns(pl.col("amount") * 9)])
    workspace.ingest("orders")
    workspace.apply(shop(ORDERS, features=lambda rows: {"last_amount": rows["amount"].first()}))
    workspace.gc(grace="1us")
    verified = workspace.datasets.verify(saved.id[:8])
    assert verified.same
    assert not verified.differing
    assert "the same" in repr(verified)


@pytest.mark.usefixtures("small_parts")
def test_what_comes_out_otherwise_is_named(workspace, monkeypatch):
    ready(workspace)
    workspace.save_dataset("buys", spine(), ["spending"])
    real = saving.features_for

    def other(*arguments, **options):
        table = real(*arguments, **options)
        table.columns["spent_1d"] = table.columns["spent_1d"] + 1
        return table

    monkeypatch.setattr(saving, "features_for", other)
    verified = workspace.datasets.verify("buys")
    assert not verified.same
    assert verified.differing == {"spent_1d": 8}
    assert "NOT THE SAME" in repr(verified)


def test_as_of_sees_only_what_had_come(workspace):
    project = ready(workspace)
    before = workspace.save_dataset("buys", spine(), ["spending"])
    project.frames["orders"] = pl.concat([ORDERS, ORDERS.with_columns(pl.col("amount") * 9)])
    workspace.ingest("orders")
    after, then = (workspace.save_dataset("buys", spine(), ["spending"], as_of=as_of) for as_of in (None, 4))
    assert after.fingerprint != before.fingerprint == then.fingerprint
    assert workspace.datasets.list("buys")[0].id == then.id
    assert workspace.datasets.get("buys").id == then.id


def test_naive_times_are_of_the_zone_that_was_named(workspace):
    ready(workspace)
    naive = spine().with_columns(pl.col("timestamp").dt.replace_time_zone(None))
    saved = workspace.save_dataset("buys", naive, ["spending"], tz="Europe/Vienna")
    assert pl.concat(saved.batches()).equals(workspace.get_historical_features(naive, ["spending"], tz="Europe/Vienna"))
    assert workspace.datasets.verify("buys").same


KINDS = {
    "days": [date(2024, 1, 1), None, date(2024, 1, 2), date(2024, 1, 1)],
    "spans": [timedelta(1), None, timedelta(0), timedelta(2)],
    "decimals": [Decimal("1.10"), Decimal("2.00"), None, Decimal("-0.01")],
    "words": pl.Series(["x", None, "y", "x"], dtype=pl.Categorical),
    "enums": pl.Series(["x", None, "y", "x"], dtype=pl.Enum(["y", "x"])),
    "bytes": [b"\0a", None, b"", b"\xff"],
    "lists": [[1.5, None], [], None, [1e300]],
    "vectors": pl.Series([[1.0, 2.0], None, [3.0, 4.0], [5.0, 6.0]], dtype=pl.Array(pl.Float32, 2)),
    "structs": [{"a": 1, "b": ["x"]}, None, {"a": None, "b": []}, {"a": 2, "b": None}],
    "huge": pl.Series([2**64 - 1, None, 0, 1], dtype=pl.UInt64),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_every_type_come_back_and_verify(workspace, kind):
    orders = pl.DataFrame({**ORDERS.drop("amount").to_dict(), "amount": KINDS[kind]}, strict=False)
    project = shop(orders, features=lambda rows: {"newest": rows["amount"].last()})
    for name in ("visits_to_orders", "buys"):
        del project.definitions[name]
    workspace.apply(project)
    workspace.ingest("orders")
    saved = workspace.save_dataset("buys", spine(), ["spending"])
    expected = workspace.get_historical_features(spine(), ["spending"])
    got = pl.concat(saved.batches())
    assert got.schema == expected.schema
    assert got.equals(expected)
    assert workspace.datasets.verify("buys").same


@pytest.mark.parametrize(
    "other",
    [
        {"x": [[1], [2, 3]]},
        {"x": [[1, 2], [3], []]},
        {"x": [[1, 2], None, [3]]},
        {"x": [[1, None], [3], None]},
        {"x": [[1, 2], [3], None]},
        {"x": [[1.0, 2.0], [3.0], None]},
        {"x": [{"a": 1}, {"a": 2}, None]},
        {"x": [{"a": 1}, {"a": None}, None]},
        {"x": [{"b": 1}, {"b": 2}, None]},
        {"x": [b"ab", b"c", None]},
        {"x": [b"a", b"bc", None]},
    ],
)
def test_the_hash_of_nested_values_tells_them_apart(other):
    frames = [pl.DataFrame({"x": [[1], [2, 3], None]}), pl.DataFrame(other)]
    assert table_hash(frames[0]) != table_hash(frames[1])
    assert table_hash(frames[1]) == table_hash(pl.DataFrame(other))


def test_a_dataset_is_written_to_one_file(workspace, tmp_path):
    ready(workspace)
    saved = workspace.save_dataset("buys", spine(), ["spending"])
    expected = workspace.get_historical_features(spine(), ["spending"])
    assert pl.read_parquet(saved.to_parquet(tmp_path / "out.parquet")).equals(expected)
    assert (
        pl.read_csv(saved.to_parquet(tmp_path / "out.csv"))["last_amount"].to_list()
        == expected["last_amount"].to_list()
    )
    with pytest.raises(NotFoundError, match="there is no directory"):
        saved.to_parquet(tmp_path / "no" / "out.parquet")
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.csv", "out.parquet"]


def test_what_is_removed_is_collected_and_what_is_kept_is_not(workspace):
    ready(workspace)
    first, second = (workspace.save_dataset(name, spine(), ["spending"]) for name in ("one", "two"))
    third = workspace.save_dataset("two", spine(5), ["spending"])
    blobs = lambda: sum(1 for path in (environment_of(workspace).path / "blobs").glob("*/*") if path.is_file())  # noqa: E731
    before = blobs()
    assert workspace.datasets.remove(third.id).id == third.id
    workspace.datasets.remove("one")  # whose rows are those of "two"
    workspace.gc(grace="1us")
    assert workspace.datasets.verify(second.id).same
    assert before - blobs() == 2  # a manifest and a part; the manifests of the others are alike
    with pytest.raises(NotFoundError):
        workspace.datasets.get(first.id)


def test_a_damaged_file_is_found(workspace):
    ready(workspace)
    saved = workspace.save_dataset("buys", spine(), ["spending"])
    for path in (environment_of(workspace).path / "blobs").glob("*/*"):
        if path.read_bytes()[:4] == b"PAR1":
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-9] + b"\0" * 9)
    with pytest.raises(IntegrityError):
        list(saved.batches())


def test_a_backup_has_the_datasets(workspace, tmp_path):
    ready(workspace)
    workspace.save_dataset("buys", spine(), ["spending"])
    workspace.backup(tmp_path / "backup")
    tm.restore(tmp_path / "backup", tmp_path / "again.tm")
    with tm.connect(tmp_path / "again.tm") as again:
        assert again.datasets.verify("buys").same
        assert again.sql("select name, rows, features from datasets").rows() == [("buys", 8, 2)]
        assert again.sql("select count(*) as n from audit where action = 'dataset.save'")["n"].to_list() == [1]


@pytest.mark.parametrize(
    ("name", "rows", "features", "options", "error", "message"),
    [
        ("Buys", spine(), ["spending"], {}, DefinitionError, "cannot be the name of a dataset"),
        ("buys", spine(), ["spendin"], {}, NotFoundError, "spendin"),
        ("buys", spine(), ["spending"], {"timestamp": "when"}, DataError, "no time column 'when'"),
        ("buys", spine().drop("customer"), ["spending"], {}, DataError, "no column 'customer'"),
        ("buys", spine().with_columns(spent_1d=1), ["spending"], {}, DataError, "name of another column"),
        ("buys", spine().with_columns(timestamp=None), ["spending"], {}, DataError, "timestamp"),
        ("buys", [{"customer": "a", "timestamp": at(1)}, {"timestamp": at(1)}], ["spending"], {}, DataError, "row 1"),
        ("buys", "no.parquet", ["spending"], {}, DataError, "cannot be read as Parquet"),
        ("buys", spine(), ["spending"], {"as_of": 99}, DataError, "is not a sequence"),
    ],
)
def test_what_cannot_be_saved_is_refused_and_nothing_is_kept(workspace, name, rows, features, options, error, message):
    ready(workspace)
    with pytest.raises(error, match=message):
        workspace.save_dataset(name, rows, features, **options)
    assert workspace.datasets.list() == []


def test_wrong_questions_are_answered_with_the_fix(workspace):
    ready(workspace)
    with pytest.raises(NotFoundError, match="no dataset 'buys'") as info:
        workspace.datasets.get("buys")
    assert "ws.save_dataset" in info.value.hint
    saved = workspace.save_dataset("buys", spine(), ["spending"])
    with pytest.raises(NotFoundError, match="no column 'targt'") as info:
        saved.batches(columns=["targt"])
    assert "target" in info.value.hint
    with pytest.raises(DefinitionError, match="size=0"):
        saved.batches(0)
    with pytest.raises(NotFoundError, match="buy"):
        workspace.datasets.get("buy")


# Tensors


@pytest.fixture
def torch(monkeypatch):
    """PyTorch, or as much of it as is asked for here where it is not installed."""
    try:
        import torch
    except ImportError:
        torch, utils, data = ModuleType("torch"), ModuleType("torch.utils"), ModuleType("torch.utils.data")
        torch.from_numpy = lambda array: array
        torch.utils, utils.data = utils, data
        data.IterableDataset = type("IterableDataset", (), {})
        data.get_worker_info = lambda: None
        for module in (torch, utils, data):
            monkeypatch.setitem(sys.modules, module.__name__, module)
    from tinymlops.features.history import tensors

    tensors._class.cache_clear()
    yield torch
    tensors._class.cache_clear()


def arrays(items):
    return [{name: np.asarray(tensor) for name, tensor in item.items()} for item in items]


@pytest.fixture
def numbers(workspace):
    orders = ORDERS.with_columns(
        amount=pl.Series([1, 2, 4, 5]), half=pl.Series([0.5, None, 1.5, 2.5], dtype=pl.Float32)
    ).with_columns(vector=pl.Series([[1.0, None], [2.0, 3.0], [4.0, 5.0], None], dtype=pl.Array(pl.Float64, 2)))

    def features(rows):
        return {
            "amount": rows["amount"].last(),
            "half": rows["half"].last(),
            "count": rows.count(window="1d"),
            "vector": rows["vector"].last(),
        }

    ready(workspace, orders, features=features)
    known = pl.DataFrame(
        {"customer": ["a", "b"] * 4, "timestamp": [at(4 + row) for row in range(8)], "target": [True, False] * 4}
    )
    return workspace.save_dataset("numbers", known, ["spending"])


@pytest.mark.usefixtures("torch", "small_parts")
def test_tensors_are_the_rows_in_batches(numbers):
    items = arrays(numbers.to_torch(batch_size=5))
    assert [len(item["amount"]) for item in items] == [5, 3]
    assert items[0]["amount"].dtype == np.int64
    assert items[0]["half"].dtype == np.float32
    assert items[0]["amount"].tolist() == [4, 5, 4, 5, 4]
    assert items[0]["half"].tolist() == [1.5, 2.5, 1.5, 2.5, 1.5]
    np.testing.assert_array_equal(items[0]["vector"][:2], [[4.0, 5.0], [np.nan, np.nan]])
    (whole,) = arrays(numbers.to_torch(["target", "count"]))
    assert whole["target"].dtype == bool
    assert whole["count"].tolist() == [2] * 8


@pytest.mark.usefixtures("torch", "small_parts")
def test_a_null_makes_integers_and_booleans_floats_in_every_batch(workspace, numbers):
    unknown = pl.DataFrame(
        {"customer": ["a", "x", "b", "a"], "timestamp": [at(9)] * 4, "target": [True, True, None, False]}
    )
    saved = workspace.save_dataset("nulls", unknown, ["spending:amount"])
    first, second = arrays(saved.to_torch(["amount", "target"], batch_size=3))
    np.testing.assert_array_equal(first["amount"], [4.0, np.nan, 5.0])
    np.testing.assert_array_equal(first["target"], [1.0, 1.0, np.nan])
    assert second["amount"].dtype == second["target"].dtype == np.float64


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (
            [2**64 - 1, 1],
            pl.UInt64,
            "holds 18446744073709551615, and a tensor holds integers up to 9223372036854775807",
        ),
        ([2**53 + 1, None], pl.Int64, "9007199254740993 has no float"),
        ([[2**53 + 1, 2]] * 2, pl.Array(pl.Int64, 2), "9007199254740993 has no float"),
    ],
)
@pytest.mark.usefixtures("torch")
def test_an_integer_that_a_tensor_would_change_is_named(workspace, values, dtype, message):
    ready(workspace)
    saved = workspace.save_dataset("big", spine(2).with_columns(pl.Series("n", values, dtype)), ["spending"])
    with pytest.raises(DataError, match=message):
        list(saved.to_torch(["n"]))


@pytest.mark.parametrize("columns", [[], ["customer", "customer"]])
@pytest.mark.usefixtures("torch")
def test_no_columns_or_one_twice_are_refused(workspace, columns):
    ready(workspace)
    saved = workspace.save_dataset("few", spine(2), ["spending"])
    for read in (lambda: next(saved.batches(columns=columns)), lambda: saved.to_torch(columns)):
        with pytest.raises(DefinitionError, match="names none|named twice"):
            read()
    for size in (0, 2.5, True):
        with pytest.raises(DefinitionError, match="not a number of rows"):
            saved.batches(size)


@pytest.mark.parametrize("name", ["full.parquet", "full.csv"])
def test_a_limit_on_the_size_of_files_is_told_and_nothing_is_left(workspace, tmp_path, name):
    ready(workspace)
    values = pl.Series("r", np.random.default_rng(1).random(20_000))
    saved = workspace.save_dataset("many", spine(20_000).with_columns(values), ["spending"])
    folder = tmp_path / "out"
    folder.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        with pytest.raises(tm.TinyMLOpsError, match="cannot be written: File too large"):
            saved.to_parquet(folder / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(folder.iterdir()) == []


def test_what_cannot_be_a_tensor_is_named(workspace, numbers):
    with pytest.raises(DataError, match="'customer' is String"):
        numbers.to_torch(["customer"])
    with pytest.raises(DataError, match="'timestamp' is Datetime"):
        numbers.to_torch(["amount", "timestamp"])
    with pytest.raises(DefinitionError, match="batch_size=0"):
        numbers.to_torch(batch_size=0)
    with pytest.raises(NotFoundError, match="'amuont'"):
        numbers.to_torch(["amuont"])


@pytest.mark.usefixtures("small_parts")
def test_workers_share_the_files(numbers, torch, monkeypatch):
    rows = []
    for worker in range(2):
        info = ModuleType("info")
        info.id, info.num_workers = worker, 2
        monkeypatch.setattr(torch.utils.data, "get_worker_info", lambda info=info: info)
        from tinymlops.features.history import tensors

        tensors._class.cache_clear()
        rows.append([len(item["count"]) for item in arrays(numbers.to_torch(batch_size=2))])
    assert rows == [[2, 2, 1], [2, 1]]


@pytest.mark.usefixtures("torch")
def test_it_can_be_sent_to_a_process(numbers):
    again = pickle.loads(pickle.dumps(numbers.to_torch()))
    assert arrays(again)[0]["amount"].tolist() == arrays(numbers.to_torch())[0]["amount"].tolist()


@pytest.mark.usefixtures("small_parts")
def test_a_loader_of_pytorch_gives_every_row_once(numbers):
    data = pytest.importorskip("torch.utils.data")
    batches = numbers.to_torch(["count", "vector"], batch_size=2)
    for workers in (0, 2):
        loader = data.DataLoader(
            batches, batch_size=None, num_workers=workers, multiprocessing_context="spawn" if workers else None
        )
        items = list(loader)
        assert sum(len(item["count"]) for item in items) == 8
        assert items[0]["vector"].shape == (2, 2)


def test_without_pytorch_the_fix_is_said(numbers, monkeypatch):
    from tinymlops.features.history import tensors

    tensors._class.cache_clear()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError) as info:
        numbers.to_torch()
    assert info.value.hint == "pip install torch"


# The command line


def test_the_command_line_saves_lists_exports_verifies_and_removes(tmp_path):
    folder = write_shop(tmp_path / "shop")
    tm.connect(folder / "shop.tm", create=True).close()
    where = ["--project", folder]
    succeed("apply", *where)
    succeed("ingest", *where)
    assert "no dataset is saved yet" in succeed("datasets", "list", *where)
    (tmp_path / "spine.csv").write_text("customer_id,timestamp\n1,2024-01-05T00:00:00Z\n3,2024-01-06T00:00:00Z\n")
    pl.read_csv(tmp_path / "spine.csv", try_parse_dates=True).write_parquet(tmp_path / "spine.parquet")
    saved = ask("datasets", "save", "buys", "spending", "--input", tmp_path / "spine.csv", *where)
    again = ask("datasets", "save", "buys", "spending", "--input", tmp_path / "spine.parquet", *where)
    assert saved["fingerprint"] == again["fingerprint"]
    assert [one["id"] for one in ask("datasets", "list", *where)] == [again["id"], saved["id"]]
    succeed("datasets", "export", "buys", "--output", tmp_path / "out.parquet", *where)
    assert pl.read_parquet(tmp_path / "out.parquet")["last_amount"].to_list() == [4.5, 7.5]
    assert json.loads(succeed("datasets", "verify", "buys", *where, "--json"))["same"]
    assert "is removed" in succeed("datasets", "remove", again["id"], *where)
    assert "no dataset 'sells'" in refused(4, "datasets", "verify", "sells", *where)
