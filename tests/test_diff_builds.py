"""`ws.diff` and `ws.diff_features`: why the numbers of a build have changed, cell by cell."""

import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest
from conftest import at
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st
from oracle import NEVER, Row, oracle_latest, oracle_window

import tinymlops as tm
from tinymlops.errors import DataError, DefinitionError, NotFoundError

BITS = ["spine", "new rows", "correction", "deletion", "definition"]
HOUR = 3_600_000_000


FRAMES = {}


def shop(window="48h", known="latest", *, pushes=False, more=False, other_code=False, timestamp="at"):
    """Orders and visits; a view, an on-demand view over a request field, a label and a training set."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp=timestamp, id="order", known=known)
    def orders() -> pl.DataFrame:
        return FRAMES["orders"]

    if pushes:

        @project.source(timestamp="at", id="visit")
        def visits() -> tm.Schema:
            return {"visit": int, "customer": str, "at": datetime, "budget": float}
    else:

        @project.source(timestamp="at", id="visit", known="latest")
        def visits() -> pl.DataFrame:
            return FRAMES["visits"]

    @project.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        amount = orders["amount"]
        return {"last": amount.last(), "spent": amount.sum(window=window), "n": orders.count(window="48h")}

    if other_code:

        @project.on_demand()
        def rest(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
            return {"rest": budget + spending["last"]}
    else:

        @project.on_demand()
        def rest(spending: tm.Inputs, budget: pl.Expr) -> dict[str, pl.Expr]:
            return {"rest": budget - spending["last"]}

    @project.label(entity=customer, horizon="24h")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("buyers", spine=visits, label=buys, features=[spending, rest])
    if more:
        project.training_set(
            "lasts", spine=visits, label=buys, features=[spending["last"], spending.variant("v1")["last"]]
        )
    return project


def store(ws, source, rows, until=900):
    """Ingest rows; those of before stay."""
    FRAMES[source] = pl.DataFrame(rows)
    return ws.ingest(source, complete_until=at(until))[0]


def order(number, customer, hour, amount, *, deleted=False):
    return {"order": number, "customer": customer, "at": at(hour), "amount": amount, "deleted": deleted}


def visit(number, customer, hour, budget=100.0):
    return {"visit": number, "customer": customer, "at": at(hour), "budget": budget}


SENTINEL = order(99, "z", 900, 1.0)
"""Until its time the label's source is complete."""


@pytest.fixture
def clock():
    return tm.ReplayClock(at(1_000))


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as opened:
        opened.apply(shop(known="latest"))
        store(opened, "orders", [order(i, name, 200 + i, float(i)) for i, name in enumerate("abcdef", 1)] + [SENTINEL])
        store(opened, "visits", [visit(i, name, 240) for i, name in enumerate("abcdef", 1)])
        yield opened


def causes(diff):
    """The cause of each changed cell, by customer and column."""
    rows = diff.to_polars().select("customer", "column", "cause", "together").rows()
    return {(customer, column): (cause, *together) for customer, column, cause, together in rows}


def test_four_planted_causes_and_the_spine_are_told_apart(ws):
    one = ws.get_training_data("buyers")
    store(ws, "orders", [order(7, "a", 230, 7.0)])
    store(ws, "orders", [order(2, "b", 202, 2.5)])
    store(ws, "orders", [order(3, "c", 203, 3.0, deleted=True)])
    store(ws, "visits", [visit(4, "d", 240, 150.0), visit(8, "a", 250), visit(6, "f", 240)])
    ws.apply(shop("30h", known="latest"))
    two = ws.get_training_data("buyers")
    diff = ws.diff(one.build_id, two.build_id)
    assert causes(diff) == {
        ("a", "last"): ("new rows",),
        ("a", "spent"): ("joint", "new rows", "definition"),
        ("a", "n"): ("new rows",),
        ("a", "rest"): ("new rows",),
        ("b", "last"): ("correction",),
        ("b", "spent"): ("definition",),
        ("b", "rest"): ("correction",),
        ("c", "last"): ("deletion",),
        ("c", "spent"): ("deletion",),
        ("c", "n"): ("deletion",),
        ("c", "rest"): ("deletion",),
        ("d", "spent"): ("definition",),
        ("d", "rest"): ("spine",),
        ("e", "spent"): ("definition",),
        ("f", "spent"): ("definition",),
    }
    assert diff.by_cause == {"spine": 1, "new rows": 3, "correction": 2, "deletion": 4, "definition": 4, "joint": 1}
    assert diff.counts["rest"] == {"spine": 1, "new rows": 1, "correction": 1, "deletion": 1}
    assert diff.only_after.rows() == [("a", at(250), "spine row")]
    assert diff.definitions == ["feature view spending: spent.window 2d -> 1d6h"]
    back = ws.diff(two.build_id, one.build_id)
    assert causes(back) == causes(diff)
    assert back.only_before.rows() == diff.only_after.rows()
    assert back.definitions == ["feature view spending: spent.window 1d6h -> 2d"]


