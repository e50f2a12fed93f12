"""The model registry: versions without gaps, aliases that move by compare-and-swap, manifests that are checked."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tinymlops import errors
from tinymlops.errors import ConflictError, DataError, IntegrityError, NotFoundError
from tinymlops.records import AuditEntry, Definition, FeatureField, LoggedModel, Note, Signature
from tinymlops.registry.models import Models
from tinymlops.registry.runs import Runs
from tinymlops.registry.scope import Scope
from tinymlops.stores.environment import open_environment

PYTHONPATH = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
NOW = datetime(2013, 10, 1, tzinfo=UTC)
REGISTER = """
import sys
from pathlib import Path
from tinymlops.times import system_clock
from tinymlops.registry.models import Models
from tinymlops.registry.scope import Scope
from tinymlops.stores.environment import open_environment
environment = open_environment(Path(sys.argv[1]), create=False, clock=system_clock)
models = Models(Scope(environment, system_clock, "anna"))
print("ready", flush=True)
sys.stdin.readline()
print(models.register("delay", sys.argv[2], alias="challenger").version)
environment.release()
"""


@pytest.fixture
def environment(tmp_path):
    environment = open_environment(tmp_path / "flights.tm", create=True, clock=lambda: NOW)
    yield environment
    environment.release()


@pytest.fixture
def models(environment):
    return Models(Scope(environment, lambda: NOW, "anna"))


@pytest.fixture
def run(environment):
    runs = Runs(Scope(environment, lambda: NOW, "anna"))
    definition = Definition(
        kind="feature_view", name="sky", version=1, fingerprint="f1", spec={"a": 1}, project="p", applied_at=NOW
    )
    with environment.database.write(actor="x") as tx:
        tx.insert(definition)
    run = runs.start("baseline", params={"text": "3"})
    runs.log_metrics(run.id, {"auc": 0.9})
    log(runs, run.id, "model")
    return runs.get(run.id)


def log(runs, run, name, definitions=None):
    content = b"a model"
    model = LoggedModel(
        run=run,
        name=name,
        flavor="sklearn",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        model_class="m.M",
        signature=Signature([FeatureField("x", "Float64", "sky:x")], [], "binary", [False, True]),
        definitions={"feature_view:sky": "f1"} if definitions is None else definitions,
        at=NOW,
    )
    return runs.log_model(model, {model.sha256: content})


def test_versions_count_up_and_carry_everything(models, run, environment):
    first = models.register("delay", run, alias="champion")
    second = models.register("delay", run.id[:10])
    assert (first.version, second.version) == (1, 2)
    assert models.get("delay") == models.get("delay@champion") == first
    assert models.get("delay@latest") == models.get("delay:2") == models.get("delay@v2") == second
    assert models.get("delay:1") == first
    assert models.list() == [second]
    assert models.versions("delay") == [first, second]
    assert models.read("delay@champion") == b"a model"
    manifest = models.manifest(first)
    assert manifest.run == run
    assert manifest.model.signature.classes == [False, True]
    assert [one.spec for one in manifest.definitions] == [{"a": 1}]
    assert repr(models) == "<models: delay>"
    assert environment.database.verify_audit() == []
    assert [entry.action for entry in environment.database.list(AuditEntry)][-3:] == [
        "model.register",
        "model.promote",
        "model.register",
    ]


def test_a_bare_name_is_the_newest_version_until_there_is_a_champion(models, run):
    for _ in range(3):
        models.register("delay", run, alias="challenger")
    assert models.get("delay").version == 3
    models.promote("delay", 1)
    assert models.get("delay").version == 1
    models.promote("delay", 2)
    assert models.get("delay").version == 2
    models.rollback("delay")
    assert models.get("delay").version == 1
    assert models.get("delay@latest").version == models.get("delay@challenger").version == 3


def test_latest_is_no_alias_that_can_be_set(models, run):
    models.register("delay", run)
    with pytest.raises(DataError, match="always the newest version"):
        models.promote("delay", 1, "latest")
    with pytest.raises(DataError, match="always the newest version"):
        models.register("delay", run, alias="latest")
    with pytest.raises(ConflictError):
        models.rollback("delay", "latest")
    assert models.aliases("delay") == []
    assert len(models.versions("delay")) == 1


def test_a_manifest_keeps_a_metric_that_is_not_finite(models, run, environment):
    Runs(Scope(environment, lambda: NOW, "anna")).log_metrics(run.id, {"loss": math.nan})
    models.register("delay", run)
    assert math.isnan(models.manifest("delay").run.metrics["loss"])


def test_wrong_names_get_the_near_match(models, run):
    with pytest.raises(NotFoundError, match="register one"):
        models.get("delay")
    models.register("delay", run, alias="champion")
    for reference, hint in [
        ("dellay", "did you mean 'delay'"),
        ("delay@champoin", "did you mean 'champion'"),
        ("delay:7", "it has 1 to 1"),
        ("delay@v7", "it has 1 to 1"),
        ("delay:", "write name"),
        ("delay:x", "write delay, delay@v1 or delay@champion"),
        ("delay@champion:x", "write delay, delay@v1 or delay@champion"),
        ("delay:" + "9" * 5_000, "write name"),
        ("delay@", "write name"),
        ("delay@1", "write delay@v1"),
    ]:
        with pytest.raises(NotFoundError, match=hint):
            models.get(reference)


def test_an_alias_cannot_stand_for_a_number(models, run):
    models.register("delay", run)
    for alias in ("v1", "v12"):
        with pytest.raises(DataError, match="would stand for a number"):
            models.promote("delay", 1, alias)
    with pytest.raises(DataError, match="would stand for a number"):
        models.register("delay", run, alias="v2")


def test_names_are_plain(models, run):
    for name in ("Delay", "../x", "", "a" * 64, "a:b", "3"):
        with pytest.raises(DataError):
            models.register(name, run)
        with pytest.raises(DataError):
            models.register("delay", run, alias=name)


def test_what_is_not_there_is_not_registered(models, run, environment):
    runs = Runs(Scope(environment, lambda: NOW, "anna"))
    with pytest.raises(NotFoundError, match="did you mean 'model'"):
        models.register("delay", run, logged_name="modl")
    with pytest.raises(NotFoundError):
        models.register("delay", "nobody")
    with pytest.raises(DataError, match="not a run"):
        models.register("delay", 3)
    log(runs, run.id, "lost", definitions={"feature_view:gone": "f"})
    with pytest.raises(NotFoundError, match="feature view 'gone'"):
        models.register("delay", run, logged_name="lost")
    environment.blobs.path(hashlib.sha256(b"a model").hexdigest()).unlink()
    with pytest.raises(IntegrityError):
        models.register("delay", run)
    assert models.list() == []


def test_promote_compares_and_swaps(models, run):
    for _ in range(3):
        models.register("delay", run)
    assert models.promote("delay", 1, "champion", expected=0).previous is None
    assert models.promote("delay", 2, "champion", expected=1).previous == 1
    with pytest.raises(ConflictError, match="points at version 2, not at 1"):
        models.promote("delay", 3, "champion", expected=1)
    with pytest.raises(ConflictError):
        models.promote("delay", 3, "shadow", expected=1)
    assert models.promote("delay", 2, "champion").previous == 1
    with pytest.raises(NotFoundError):
        models.promote("delay", 9, "champion")
    assert models.get("delay@champion").version == 2
    assert [alias.alias for alias in models.aliases("delay")] == ["champion"]


def test_rollback_goes_back_once(models, run, environment):
    for _ in range(2):
        models.register("delay", run, alias="champion")
    assert models.rollback("delay", "champion").version == 1
    assert models.get("delay@champion").version == 1
    with pytest.raises(ConflictError, match="no earlier version"):
        models.rollback("delay", "champion")
    with pytest.raises(NotFoundError, match="did you mean 'champion'"):
        models.rollback("delay", "champio")
    last = environment.database.list(AuditEntry, order="-n", limit=1)[0]
    assert (last.action, last.subject, last.detail) == (
        "model.rollback",
        "delay@champion",
        {"version": 1, "previous": 2},
    )


def test_a_damaged_manifest_is_found(models, run, environment, tmp_path):
    version = models.register("delay", run)
    path = environment.path / "blobs" / version.manifest_sha256[:2] / version.manifest_sha256
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    with pytest.raises(IntegrityError):
        models.manifest(version)


def test_eight_processes_at_once_give_versions_without_gap(models, run, environment):
    command = [sys.executable, "-c", REGISTER, str(environment.path), run.id]
    workers = [
        subprocess.Popen(command, env=PYTHONPATH, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    versions = sorted(int(worker.communicate(timeout=20)[0]) for worker in workers)
    assert [worker.returncode for worker in workers] == [0] * 8
    assert versions == list(range(1, 9))
    assert models.get("delay@challenger").version == models.get("delay@latest").version == 8
    assert environment.database.verify_audit() == []


DIES_WITH_A_REASON = """
import os, signal, sys
from pathlib import Path
from tinymlops.times import system_clock
from tinymlops.registry.models import Models
from tinymlops.registry.scope import Scope
from tinymlops.stores.environment import open_environment
from tinymlops.stores.transaction import Transaction

