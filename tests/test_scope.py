"""Every write is audited in its own transaction with its actor, or declares that it is not."""

import getpass
import os

import pytest
from inside import database_of, environment_of

import tinymlops as tm
from tinymlops.records import AuditEntry, PushBatch, Run
from tinymlops.registry.scope import Scope, system_user


@pytest.fixture
def scope(workspace):
    return Scope(environment_of(workspace), tm.ReplayClock("2024-01-01T00:00:00Z"), "anna")


def entries(scope):
    return [(one.actor, one.action, one.subject, one.detail) for one in scope.environment.database.list(AuditEntry)[1:]]


def batch(name):
    return PushBatch(source="orders", batch_id=name, digest=b"", at=0)


def test_a_write_says_what_it_does_in_the_same_transaction(scope):
    with scope.write("batch.keep", "orders", rows=3) as tx:
        tx.insert(batch("a"))
    with pytest.raises(ZeroDivisionError), scope.write("batch.keep", "orders") as tx:
        tx.insert(batch("b"))
        raise ZeroDivisionError
    assert entries(scope) == [("anna", "batch.keep", "orders", {"rows": 3})]
    assert [one.batch_id for one in scope.environment.database.list(PushBatch)] == ["a"]


def test_a_block_that_finds_out_what_it_changes_says_it_inside(scope):
    with scope.write(audit="inside") as tx:
        tx.audit("batch.keep", "orders")
        tx.audit("batch.drop", "clicks")
    with scope.write(audit="inside"):
        pass
    assert [one[1:3] for one in entries(scope)] == [("batch.keep", "orders"), ("batch.drop", "clicks")]


def test_a_write_that_is_not_audited_cannot_be(scope):
    with scope.write(audit=None) as tx:
        tx.insert(batch("a"))
    with pytest.raises(AssertionError, match="not audited"), scope.write(audit=None) as tx:
        tx.audit("batch.keep", "orders")
    assert entries(scope) == []


def test_the_actor_of_a_workspace_is_the_user_of_the_system(workspace, monkeypatch):
    with workspace.start_run("baseline"):
        pass
    actions = {one.action: one.actor for one in database_of(workspace).list(AuditEntry)}
    assert database_of(workspace).count(Run) == 1
    assert actions == {"workspace.create": "tinymlops", "run.start": system_user(), "run.finish": system_user()}
    monkeypatch.setenv("LOGNAME", "anna")
    assert system_user() == getpass.getuser() == "anna"


@pytest.mark.parametrize("error", [OSError("no username"), KeyError("uid not found: 4711"), ImportError("pwd")])
def test_a_user_without_a_name_is_named_by_number(monkeypatch, error):
    def nobody():
        raise error

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert system_user() == f"uid {os.getuid()}"


def test_a_name_that_is_not_text_can_be_stored(tmp_path, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ann\udce9")
    with tm.connect(tmp_path / "shop.tm", create=True) as ws, ws.start_run("baseline"):
        pass
    assert system_user() == "ann?"
