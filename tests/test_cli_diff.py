"""`tinymlops diff` of builds and of features at two sequences."""

import pytest
from command_line import START, ask, refused, succeed, write_shop

import tinymlops as tm


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """Two builds; a late order of customer 1 came between them."""
    folder = write_shop(tmp_path / "shop")
    monkeypatch.chdir(folder)
    tm.connect(folder / "shop.tm", create=True).close()
    succeed("apply")
    succeed("ingest")
    found = []
    for line in ("", f"200,1,500.0,{START:%FT%TZ}\n"):
        orders = folder / "data" / "orders.csv"
        orders.write_text(orders.read_text() + line)
        succeed("ingest")
        with tm.connect(folder / "shop.tm", root=folder) as ws:
            found.append(ws.get_training_data("buyers"))
    return found


def test_two_builds_are_compared_by_their_ids(builds):
    one, two = builds
    told = ask("diff", one.build_id, two.build_id[:8])
    assert told["changed"] > 0
    assert told["causes"] == {"new rows": told["changed"]}
    assert told["examples"][0]["records"][0]["id"] == 200
    assert "new rows (orders 200 Q=" in succeed("diff", one.build_id, two.build_id)


def test_features_are_compared_at_two_sequences(builds, tmp_path):
    one, two = builds
    spine = tmp_path / "spine.csv"
    spine.write_text("customer_id,timestamp\n1,2024-01-02T12:00:00Z\n2,2024-01-02T12:00:00Z\n")
    at = ("--from", one.sequence, "--to", two.sequence)
    told = ask("diff", "spending", "--spine", spine, *at)
    assert told["rows"] == 2
    assert set(told["causes"]) == {"new rows"}


def test_what_cannot_be_compared_is_refused(builds, tmp_path):
    (one, _) = builds
    assert "this workspace has no build 'abcdef123456'" in refused(4, "diff", one.build_id, "abcdef123456")
    assert "is compared with nothing" in refused(2, "diff", one.build_id)
    assert "one name, --spine, --from and --to" in refused(2, "diff", "spending", "--from", 3)