def test_examples_name_the_rows_that_came(ws):
    one = ws.get_training_data("buyers")
    pushed = store(ws, "orders", [order(7, "a", 230, 7.0)])
    two = ws.get_training_data("buyers")
    diff = ws.diff(one.build_id, two.build_id)
    (example,) = [one for one in diff.examples if one.column == "last"]
    assert (example.row, example.before, example.after) == ({"customer": "a", "timestamp": at(240)}, 1.0, 7.0)
    assert example.records == ({"source": "orders", "id": 7, "event": at(230), "sequence": pushed.sequence},)
    text = str(diff)
    assert f"last 1.0 -> 7.0: new rows (orders 7 Q={pushed.sequence})" in text
    assert "column  new rows  all" in text
    assert "<table>" in diff._repr_html_()
    msgspec.json.encode(diff.as_dict())


def test_the_same_build_has_no_difference(ws):
    one = ws.get_training_data("buyers")
    diff = ws.diff(one.build_id[:8], "buyers")
    assert diff.same
    assert (diff.rows, diff.changed, diff.counts, diff.examples) == (6, 0, {}, [])
    assert diff.to_polars().is_empty()
    assert diff.to_polars().columns == ["customer", "timestamp", "column", "before", "after", "cause", "together"]
    assert "the same" in str(diff)


def test_a_correction_that_moves_an_order_is_a_correction_for_both_customers(ws):
    one = ws.get_training_data("buyers")
    store(ws, "orders", [order(1, "b", 239, 1.0)])
    two = ws.get_training_data("buyers")
    found = causes(ws.diff(one.build_id, two.build_id))
    assert set(found.values()) == {("correction",)}
    assert {customer for customer, _ in found} == {"a", "b"}


def test_an_order_taken_back_and_sent_again_is_corrected(ws):
    one = ws.get_training_data("buyers")
    store(ws, "orders", [order(1, "a", 201, 1.0, deleted=True)])
    store(ws, "orders", [order(1, "a", 201, 11.0)])
    two = ws.get_training_data("buyers")
    assert set(causes(ws.diff(one.build_id, two.build_id)).values()) == {("correction",)}


def test_two_corrections_and_a_new_row_that_only_together_give_the_value_are_joint(ws):
    one = ws.get_training_data("buyers")
    store(ws, "orders", [order(1, "a", 201, 1.5)])
    store(ws, "orders", [order(7, "a", 202, 7.0)])
    two = ws.get_training_data("buyers")
    found = causes(ws.diff(one.build_id, two.build_id))
    assert found["a", "spent"] == ("joint", "new rows", "correction")
    assert found["a", "last"] == ("new rows",)


def test_outcomes_that_came_later_are_changes_of_the_label(ws):
    one = ws.get_training_data("buyers")
    store(ws, "orders", [order(7, "a", 250, 7.0)])
    store(ws, "orders", [order(8, "b", 250, 7.0), order(9, "b", 251, 1.0, deleted=True)])
    two = ws.get_training_data("buyers")
    diff = ws.diff(one.build_id, two.build_id)
    assert causes(diff) == {("a", "buys"): ("new rows",), ("b", "buys"): ("new rows",)}
    assert diff.to_polars("buys").select("before", "after").rows() == [(0.0, 7.0), (0.0, 7.0)]


