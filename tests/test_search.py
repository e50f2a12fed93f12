"""Search: what the workspace says in words is found by them, by beginnings of them and by misspelled ones."""

import random
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.errors import DataError, IntegrityError
from tinymlops.records import Artifact, Definition, Note
from tinymlops.stores.doctor import check
from tinymlops.stores.text_index import words_of

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def shop(**docs):
    project = tm.Project("shop")
    customer = project.entity("customer", key="customer", description="A person who has bought something.")

    @project.source(timestamp="at", owner="ana")
    def orders() -> tm.Schema:
        return {"customer": str, "at": datetime, "grossAmount": float, "größe": int}

    def late_arrivals(orders: tm.Rows) -> tm.Features:
        return {"parcels_30d": orders["grossAmount"].sum(window="30d")}

    late_arrivals.__doc__ = docs.get("late_arrivals", "How many parcels came after the promised day.")
    project.feature_view(entity=customer, tags=["logistics"], unit="EUR")(late_arrivals)

    @project.feature_view(entity=customer)
    def size(orders: tm.Rows) -> tm.Features:
        """Of the last order; the arrivals of it do not count."""
        return {"last_size": orders["größe"].last()}

    return project


def names(result):
    return [one.name for one in result]


@pytest.fixture
def ws(workspace):
    workspace.apply(shop())
    return workspace


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("late arrivals", "late_arrivals"),
        ("arrival LATE", "late_arrivals"),
        ("promised", "late_arrivals"),
        ("promise", "late_arrivals"),
        ("logistics", "late_arrivals"),
        ("parcels_30d", "late_arrivals"),
        ("EUR", "late_arrivals"),
        ("gross amount", "orders"),
        ("ana", "orders"),
        ("größe", "orders"),
        ("who bought", "customer"),
    ],
)
def test_words_of_names_prose_columns_owners_tags_and_units_are_found(ws, text, first):
    assert names(ws.search(text))[0] == first


def test_accents_may_be_left_out(ws):
    assert set(names(ws.search("große"))) == set(names(ws.search("größe")))


@pytest.mark.parametrize("wrong", ["arivals", "arrivasl", "arrrivals", "promissed", "logistcs", "gros amuont"])
def test_misspelled_words_are_found_and_said(ws, wrong):
    result = ws.search(wrong)
    assert names(result)[0] in ("late_arrivals", "orders")


def test_a_correction_is_said(ws):
    result = ws.search("logistcs")
    assert result.corrected == {"logistcs": ["logistics"]}
    assert "no word 'logistcs'; searched for logistics" in repr(result)
    assert "searched for logistics" in result._repr_html_()


def test_part_of_a_word_is_found(ws):
    assert names(ws.search("ogisti")) == ["late_arrivals"]


def test_a_name_comes_before_prose_and_all_words_before_some(ws):
    assert names(ws.search("arrivals"))[:2] == ["late_arrivals", "size"]
    assert names(ws.search("arrivals last"))[:2] == ["size", "late_arrivals"]


def test_nothing_is_found_by_other_words(ws):
    result = ws.search("zebra")
    assert (result.found, result.corrected) == ([], {})
    assert repr(result) == "nothing found"


@pytest.mark.parametrize("text", ["", "  ", "*", '"', "-- ()", None])
def test_a_text_without_words_is_refused(ws, text):
    with pytest.raises(DataError, match="no word to search for"):
        ws.search(text)


@pytest.mark.parametrize("limit", [0, -1, 10**9])
def test_a_limit_is_a_number_of_things(ws, limit):
    with pytest.raises(DataError, match="is not from 1 to"):
        ws.search("late", limit=limit)


@given(st.text(max_size=30))
def test_no_text_is_taken_for_syntax(searched, text):
    try:
        searched.search(text)
    except DataError:
        assert not any(map(str.isalnum, text))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    with tm.connect(tmp_path_factory.mktemp("search") / "shop.tm", create=True) as ws:
        ws.apply(shop())
        yield ws


