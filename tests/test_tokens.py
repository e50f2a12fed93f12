"""Tokens: printed once, stored hashed, compared in constant time, ended for every process at once."""

import hashlib
import re
import sqlite3
import statistics
import time
from datetime import UTC, datetime, timedelta

import pytest
from inside import database_of

import tinymlops as tm
from tinymlops.errors import AccessError, ConflictError, DataError, NotFoundError
from tinymlops.records import AuditEntry, Token
from tinymlops.registry import tokens


def entries(ws):
    return [
        (one.action, one.subject, one.detail)
        for one in database_of(ws).list(AuditEntry)
        if one.action.startswith("token.")
    ]


def test_a_token_is_known_until_it_is_revoked(workspace):
    assert not workspace.tokens.any()
    new = workspace.tokens.create("billing", "reader", rate=5)
    found = workspace.tokens.verify(new.token)
    assert (found.name, found.role, found.rate) == ("billing", "reader", 5.0)
    workspace.tokens.revoke("billing")
    with pytest.raises(AccessError, match="'billing' is revoked"):
        workspace.tokens.verify(new.token)
    assert workspace.tokens.any()  # revoking the last one opens nothing
    assert entries(workspace) == [
        ("token.create", "token:billing", {"role": "reader", "expires_at": None}),
        ("token.revoke", "token:billing", {}),
    ]


def test_only_the_hash_of_a_token_is_kept(workspace, tmp_path):
    new = workspace.tokens.create("billing", "admin")
    _, identity, secret = new.token.split("_")
    (row,) = database_of(workspace).list(Token)
    assert (row.id, row.digest) == (identity, hashlib.sha256(secret.encode()).digest())
    workspace.backup(tmp_path / "backup")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if secret.encode() in path.read_bytes()]
    assert secret not in repr(new)
    assert secret not in repr(workspace.tokens.list())


def test_a_token_expires(workspace, monkeypatch):
    new = workspace.tokens.create("billing", "reader", expires="90d")
    assert timedelta(days=89) < new.expires_at - datetime.now(UTC) <= timedelta(days=90)
    later = new.expires_at
    monkeypatch.setattr(tokens, "system_clock", lambda: later - timedelta(microseconds=1))
    assert workspace.tokens.verify(new.token).name == "billing"
    monkeypatch.setattr(tokens, "system_clock", lambda: later)
    with pytest.raises(AccessError, match="'billing' is expired"):
        workspace.tokens.verify(new.token)
    assert [one.state for one in workspace.tokens.list()] == ["expired"]
    with pytest.raises(NotFoundError, match="no active token of 'billing'"):
        workspace.tokens.revoke("billing")
    assert workspace.tokens.create("billing", "reader").role == "reader"  # the name is free again


def test_a_name_has_one_active_token(workspace):
    workspace.tokens.create("billing", "reader")
    with pytest.raises(ConflictError, match="there is a token of 'billing' already"):
        workspace.tokens.create("billing", "admin")
    assert [one.role for one in workspace.tokens.list()] == ["reader"]
    assert len(entries(workspace)) == 1  # what was refused left no entry


@pytest.mark.parametrize("name", ["", "Billing", "1a", "a" * 64, "a b", "ana@example.com", "é", "a\n", None, 7])
def test_what_cannot_be_a_name_is_refused(workspace, name):
    with pytest.raises(DataError, match="cannot be the name of a token"):
        workspace.tokens.create(name, "reader")


@pytest.mark.parametrize("role", ["", "Reader", "root", "readers", None, 7, ["reader"]])
def test_what_is_not_a_role_is_refused(workspace, role):
    with pytest.raises(DataError, match="is not a role"):
        workspace.tokens.create("billing", role)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), True, "5"])
def test_what_is_not_a_rate_is_refused(workspace, rate):
    with pytest.raises(DataError, match="is not a number of requests a second"):
        workspace.tokens.create("billing", "reader", rate=rate)


