"""What a plan says before anything is changed: what reads the definitions that change, and how they differ."""

import shutil

import pytest
import served_shop

import tinymlops as tm


@pytest.fixture
def shop(tmp_path, shop_path):
    with tm.connect(
        shutil.copytree(shop_path, tmp_path / "shop.tm"), clock=tm.ReplayClock(served_shop.NOW)
    ) as workspace:
        workspace.materialize()
        yield workspace


def without(*names, changed=None):
    """The shop's project without some definitions, or with others in their place."""

    class Project:
        name = served_shop.project.name
        functions = served_shop.project.functions
        renamed = served_shop.project.renamed

        def specs(self):
            found = [spec for spec in served_shop.project.specs() if spec.name not in names]
            return [changed.get(spec.name, spec) for spec in found] if changed else found

    return Project()


def longer(name):
    import msgspec

    (spec,) = (one for one in served_shop.project.specs() if one.name == name)
    features = {
        key: msgspec.structs.replace(one, window=2 * one.window) if one.window else one
        for key, one in spec.features.items()
    }
    return msgspec.structs.replace(spec, features=features)


def test_a_changed_view_reaches_its_training_set_model_and_online_rows(shop):
    planned = shop.plan(without(changed={"spending": longer("spending")}))
    (change,) = (one for one in planned.changes if one.action == "change" and one.name == "spending")
    assert change.detail == "spent_7d.window 7d -> 14d"
    (reach,) = (one for one in planned.reach if one.name == "spending")
    assert reach.training_sets == {"visits_to_orders": 1}
    assert list(reach.models) == ["splurge@champion"]
    assert reach.online_views == ["spending"]
    assert reach.rows == 600
    assert "reach: feature view spending reaches training sets: visits_to_orders (1 builds)" in str(planned)
    assert "splurge@champion" in planned._repr_html_()


def test_a_plan_reads_and_writes_nothing(shop):
    before = shop.sql("SELECT count(*) FROM tinymlops.audit").item()
    shop.plan(without(changed={"spending": longer("spending")}))
    assert shop.sql("SELECT count(*) FROM tinymlops.audit").item() == before


def test_what_nothing_reads_reaches_nothing(shop):
    planned = shop.plan(without("interest", "pings"))
    assert {one.name: bool(one) for one in planned.reach}["pings"] is False


def test_a_source_reaches_whatever_stands_on_it(shop):
    planned = shop.plan(without(changed={"orders": _with_delay()}))
    (reach,) = (one for one in planned.reach if one.name == "orders")
    assert "feature view spending" in reach.definitions
    assert reach.training_sets == {"visits_to_orders": 1}
    assert reach.models == {"splurge@champion": "reads its rows by the definition it was trained with"}


def _with_delay():
    import msgspec

    (spec,) = (one for one in served_shop.project.specs() if one.name == "orders")
    return msgspec.structs.replace(spec, delay=3_600_000_000)


def test_nothing_applied_reaches_nothing(tmp_path):
    with tm.connect(tmp_path / "w.tm", create=True) as ws:
        assert ws.plan(served_shop.project).reach == []