@pytest.mark.parametrize("text", ["late AND size", "NOT late", "late OR NEAR(size)", "name:late", "late* ^size", 'a"b'])
def test_the_syntax_of_the_index_is_plain_text(searched, text):
    searched.search(text)


def test_what_is_applied_again_is_found_by_its_new_words_alone(ws):
    assert names(ws.search("promised")) == ["late_arrivals"]
    ws.apply(shop(late_arrivals="Something else, of zebras."))
    assert names(ws.search("zebra")) == ["late_arrivals"]
    assert "late_arrivals" not in names(ws.search("promised"))


def test_a_version_in_force_comes_before_one_that_is_not(ws):
    (old,) = database_of(ws).list(Definition, where={"name": "size"})
    with database_of(ws).write(actor=None) as tx:
        tx.delete(Definition, name="size")
        tx.insert(tm_replace(old, removed_at=NOW))
    (found,) = [one for one in ws.search("last size") if one.name == "size"]
    assert not found.in_force
    assert "feature view size@v1 (not in force)" in repr(ws.search("last size"))
    with database_of(ws).write(actor=None) as tx:
        tx.insert(tm_replace(old, version=2, removed_at=None))
    (found,) = [one for one in ws.search("last size") if one.name == "size"]
    assert (found.version, found.in_force) == (2, True)


def tm_replace(record, **changes):
    import msgspec

    return msgspec.structs.replace(record, **changes)


def test_runs_files_models_builds_and_notes_are_found(served):
    with served.start_run("giraffes", params={"neck_length": 3}, tags={"animal": "tall"}):
        pass
    with database_of(served).write(actor=None) as tx:
        run = served.runs.search(limit=1)[0]
        tx.put(Artifact(run=run.id, name="savanna.png", sha256="0" * 64, bytes=1, at=NOW))
        tx.insert(
            Note(kind="feature_view", name="interest", version=1, text="why we chose antelopes", author="ana", at=NOW)
        )
    assert [(one.kind, one.name) for one in served.search("neck")] == [("run", "giraffes")]
    assert [one.kind for one in served.search("tall giraffes")] == ["run"]
    assert [one.kind for one in served.search("savanna")] == ["file of a run"]
    (note,) = served.search("antelope")
    assert (note.kind, note.name, note.version) == ("note", "interest", 1)
    assert "antelopes" in note.excerpt
    assert "model" in [one.kind for one in served.search("splurge")]
    with database_of(served).write(actor=None) as tx:
        tx.delete(Artifact, name="savanna.png")
        tx.delete(Note, kind="feature_view")


def test_columns_that_only_the_rows_have_are_found(workspace):
    project = tm.Project("shop")

    @project.source(timestamp="at")
    def orders() -> pl.DataFrame:
        return pl.DataFrame({"at": [NOW], "wingspan": [1.0]})

    workspace.apply(project)
    assert names(workspace.search("wingspan")) == []
    workspace.ingest()
    assert [(one.kind, one.name) for one in workspace.search("wingspan")] == [("source", "orders")]