@pytest.mark.parametrize("expires", ["0d", "-1d", "tomorrow", "", "900000000d"])
def test_what_is_not_a_time_to_hold_is_refused(workspace, expires):
    with pytest.raises(tm.TinyMLOpsError):
        workspace.tokens.create("billing", "reader", expires=expires)
    assert not workspace.tokens.any()


def changed(text, place):
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


def test_a_forged_token_is_not_known(workspace):
    text = workspace.tokens.create("billing", "admin").token
    other = workspace.tokens.create("reports", "reader").token
    forged = [changed(text, place) for place in range(len(text))]
    forged += [text[:-1], text + "0", text.upper(), " " + text, text + "\n", "", "tm_", "Bearer " + text, "\x00" * 80]
    forged += [text[:16] + other[16:], text.replace("_", "-"), "é" * 80, text[:16] + "٣" * 64]
    for one in forged:
        with pytest.raises(AccessError, match="not known here"):
            workspace.tokens.verify(one)


def test_another_process_revokes_and_the_next_request_is_refused(workspace, tmp_path):
    new = workspace.tokens.create("billing", "reader")
    assert workspace.tokens.verify(new.token)
    path = database_of(workspace).path.parent
    with tm.connect(path) as other:
        assert other.tokens.verify(new.token)
        other.tokens.revoke("billing")
        with pytest.raises(AccessError, match="revoked"):
            workspace.tokens.verify(new.token)
        again = workspace.tokens.create("billing", "editor")
        assert other.tokens.verify(again.token).role == "editor"


def test_a_token_of_another_workspace_is_not_known(workspace, tmp_path):
    with tm.connect(tmp_path / "other.tm", create=True) as other:
        theirs = other.tokens.create("billing", "admin").token
    workspace.tokens.create("billing", "admin")
    with pytest.raises(AccessError, match="not known"):
        workspace.tokens.verify(theirs)


def test_uses_are_counted(workspace):
    new = workspace.tokens.create("billing", "reader")
    for _ in range(3):
        workspace.tokens.verify(new.token)
    (state,) = workspace.tokens.list()
    assert state.requests == 3
    assert datetime.now(UTC) - state.last_used_at < timedelta(minutes=1)
    workspace.tokens.verify(new.token)
    assert workspace.tokens.list()[0].requests == 4


def test_a_role_raised_behind_the_back_is_found(workspace):
    new = workspace.tokens.create("billing", "reader")
    path = database_of(workspace).path
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE tokens SET role = 'admin'")
    with pytest.raises(tm.IntegrityError, match="table tokens is not what was written"):
        workspace.tokens.verify(new.token)


def test_how_long_a_wrong_token_takes_does_not_tell_how_much_of_it_is_right(workspace):
    """The medians of 4,000 comparisons each are within half of one another; a comparison that ends early is told apart."""
    text = workspace.tokens.create("billing", "admin").token
    wrong = {
        "first": changed(text, 16),
        "last": changed(text, len(text) - 1),
        "unknown": changed(text, 3),
    }
    spent = {name: [] for name in wrong}
    for _ in range(4_000):
        for name, one in wrong.items():
            begun = time.perf_counter_ns()
            with pytest.raises(AccessError):
                workspace.tokens.verify(one)
            spent[name].append(time.perf_counter_ns() - begun)
    first, last = statistics.median(spent["first"]), statistics.median(spent["last"])
    print({name: f"{statistics.median(times) / 1e3:.2f} us" for name, times in spent.items()})
    assert max(first, last) / min(first, last) < 1.5


def test_tokens_look_alike_and_never_repeat(workspace):
    made = {workspace.tokens.create(f"t{number}", "reader").token for number in range(50)}
    assert len({text[16:] for text in made}) == 50
    assert all(re.fullmatch(r"tm_[0-9a-f]{12}_[0-9a-f]{64}", text) for text in made)