def test_rows_that_became_mature_are_told_apart(ws):
    store(ws, "visits", [visit(7, "a", 890)])
    one = ws.get_training_data("buyers")
    store(ws, "orders", [order(98, "z", 950, 1.0)], until=950)
    two = ws.get_training_data("buyers")
    diff = ws.diff(one.build_id, two.build_id)
    assert diff.changed == 0
    assert diff.only_after.rows() == [("a", at(890), "immature")]
    kept = ws.get_training_data("buyers", as_of=one.sequence, immature="null")
    assert causes(ws.diff(kept.build_id, two.build_id)) == {("a", "buys"): ("new rows",)}


def test_a_build_of_another_training_set_has_other_columns(ws):
    one = ws.get_training_data("buyers")
    ws.apply(shop(more=True))
    two = ws.get_training_data("lasts")
    diff = ws.diff(one.build_id, two.build_id)
    assert (diff.columns_only_before, diff.columns_only_after) == (["spent", "n", "rest"], ["v1_last"])
    assert diff.rows == 6
    assert diff.changed == 0
    assert not diff.same


def test_features_at_two_sequences(ws):
    spine = pl.DataFrame(
        {"customer": ["a", "b", "a"], "timestamp": [at(240), at(240), at(240)], "budget": [1.0, 2.0, 3.0]}
    )
    before = store(ws, "visits", [visit(50, "q", 1)]).sequence
    after = store(ws, "orders", [order(7, "a", 230, 7.0), order(2, "b", 202, 2.5)]).sequence
    diff = ws.diff_features(spine, ["spending", "rest"], before=before, after=after)
    assert diff.counts == {
        "last": {"new rows": 2, "correction": 1},
        "spent": {"new rows": 2, "correction": 1},
        "n": {"new rows": 2},
        "rest": {"new rows": 2, "correction": 1},
    }
    for kind in (spine.to_pandas(), spine.to_arrow(), spine.to_dict(as_series=False)):
        again = ws.diff_features(kind, ["spending", "rest"], before=before, after=after)
        assert again.to_polars().rows() == diff.to_polars().rows()
    empty = ws.diff_features(spine.clear(), ["spending"], before=before, after=after)
    assert (empty.rows, empty.same) == (0, True)


def test_equal_visits_are_matched_by_their_fields_whatever_their_order(ws):
    """A correction that is taken back puts a visit behind the other visit of the same customer and time."""
    store(ws, "visits", [visit(7, "a", 240, 50.0)])
    one = ws.get_training_data("buyers")
    for budget in (99.0, 100.0):
        store(ws, "visits", [visit(1, "a", 240, budget)])
    two = ws.get_training_data("buyers")
    assert ws.diff(one.build_id, two.build_id).same
    store(ws, "visits", [visit(7, "a", 240, 60.0)])
    three = ws.get_training_data("buyers")
    assert causes(ws.diff(one.build_id, three.build_id)) == {("a", "rest"): ("spine",)}
    assert ws.diff(three.build_id, one.build_id).changed == 1


NESTED = [
    ([1.0, 2.0], [1.0], pl.List(pl.Float64)),
    ([1.0, 2.0], [1.0, 3.0], pl.Array(pl.Float64, 2)),
    ([], None, pl.List(pl.Int64)),
    ({"a": 1, "b": [2]}, {"a": 1, "b": []}, pl.Struct({"a": pl.Int64, "b": pl.List(pl.Int64)})),
    ({"a": None}, None, pl.Struct({"a": pl.Int64})),
    (timedelta(hours=1), timedelta(days=-2), pl.Duration("us")),
    (b"a", b"\xff", pl.Binary),
    (2**63, 2**63 + 1, pl.UInt64),
    (datetime(2024, 1, 1).date(), None, pl.Date),
]