steps, wanted = 0, int(sys.argv[2])

def dying(method):
    def counted(*arguments, **named):
        global steps
        found = method(*arguments, **named)
        steps += 1
        if steps == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return counted

environment = open_environment(Path(sys.argv[1]), create=False, clock=system_clock)
for name in ("put", "insert", "audit"):
    setattr(Transaction, name, dying(getattr(Transaction, name)))
models = Models(Scope(environment, system_clock, "anna"))
(models.promote("delay", 2, message="it is better") if sys.argv[3] == "promote" else models.rollback("delay", message="slow"))
environment.release()
"""


@pytest.mark.parametrize("verb", ["promote", "rollback"])
def test_a_reason_and_the_move_are_seen_together_or_not_at_all(environment, models, run, verb):
    for _ in range(2):
        models.register("delay", run)
    models.promote("delay", 1)
    if verb == "rollback":
        models.promote("delay", 2, message="it is better")
    before = models.moves("delay"), environment.database.list(Note)
    died = 0
    for step in range(1, 9):
        arguments = [sys.executable, "-c", DIES_WITH_A_REASON, str(environment.path), str(step), verb]
        code = subprocess.run(arguments, env=PYTHONPATH, check=False).returncode
        after = models.moves("delay"), environment.database.list(Note)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        assert after == before
        died += 1
    assert died >= 3, "the note, the alias and the entry of the audit log"
    assert len(after[0]) == len(before[0]) + 1
    assert len(after[1]) == len(before[1]) + 1
    assert after[0][0].reason == {"promote": "it is better", "rollback": "slow"}[verb]
    assert after[1][-1].version == {"promote": 2, "rollback": 1}[verb]


def test_a_reason_is_kept_only_where_an_alias_moves_and_only_if_it_is_one(environment, models, run):
    models.register("delay", run, alias="champion")
    models.promote("delay", 1, message="again")
    assert environment.database.list(Note) == []
    for bad in (" ", "x" * 10_001):
        with pytest.raises(DataError, match="cannot be kept"):
            models.promote("delay", 1, "shadow", message=bad)
    assert [one.alias for one in models.aliases("delay")] == ["champion"]
    models.promote("delay", 1, "shadow", message="<b>beside</b>: it")
    assert [one.reason for one in models.moves("delay")] == ["<b>beside</b>: it", ""]
    assert environment.database.list(Note)[0].text == "Promoted to shadow: <b>beside</b>: it"
