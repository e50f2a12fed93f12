"""The audit log: asked, exported, proved whole; and what it keeps of people and of what callers write."""

import csv
import io
import json
import shutil
from datetime import UTC, datetime

import msgspec
import pytest
import served_shop
from command_line import ask, launch, refused, run, succeed
from inside import database_of, environment_of
from tampering import forge

import tinymlops as tm
from tinymlops.errors import DataError, IntegrityError, NotFoundError
from tinymlops.records import AuditEntry, AuditHead, Salt
from tinymlops.registry.scope import Scope
from tinymlops.stores.pseudonyms import FreeText, Person, forget

EMPTY = AuditHead(0, "0" * 64)


def scope_of(ws, actor="anna"):
    return Scope(environment_of(ws), tm.ReplayClock("2024-01-01T00:00:00Z"), actor)


@pytest.fixture
def path(tmp_path):
    """A workspace whose log has seven entries, by three actors."""
    with tm.connect(tmp_path / "shop.tm", create=True) as ws:
        for actor, action, subject in (
            ("anna", "model.promote", "delay@champion"),
            ("bert", "model.register", "delay:3"),
            ("bert", "definition.add", "feature_view:delay"),
            ("anna", "ingest", "delays"),
            ("anna", "ingest", "orders"),
            ("anna", "modelling", "orders"),
        ):
            with scope_of(ws, actor).write(action, subject, rows=3):
                pass
    return tmp_path / "shop.tm"


def numbers(path, **asked):
    with tm.connect(path) as ws:
        return [entry.n for entry in ws.audit.list(**asked)]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [7, 6, 5, 4, 3, 2, 1]),
        ({"who": "bert"}, [4, 3]),
        ({"who": "ber"}, []),
        ({"action": "ingest"}, [6, 5]),
        ({"action": "model."}, [3, 2]),
        ({"action": "model"}, [3, 2]),
        ({"action": "model.promote"}, [2]),
        ({"action": "%"}, []),
        ({"subject": "delay"}, [4, 3, 2]),
        ({"subject": "delay:3"}, [3]),
        ({"subject": "feature_view:delay"}, [4]),
        ({"subject": "feature_view"}, [4]),
        ({"subject": "lay"}, []),
        ({"subject": ""}, []),
        ({"subject": "orders", "action": "ingest", "who": "anna"}, [6]),
        ({"limit": 2}, [7, 6]),
        ({"limit": 2, "before": 6}, [5, 4]),
        ({"before": 1}, []),
        ({"since": "2000-01-01T00:00:00Z"}, [7, 6, 5, 4, 3, 2, 1]),
        ({"until": "2000-01-01T00:00:00Z"}, []),
        ({"since": datetime(9999, 1, 1, tzinfo=UTC)}, []),
        ({"subject": "' OR 1 --"}, []),
    ],
)
def test_entries_are_found_newest_first(path, asked, found):
    assert numbers(path, **asked) == found


def test_the_bounds_of_time_are_those_of_the_entries(path):
    with tm.connect(path) as ws:
        entries = ws.audit.list()
        (last,) = ws.audit.list(since=entries[0].at, limit=1)
        assert last == entries[0]
        assert all(one.at < entries[0].at for one in ws.audit.list(until=entries[0].at))


@pytest.mark.parametrize("asked", [{"subject": "\ud800"}, {"who": "\ud800"}, {"before": 2**70}])
def test_what_no_database_takes_is_a_clear_error(path, asked):
    with tm.connect(path) as ws, pytest.raises(DataError, match="Unicode|whole number"):
        ws.audit.list(**asked)


@pytest.mark.parametrize("limit", [0, -1, 10_001])
def test_an_answer_is_bounded(path, limit):
    with tm.connect(path) as ws, pytest.raises(DataError, match=f"limit is {limit}") as caught:
        ws.audit.list(limit=limit)
    assert "10,000" in caught.value.hint


@pytest.mark.parametrize("since", ["yesterday", "2024-01-01", "2024-01-01T00:00:00"])
def test_a_moment_needs_a_zone(path, since):
    with tm.connect(path) as ws, pytest.raises(DataError, match="since="):
        ws.audit.list(since=since)


# The command