@pytest.mark.parametrize(("before", "after", "dtype"), NESTED)
def test_values_of_every_type_are_compared_and_written(tmp_path, before, after, dtype):
    def things(value):
        frame = {"id": [1, 2], "customer": ["a", "b"], "at": [at(1), at(1)]}
        return pl.DataFrame(frame).with_columns(thing=pl.Series([value, before], dtype=dtype))

    project = tm.Project("things")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id", known="latest")
    def rows() -> pl.DataFrame:
        return FRAMES["things"]

    @project.feature_view(entity=customer)
    def view(rows: tm.Rows) -> tm.Features:
        return {"thing": rows["thing"].last()}

    with tm.connect(tmp_path / "things.tm", create=True, clock=tm.ReplayClock(at(9))) as ws:
        ws.apply(project)
        sequences = []
        for value in (before, after):
            FRAMES["things"] = things(value)
            sequences.append(ws.ingest("rows")[0].sequence)
        spine = pl.DataFrame({"customer": ["a", "b"], "timestamp": [at(5), at(5)]})
        diff = ws.diff_features(spine, ["view"], before=sequences[0], after=sequences[1])
        assert causes(diff) == {("a", "thing"): ("correction",)}
        assert diff.to_polars("thing")["before"].to_list() == [before]
        (example,) = diff.examples
        assert (example.before, example.after) == (before, after)
        assert msgspec.json.encode(diff.as_dict())
        assert "thing" in str(diff)


def derived(amount="sum(amount)"):
    """A view of a transformation that is rebuilt from orders."""
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="order", known="latest")
    def orders() -> pl.DataFrame:
        return FRAMES["orders"]

    @project.source(timestamp="at", id="visit", known="latest")
    def visits() -> pl.DataFrame:
        return FRAMES["visits"]

    @project.transformation(row_wise=True)
    def paid(orders: tm.Rows) -> str:
        return "select * from orders where amount > 0"

    @project.transformation(timestamp="at")
    def daily(paid: tm.Rows) -> str:
        return f"""select customer, date_trunc('day', "at") + interval 1 day as "at", {amount} as amount
                   from paid group by all"""

    @project.feature_view(entity=customer)
    def by_day(daily: tm.Rows) -> tm.Features:
        return {"day": daily["amount"].last()}

    @project.feature_view(entity=customer)
    def single(paid: tm.Rows) -> tm.Features:
        return {"last": paid["amount"].last()}

    @project.label(entity=customer, horizon="24h")
    def buys(orders: tm.Rows) -> tm.Label:
        return orders["amount"].sum()

    project.training_set("days", spine=visits, label=buys, features=[by_day, single])
    return project


@pytest.mark.parametrize("amount", ["sum(amount)", "max(amount)"])
def test_a_rebuilt_transformation_has_the_causes_of_its_inputs(ws, amount):
    ws.apply(derived())
    ws.ingest("daily")
    one = ws.get_training_data("days")
    store(ws, "orders", [order(7, "a", 201, 7.0)])
    store(ws, "orders", [order(2, "b", 202, 2.5)])
    store(ws, "orders", [order(8, "c", 202, 8.0), order(3, "c", 203, 3.5)])
    store(ws, "orders", [order(4, "d", 204, 4.0, deleted=True)])
    ws.apply(derived(amount))
    ws.ingest("daily")
    two = ws.get_training_data("days")
    found = causes(ws.diff(one.build_id, two.build_id))
    assert found["b", "day"] == ("correction",)
    assert found["d", "day"] == ("deletion",)
    if amount == "sum(amount)":
        assert found["a", "day"] == ("new rows",)
        assert found["c", "day"] == ("joint", "new rows", "correction")
    else:
        assert found["a", "day"] == ("joint", "new rows", "definition")
        assert found["c", "day"] == ("joint", "new rows", "correction", "definition")
    assert found["b", "last"] == ("correction",)
    assert found["c", "last"] == ("correction",)
    assert found["d", "last"] == ("deletion",)


def test_a_source_that_was_read_anew_counts_as_its_definition(ws):
    one = ws.get_training_data("buyers")
    store(ws, "orders", [order(2, "b", 202, 2.5)])
    FRAMES["orders"] = pl.DataFrame(
        [order(i, name, 200 + i, 2.5 if i == 2 else float(i)) for i, name in enumerate("abcdef", 1)]
        + [order(7, "a", 230, 7.0), SENTINEL]
    ).with_columns((pl.col("at") - pl.duration(hours=12)).alias("paid"))
    ws.apply(shop(timestamp="paid", window="43h"))
    with pytest.warns(UserWarning, match="begins generation 1"):
        ws.ingest("orders", rebuild=True, complete_until=at(900))
    two = ws.get_training_data("buyers")
    diff = ws.diff(one.build_id, two.build_id)
    found = causes(diff)
    assert found["d", "spent"] == ("definition",)
    assert found["a", "last"][0] in ("new rows", "joint")
    assert sum(diff.by_cause.values()) == len(found) == diff.changed
    assert "unknown" not in diff.by_cause