def test_the_index_says_what_a_plain_look_at_every_row_says(tmp_path):
    """Words are found wherever they stand, whatever was added, changed and removed in between."""
    draw = random.Random(7)
    alphabet = ["late", "early", "wind", "rain", "order", "delay", "crew", "gate"]
    with tm.connect(tmp_path / "a.tm", create=True) as ws:
        database, texts = database_of(ws), {}
        for step in range(60):
            name = f"view{draw.randrange(8)}"
            with database.write(actor=None) as tx:
                tx.delete(Definition, name=name)
                texts.pop(name, None)
                if draw.random() < 0.7:
                    words = draw.sample(alphabet, 3)
                    texts[name] = set(words)
                    spec = {"name": name, "description": " ".join(words)}
                    row = Definition(
                        kind="feature_view",
                        name=name,
                        version=1,
                        fingerprint="",
                        spec=spec,
                        project="p",
                        applied_at=NOW,
                    )
                    tx.insert(row)
            if step % 3 == 0:
                word = draw.choice(alphabet)
                result = ws.search(word)  # another word is looked for only in place of one that stands nowhere
                found = set() if result.corrected else set(names(result))
                assert found == {one for one, words in texts.items() if word in words}
        assert [one for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"] == []


@pytest.mark.parametrize("columns", ["notes", "owner"])
def test_gc_leaves_nothing_of_what_is_removed_in_the_file(ws, columns):
    path, secret = environment_of(ws).path / "search.db", "xylophonist"
    ws.gc()
    assert not path.exists()  # nothing is indexed for it
    if columns == "notes":
        note = ws.catalog.note("late_arrivals", f"Asked for by the {secret}.")
    else:
        ws.apply(shop(late_arrivals=f"Named after a {secret}."))
    assert ws.search(secret).found
    assert secret.encode() in path.read_bytes()
    if columns == "notes":
        with database_of(ws).write(actor="test") as tx:
            tx.delete(Note, id=note.id)
    else:
        ws.apply(shop())
    ws.gc()
    assert secret.encode() not in path.read_bytes()
    assert not ws.search(secret).found


def test_what_is_removed_is_not_left_in_the_file(ws, tmp_path):
    path = environment_of(ws).path / "search.db"
    secret = "xylophonist"
    ws.apply(shop(late_arrivals=f"Named after a {secret}."))
    assert ws.search(secret).found
    assert secret.encode() in path.read_bytes()
    ws.apply(shop())
    ws.search("late")
    assert secret.encode() not in path.read_bytes()
    assert not path.with_name("search.db-journal").exists()


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 100])
def test_a_file_that_is_no_index_is_made_anew(ws, content):
    ws.search("late")
    (environment_of(ws).path / "search.db").write_bytes(content)
    assert names(ws.search("late"))


def test_an_index_of_another_format_is_made_anew(ws):
    ws.search("late")
    with closing(sqlite3.connect(environment_of(ws).path / "search.db")) as other:
        other.execute("PRAGMA user_version = 99")
    assert names(ws.search("late"))


def test_doctor_finds_a_damaged_index_and_repair_makes_it_anew(ws):
    ws.search("late")
    path = environment_of(ws).path / "search.db"
    content = bytearray(path.read_bytes())
    content[4096:8192] = bytes(4096)
    path.write_bytes(content)

    def levels():
        return {one.check: one.level for one in check(environment_of(ws), lambda _: None)}

    assert levels()["search index"] == "damaged"
    with pytest.raises(IntegrityError, match="is damaged"):
        for word in ("late", "arrivals", "ana", "amuont"):
            ws.search(word)
    ws.repair()
    assert not path.exists()
    assert levels()["search index"] == "ok"
    assert names(ws.search("late"))


def test_only_its_owner_may_read_it_and_a_backup_does_without(ws, tmp_path):
    ws.search("late")
    assert (environment_of(ws).path / "search.db").stat().st_mode & 0o777 == 0o600
    ws.backup(tmp_path / "copy")
    assert not list((tmp_path / "copy").rglob("search.db*"))
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    with tm.connect(tmp_path / "again.tm") as again:
        assert names(again.search("late"))


def test_many_search_at_once_while_somebody_writes(ws):
    failed = []

    def look():
        try:
            for _ in range(10):
                assert "late_arrivals" in names(ws.search("late"))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        with ws.start_run(f"run {number}"):
            pass
    for thread in threads:
        thread.join()
    assert failed == []


def test_words_are_those_of_the_index():
    assert words_of("Crème brûlée") == ["creme", "brulee"]
    assert words_of("한국어 東京") == ["한국어", "東京"]