def test_the_command_shows_a_table_json_and_csv(path):
    told = succeed("audit", "--subject", "delay", "--who", "anna", "--workspace", path)
    assert "model.promote" in told
    assert "definition.add" not in told
    asked = ask("audit", "--action", "model.", "--workspace", path)
    assert [one["n"] for one in asked["entries"]] == [3, 2]
    with tm.connect(path) as ws:
        assert asked["head"] == str(ws.audit.head()) in told
    rows = list(csv.reader(io.StringIO(succeed("audit", "--csv", "--limit", 2, "--workspace", path))))
    assert rows[0] == ["n", "at", "actor", "action", "subject", "detail", "previous", "hash"]
    assert [row[0] for row in rows[1:]] == ["7", "6"]
    assert json.loads(rows[1][5]) == {"rows": 3}
    assert "older ones: --before 6" in succeed("audit", "--limit", 2, "--workspace", path)
    assert "there is no such entry" in succeed("audit", "--who", "nobody", "--workspace", path)
    assert "limit is 0" in refused(6, "audit", "--limit", 0, "--workspace", path)
    assert "no time zone" in refused(6, "audit", "--since", "2024-01-01", "--workspace", path)


@pytest.mark.parametrize("bad", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\uff1d1", '=HYPERLINK("x";"y")'])
def test_a_spreadsheet_computes_nothing_of_what_is_exported(path, bad):
    with tm.connect(path) as ws, scope_of(ws, bad).write("note", bad, text=bad):
        pass
    told = succeed("audit", "--csv", "--limit", 1, "--workspace", path)
    assert len(told.splitlines()) == 2
    (_, row) = csv.reader(io.StringIO(told))
    assert all(not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d")) for cell in row)
    assert row[2].startswith("'")
    assert row[2][1:].strip() == bad.replace("\t", "\\t").strip()


def test_control_characters_and_lines_stay_in_their_cell(path):
    with tm.connect(path) as ws, scope_of(ws, 'e\x1b[2Jve\n"2","x"').write("note", "a,b"):
        pass
    told = succeed("audit", "--csv", "--limit", 1, "--workspace", path)
    assert "\x1b" not in told
    assert len(list(csv.reader(io.StringIO(told)))) == 2


def test_actions_actors_and_subjects_are_completed(path, tmp_path):
    (tmp_path / "tinymlops.toml").write_text('workspace = "shop.tm"\n')

    def complete(words):
        return launch(
            cwd=tmp_path,
            _TINYMLOPS_COMPLETE="complete_bash",
            COMP_WORDS=f"tinymlops audit {words}",
            COMP_CWORD=str(len(words.split(" ")) + 1),
        ).stdout.split()

    assert complete("--action mod") == ["model.promote", "model.register", "modelling"]
    assert complete("--who b") == ["bert"]
    assert complete("--subject ord") == ["orders"]


# A changed log


def without(*gone):
    return lambda rows: [row for row in rows if row[0] not in gone]


def edited(rows):
    rows[2][4] = "delay:4"
    return rows


def inserted(rows):
    return [*rows[:3], [rows[3][0], *rows[2][1:]], *[[row[0] + 1, *row[1:]] for row in rows[3:]]]


def reordered(rows):
    rows[2][1:], rows[3][1:] = rows[3][1:], rows[2][1:]
    return rows


@pytest.mark.parametrize(
    ("change", "options", "alone", "against"),
    [
        (edited, {}, True, True),
        (without(3), {}, True, True),
        (inserted, {"counted": True}, True, True),
        (reordered, {}, True, True),
        (without(6, 7), {}, True, True),
        # What follows from itself is seen only from elsewhere.
        (without(6, 7), {"counted": True}, False, True),
        (without(3), {"chained": True, "counted": True}, False, True),
        (edited, {"chained": True}, False, True),
        (inserted, {"chained": True, "counted": True}, False, True),
        (lambda _: [], {"counted": True}, False, True),
        (lambda rows: rows, {"chained": True, "counted": True}, False, False),
    ],
)
def test_a_changed_log_is_found(path, tmp_path, change, options, alone, against):
    with tm.connect(path) as ws:
        ws.backup(tmp_path / "copy")
        head = ws.audit.head()
    forge(path / "meta.db", change, **options)
    with tm.connect(path) as ws:
        assert database_of(ws).damaged_rows() == []  # it is a forger with care
        assert ws.audit.verify().intact is not alone
        for kept in (head, str(head), tmp_path / "copy", str(tmp_path / "copy")):
            assert ws.audit.verify(kept).intact is not against
    code = 8 if against else 0
    assert run("audit", "--against", tmp_path / "copy", "--workspace", path).exit_code == code
    assert run("audit", "--against", head, "--workspace", path, "--json").exit_code == code
    assert run("doctor", "--workspace", path).exit_code == (8 if alone else 0)


def test_a_log_that_only_grew_is_proved(path, tmp_path):
    with tm.connect(path) as ws:
        ws.backup(tmp_path / "copy")
        with scope_of(ws).write("note", "orders"):
            pass
    told = ask("audit", "--against", tmp_path / "copy", "--workspace", path)
    assert told["problems"] == []
    assert told["against"].startswith("7:")
    assert told["head"].startswith("8:")
    assert "nothing was changed up to entry 7" in succeed("audit", "--against", told["against"], "--workspace", path)


def test_what_is_not_a_head_is_refused(path, tmp_path):
    assert "7:abc is not a head" in refused(6, "audit", "--against", "7:abc", "--workspace", path)
    assert "is not a backup" in refused(4, "audit", "--against", "backups", "--workspace", path)
    with tm.connect(path) as ws:
        ws.backup(tmp_path / "copy")
        with pytest.raises(NotFoundError):
            ws.audit.verify("nowhere")
        manifest = tmp_path / "copy" / "manifest.json"
        content = json.loads(manifest.read_bytes())
        del content["audit"]
        manifest.write_text(json.dumps(content))
        with pytest.raises(DataError, match="made by an earlier tinymlops") as caught:
            ws.audit.verify(tmp_path / "copy")
        assert "newer backup" in caught.value.hint
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")  # it is still restored


def test_a_backup_whose_log_does_not_end_as_its_manifest_says_is_not_restored(path, tmp_path):
    with tm.connect(path) as ws:
        ws.backup(tmp_path / "copy")
    manifest = tmp_path / "copy" / "manifest.json"
    content = json.loads(manifest.read_bytes())
    assert content["audit"]["n"] == 7
    content["audit"] |= {"n": 6}
    manifest.write_text(json.dumps(content))
    with pytest.raises(IntegrityError, match="its manifest says 6:"):
        tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    assert not (tmp_path / "again.tm").exists()


def test_a_restored_workspace_says_so_and_goes_on_from_the_head_of_its_backup(path, tmp_path):
    with tm.connect(path) as ws:
        made = ws.backup(tmp_path / "copy")
        with scope_of(ws).write("note", "orders"):
            pass
        newer = ws.audit.head()
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    with tm.connect(tmp_path / "again.tm") as again:
        (entry, *earlier) = again.audit.list()
        assert (entry.n, entry.action, entry.subject) == (8, "workspace.restore", "again.tm")
        assert entry.detail == {"backed_up_at": made.created_at.isoformat(), "sequence": made.sequence}
        assert len(earlier) == 7
        assert again.audit.verify(tmp_path / "copy").intact
        # The entries after the backup are gone, and a newer head tells.
        (problem,) = again.audit.verify(newer).problems
        assert problem.startswith("audit entry 8 is not the one that was there")


# People and free text


def test_free_text_and_people_are_kept_as_pseudonyms_and_found_by_what_they_stand_for(path):
    with tm.connect(path) as ws:
        scope = scope_of(ws)
        with scope.write("erase", Person("customer", (7,)), batch=FreeText("anna's orders"), also=None):
            pass
        with scope.write("note", "orders", about=Person("customer", ("7",)), route=Person("route", ("EWR", 4))):
            pass
        newest, older = ws.audit.list(limit=2)
        assert older.subject.startswith("person:")
        assert older.subject == newest.detail["about"]
        assert older.detail["batch"].startswith("text:")
        assert older.detail["also"] is None
        assert len({older.subject, older.detail["batch"], newest.detail["route"]}) == 3
        assert numbers(path, subject="customer:7") == [newest.n, older.n]
        assert numbers(path, subject="anna's orders") == [older.n]
        assert numbers(path, subject='route:["EWR","4"]') == [newest.n]
        assert numbers(path, subject=older.subject) == [newest.n, older.n]
        assert numbers(path, subject="customer:8") == numbers(path, subject="7") == []
        assert ws.audit.verify().intact
        raw = msgspec.json.encode(ws.audit.list())
        assert b"anna's" not in raw
        assert b"EWR" not in raw


def test_a_person_whose_salt_is_deleted_is_linked_to_nothing(path):
    with tm.connect(path) as ws:
        scope = scope_of(ws)
        for key in (7, 8):
            with scope.write("erase", Person("customer", (key,))):
                pass
        before = {key: numbers(path, subject=f"customer:{key}") for key in (7, 8)}
        with scope.write(audit=None) as tx:
            assert forget(tx, Person("customer", (7,)))
            assert not forget(tx, Person("customer", (7,)))
        assert numbers(path, subject="customer:7") == []
        assert numbers(path, subject="customer:8") == before[8]
        with scope.write("erase", Person("customer", (7,))):
            pass
        (entry,) = ws.audit.list(subject="customer:7")
        old = database_of(ws).get(AuditEntry, n=before[7][0])
        assert entry.subject != old.subject
        assert ws.audit.verify().intact


def test_two_workspaces_call_a_text_differently_and_a_restored_one_alike(path, tmp_path):
    with tm.connect(path) as ws, scope_of(ws).write("note", "x", said=FreeText("anna")):
        pass
    with tm.connect(path) as ws:
        ws.backup(tmp_path / "copy")
        (first,) = ws.audit.list(limit=1)
    tm.restore(tmp_path / "copy", tmp_path / "again.tm")
    assert numbers(tmp_path / "again.tm", subject="anna") == [first.n]
    with tm.connect(tmp_path / "other.tm", create=True) as ws:
        with scope_of(ws).write("note", "x", said=FreeText("anna")):
            pass
        assert ws.audit.list(limit=1)[0].detail != first.detail


def test_an_entry_that_is_rolled_back_leaves_no_salt(path):
    with tm.connect(path) as ws:
        with pytest.raises(ZeroDivisionError), scope_of(ws).write("erase", Person("customer", (7,))):
            raise ZeroDivisionError
        assert database_of(ws).list(Salt) == []


def test_the_key_and_the_salts_are_in_no_table_of_sql(path):
    with tm.connect(path) as ws:
        with pytest.raises(NotFoundError):
            ws.sql("select * from tinymlops.salts")
        assert "salts" not in ws.sql("show tables")["name"].to_list()


PLANTED = "zaphod.beeblebrox"


def test_no_verb_writes_what_callers_say_or_who_they_speak_of_into_the_log(tmp_path, shop_path):
    """Every verb with a planted word in each text, key and id that it takes; names of definitions and models stay."""
    place = shutil.copytree(shop_path, tmp_path / "shop.tm")
    project = tm.Project("people")
    person = project.entity("person", key="person")

    @project.source(timestamp="at", id="event")
    def events() -> tm.Schema:
        return {"event": str, "person": str, "at": datetime, "amount": float}

    @project.feature_view(entity=person)
    def sums(events: tm.Rows) -> tm.Features:
        return {"sum": events["amount"].sum(window="7d")}

    project.check(events, tm.between("amount", 0, 10), action="quarantine")

    def row(event, amount):
        return {"event": f"{PLANTED}-{event}", "person": PLANTED, "at": served_shop.START, "amount": amount}

    with tm.connect(place, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        first = ws.audit.head().n
        ws.apply(project, message=f"because {PLANTED} said so")
        with pytest.warns(UserWarning, match="in quarantine"):
            ws.push("events", [row(1, 1.0), row(2, 99.0)], batch_id=f"{PLANTED}-batch")
        ws.push("events", [{**row(1, 1.0), "deleted": True}], batch_id=f"{PLANTED}-gone")
        ws.checks.drop(ws.checks.quarantined()[0].id)
        ws.compact("events")
        ws.materialize("sums")
        ws.get_online_features(["sums"], [{"person": PLANTED}], consumer="billing")
        ws.catalog.note("sums", f"ask {PLANTED}")
        ws.catalog.mark("sums", "golden")
        ws.save_dataset("saved", [{"person": PLANTED, "timestamp": served_shop.NOW}], ["sums"])
        with ws.start_run(f"for {PLANTED}", params={PLANTED: PLANTED}, tags={PLANTED: PLANTED}) as started:
            started.log_artifact(f"{PLANTED}.txt", PLANTED.encode())
        with pytest.raises(ValueError, match=PLANTED), ws.start_run("second"):
            raise ValueError(PLANTED)
        ws.log_outcomes([{"prediction_id": f"{PLANTED}:1", "value": PLANTED}])
        ws.gc(grace="1s")
        ws.apply(tm.Project("people"), message=f"{PLANTED} asked again")
        entries = [entry for entry in ws.audit.list(limit=10_000) if entry.n > first]
        assert {entry.action for entry in entries} >= {
            *("definition.add", "definition.remove", "push", "checks.quarantine", "checks.drop", "compact", "note"),
            *("mark", "dataset.save", "run.start", "run.log_artifact", "run.finish", "outcomes.log"),
        }
        assert PLANTED not in msgspec.json.encode(entries).decode()
        found = {entry.action for entry in ws.audit.list(subject=f"{PLANTED}-batch")}
        assert found == {"push"}
        assert [entry.action for entry in ws.audit.list(subject=f"for {PLANTED}")] == ["run.start"]
        assert {entry.action for entry in ws.audit.list(subject=f"{PLANTED} asked again")} == {"definition.remove"}
        assert ws.catalog.why("sums@v1")[0].message == f"because {PLANTED} said so"