def test_bad_input_is_refused(ws, tmp_path):
    one = ws.get_training_data("buyers")
    with pytest.raises(NotFoundError, match="this workspace has no build '0123456789ab'") as error:
        ws.diff(one.build_id, "0123456789ab")
    assert "another workspace" in error.value.hint
    with pytest.raises(NotFoundError, match="no build of a training set 'buyer'"):
        ws.diff("buyer", one.build_id)
    spine = pl.DataFrame({"customer": ["a"], "timestamp": [at(240)]})
    with pytest.raises(DataError, match="is not a sequence of this workspace"):
        ws.diff_features(spine, ["spending"], before=0, after=10_000)
    with pytest.raises(DataError, match="after has no sequence"):
        ws.diff_features(spine, ["spending"], before=0, after=None)
    with pytest.raises(DataError, match="no time column"):
        ws.diff_features(spine.drop("timestamp"), ["spending"], before=0, after=1)
    with pytest.raises(NotFoundError, match="no column 'lasd' was compared"):
        ws.diff(one.build_id, one.build_id).to_polars("lasd")


def test_changed_python_code_is_refused_with_the_build(ws):
    one = ws.get_training_data("buyers")
    ws.apply(shop(other_code=True))
    two = ws.get_training_data("buyers")
    with pytest.raises(DefinitionError, match=f"build buyers {one.build_id[:8]} cannot be made again"):
        ws.diff(one.build_id, two.build_id)


# The oracle: every subset of changes made by loops over the versions that are stored.

moments = st.integers(100, 140)
customers = st.sampled_from("ab")
events = st.tuples(st.integers(1, 4), customers, moments, st.sampled_from([0.0, 1.0, 2.0]), st.booleans())
batches = st.lists(st.lists(events, min_size=1, max_size=3, unique_by=lambda one: one[0]), max_size=4)


@examples(12, heavy=True)
@given(batches, batches, st.sampled_from(["48h", "12h"]), st.sampled_from(["observed", "latest"]), st.booleans())
def test_every_changed_cell_has_the_cause_that_the_oracle_finds(first, second, window, known, budgets):
    clock = tm.ReplayClock(at(141))
    with (
        tempfile.TemporaryDirectory() as folder,
        tm.connect(Path(folder) / "shop.tm", create=True, clock=clock) as ws,
    ):
        ws.apply(shop("48h", known, pushes=True))
        taken = set()
        arrive(ws, clock, [[(99, "z", 100, 1.0, False)], *first], taken)
        ws.push("visits", [visit(n, "ab"[n % 2], 104 + 4 * n) for n in range(16)])
        one = ws.get_training_data("buyers")
        arrive(ws, clock, second, taken)
        if budgets:
            ws.push("visits", [visit(n, "ab"[n % 2], 104 + 4 * n, 1.0) for n in range(0, 16, 3)])
        ws.apply(shop(window, known, pushes=True))
        two = ws.get_training_data("buyers")
        diff = ws.diff(one.build_id, two.build_id)
        versions = ws.sql("select * from orders_history").rows(named=True)
        expected = oracle_diff(versions, one, two, window, known)
    found = diff.to_polars().select("customer", "timestamp", "column", "before", "after", "cause", "together").rows()
    assert {row[:3]: (*row[3:6], tuple(row[6])) for row in found} == expected
    assert len(found) == len(expected) == diff.changed == sum(diff.by_cause.values())


def arrive(ws, clock, batches, taken):
    """Ingest batches two hours apart; what was never there is not deleted."""
    for batch in batches:
        clock.advance(timedelta(hours=2))
        rows = [(*one[:4], one[4] and one[0] in taken) for one in batch]
        taken |= {one[0] for one in rows}
        store(
            ws, "orders", [order(n, customer, hour, amount, deleted=gone) for n, customer, hour, amount, gone in rows]
        )


