"""Notes, marks and the story of a version: who, when, why, and what was made of it."""

import shutil

import pytest
import served_shop

import tinymlops as tm
from tinymlops.errors import ConflictError, DataError, DefinitionError, NotFoundError


def connect(path):
    return tm.connect(path, create=True, clock=tm.ReplayClock(served_shop.NOW))


def project(window="7d"):
    made = tm.Project("shop")
    customer = made.entity("customer", key="customer")

    @made.source(timestamp="at", id="order")
    def orders() -> tm.Schema:
        return {"order": int, "customer": int, "at": served_shop.datetime, "amount": float}

    @made.feature_view(entity=customer)
    def spending(orders: tm.Rows) -> tm.Features:
        return {"spent": orders["amount"].sum(window=window)}

    return made


def test_why_tells_every_version_with_author_date_message_notes_and_mark(tmp_path):
    with connect(tmp_path / "w.tm") as ws:
        ws.apply(project(), message="the first")
        ws.catalog.note("spending", "seven days, as marketing asked")
        ws.apply(project("30d"), message="seasonal customers came twice a month")
        ws.catalog.note("spending@v1", "too short for seasonal customers")
        ws.catalog.mark("spending", "golden")
        newest, first = ws.catalog.why("spending")
        assert (newest.version, newest.message, newest.mark, newest.in_force) == (
            2,
            "seasonal customers came twice a month",
            "golden",
            True,
        )
        assert (first.version, first.message, first.mark, first.replaced_by) == (1, "the first", None, 2)
        assert [note.text for note in first.notes] == [
            "seven days, as marketing asked",
            "too short for seasonal customers",
        ]
        assert first.author == newest.author != ""
        assert [one.version for one in ws.catalog.why("spending@v1")] == [1]
        assert ws.sql("SELECT count(*) FROM tinymlops.notes").item() == 2


def test_a_note_and_a_mark_are_in_the_audit_log(tmp_path):
    with connect(tmp_path / "w.tm") as ws:
        ws.apply(project(), message="why not")
        ws.catalog.note("spending", "x")
        ws.catalog.mark("spending", "silver")
        ws.catalog.mark("spending", None)
        found = ws.sql("SELECT action, subject, detail FROM tinymlops.audit ORDER BY n").rows()
        assert [(action, subject) for action, subject, _ in found][-3:] == [
            ("note", "feature_view:spending"),
            ("mark", "feature_view:spending"),
            ("mark", "feature_view:spending"),
        ]
        assert not any("why not" in detail for _, _, detail in found)
        assert [entry.action for entry in ws.audit.list(subject="why not")][-1] == "definition.add"
        assert ws.catalog.remarks.marks() == []


def test_the_runs_that_used_a_version_are_told_with_their_metrics(shop_path):
    with tm.connect(shop_path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        (story,) = ws.catalog.why("spending")
        assert story.runs
        (of_model, *_) = ws.catalog.why("splurge")
        assert of_model.kind == "model"
        assert of_model.runs


@pytest.mark.parametrize(
    ("reference", "error", "message", "hint"),
    [
        ("spendin", NotFoundError, "nothing is called 'spendin'", "spending"),
        ("spending@v9", NotFoundError, "has no version 9", "it has v1"),
        ("spending@v0", NotFoundError, "is not a reference", "write name"),
        ("spending@ana", NotFoundError, "has no version ana", "it has v1"),
        ("", NotFoundError, "is not a reference", "write name"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(tmp_path, reference, error, message, hint):
    with connect(tmp_path / "w.tm") as ws:
        ws.apply(project())
        for say in (lambda: ws.catalog.note(reference, "x"), lambda: ws.catalog.mark(reference, "golden")):
            with pytest.raises(error, match=message) as info:
                say()
            assert hint in info.value.hint
        with pytest.raises(DefinitionError, match="no mark 'gold'") as info:
            ws.catalog.mark("spending", "gold")
        assert "golden" in info.value.hint
        for text in ("", "  ", "x" * 10_001):
            with pytest.raises(DataError, match="a note of"):
                ws.catalog.note("spending", text)


def test_of_two_kinds_with_one_name_the_kind_is_asked_for(tmp_path, shop_path):
    path = shutil.copytree(shop_path, tmp_path / "shop.tm")
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        ws.register_model("orders", run=ws.models.get("splurge").run)
        with pytest.raises(DefinitionError, match="'orders' is the name of a model and of a source"):
            ws.catalog.note("orders", "which?")
        assert ws.catalog.note("orders", "the rows", kind="source").kind == "source"


def test_a_model_marked_experimental_cannot_become_champion_unless_forced(tmp_path, shop_path):
    path = shutil.copytree(shop_path, tmp_path / "shop.tm")
    with tm.connect(path, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        run = ws.models.get("splurge").run
        second = ws.register_model("splurge", run=run)
        ws.catalog.mark(f"splurge@v{second.version}", "experimental")
        with pytest.raises(ConflictError, match="marked experimental") as info:
            ws.promote("splurge", second.version)
        assert "force=True" in info.value.hint
        assert ws.models.get("splurge").version == 1
        assert ws.promote("splurge", second.version, "challenger").version == second.version
        assert ws.promote("splurge", second.version, force=True).version == second.version