def oracle_diff(versions, one, two, window, known):
    spines = [data.train.spine.select("customer", "timestamp", "budget").rows() for data in (one, two)]
    budgets = [{(customer, time): budget for customer, time, budget in spine} for spine in spines]
    rows = list(budgets[0])
    assert budgets[0].keys() == budgets[1].keys()
    kinds = [kind_of(version, versions, one.sequence) for version in versions]
    found = {}
    for customer, time in rows:
        t = round((time - datetime.fromisoformat("1970-01-01T00:00:00+00:00")).total_seconds() * 1e6)

        def state(changes, customer=customer, time=time, t=t):
            kept = [
                version
                for version, kind in zip(versions, kinds, strict=True)
                if version["__sequence"] <= two.sequence and (kind is None or kind in changes)
            ]
            length = {"48h": 48, "12h": 12}[window if "definition" in changes else "48h"] * HOUR
            return cells(kept, customer, t, length, budgets["spine" in changes][customer, time], known)

        before, after = state(set()), state(set(BITS))
        for column in before:
            if before[column] == after[column]:
                continue
            alone = [cause for cause in BITS if state({cause})[column] == after[column]]
            touching = [
                cause
                for cause in BITS
                if state({cause})[column] != before[column] or state(set(BITS) - {cause})[column] != after[column]
            ]
            said = (alone[0], ()) if alone else ("joint", tuple(touching))
            found[customer, time, column] = (as_text(before[column]), as_text(after[column]), *said)
    return found


def as_text(value):
    return None if value is None else str(value)


def kind_of(version, versions, q):
    if version["__sequence"] <= q:
        return None
    same = [other for other in versions if other["order"] == version["order"]]
    if not any(other["__sequence"] <= q for other in same):
        return "new rows"
    later = [other for other in same if other["__sequence"] > version["__sequence"] and not other["__deleted"]]
    return "deletion" if version["__deleted"] and not later else "correction"


def cells(versions, customer, t, window, budget, known):
    def rows(known):
        return [
            Row(
                v["customer"],
                v["order"],
                micros(v["__event"]),
                max(micros(v["__event"]), micros(v["__created"])) if known == "observed" else micros(v["__event"]),
                micros(v["__created"]) if known == "observed" else NEVER,
                v["__sequence"],
                v["__deleted"],
                v["amount"],
            )
            for v in versions
        ]

    seen = rows(known)
    newest = oracle_latest(seen, customer, t, strict=False)
    last = None if newest is None else newest.value
    everything = [Row(r.key, r.id, r.e, NEVER, NEVER, r.n, r.deleted, r.value) for r in rows("latest")]
    return {
        "last": last,
        "spent": float(oracle_window("sum", seen, customer, t, window)),
        "n": oracle_window("count", seen, customer, t, 48 * HOUR),
        "rest": None if last is None else budget - last,
        "buys": float(oracle_window("sum", everything, customer, t + 24 * HOUR + 1, 24 * HOUR)),
    }


def micros(value):
    if value is None:
        return NEVER
    return (
        value
        if isinstance(value, int)
        else round((value - datetime.fromisoformat("1970-01-01T00:00:00+00:00")).total_seconds() * 1e6)
    )


def test_a_feature_beyond_64_bits_with_a_sign_is_refused_in_words(tmp_path):
    project = tm.Project("big")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", id="id")
    def rows() -> pl.DataFrame:
        frame = {"id": [1, 2], "customer": ["a", "a"], "at": [at(1), at(9)]}
        return pl.DataFrame(frame).with_columns(big=pl.Series([2**63, 1], dtype=pl.UInt64))

    @project.source(timestamp="at", id="visit")
    def calls() -> pl.DataFrame:
        return pl.DataFrame({"visit": [1], "customer": ["a"], "at": [at(2)]})

    @project.feature_view(entity=customer)
    def view(rows: tm.Rows) -> tm.Features:
        return {"big": rows["big"].last()}

    @project.label(entity=customer, horizon="1h")
    def again(rows: tm.Rows) -> tm.Label:
        return rows.count()

    project.training_set("bigs", spine=calls, label=again, features=[view])
    with tm.connect(tmp_path / "big.tm", create=True, clock=tm.ReplayClock(at(99))) as ws:
        ws.apply(project)
        ws.ingest(complete_until=at(90))
        with pytest.raises(DataError, match="feature 'big' is 9223372036854775808 in a row"):
            ws.get_training_data("bigs")
