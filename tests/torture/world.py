"""A small shop for the torture tests: its verbs, their results, and the checks after any fault."""

import json
import os
import shutil
import sqlite3
import tempfile
import time
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import numpy as np
import polars as pl
from inside import context_of, database_of, environment_of

import tinymlops as tm
from tinymlops.records import Prediction, RunRow
from tinymlops.registry.runs.points import points_of

START = datetime(2024, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=59)
CUSTOMERS = 7
VIEWS = ("spending", "interest", "pace")
OLD = Path(__file__).parents[1] / "fixtures" / "schema_1.zip"
"""A workspace of `served_shop`, which is migrated."""
OLD_VIEWS = {"spending": "customer", "interest": "shopper"}
KEYS = {"customer": list(range(CUSTOMERS)), "shopper": ["a", "b", "c"]}
FOLLOWED = "pings.jsonl"
"""A file beside the workspace, of which no line is taken at first."""
ORDERS = "TORTURE_ORDERS"
"""Names the environment variable that says how many orders there are at their source by now."""

project = tm.Project("torture")
customer = project.entity("customer", key="customer")


@project.source(timestamp="at", id="order")
def orders() -> pl.DataFrame:
    """Orders of customers in turn, ten minutes apart; grows with the variable."""
    count = int(os.environ.get("TORTURE_ORDERS", "300"))
    number = pl.int_range(count, eager=True)
    times = [START + timedelta(minutes=10 * order) for order in range(count)]
    return pl.DataFrame({"order": number, "customer": number % CUSTOMERS, "at": times, "amount": number * 0.5})


@project.source(timestamp="at", id="visit")
def visits() -> pl.DataFrame:
    """Who comes."""
    number = pl.int_range(80, eager=True)
    times = [START + timedelta(minutes=20 * visit) for visit in range(80)]
    return pl.DataFrame({"visit": number, "customer": number * 3 % CUSTOMERS, "at": times})


@project.source(timestamp="at", id="click")
def clicks() -> tm.Schema:
    """Pages looked at."""
    return {"click": int, "customer": int, "at": datetime, "seconds": float}


@project.source(timestamp="at")
def pings() -> tm.Schema:
    """Lines of a file, without ids: what is taken twice is there twice."""
    return {"ping": int, "at": datetime}


@project.source(timestamp="at", id="refund")
def refunds() -> pl.DataFrame:
    """Money given back; some rows are wrong, and more of them with the variable."""
    count = int(os.environ.get(ORDERS, "300")) - 290
    number = pl.int_range(count, eager=True)
    times = [START + timedelta(minutes=30 * refund) for refund in range(count)]
    return pl.DataFrame({"refund": number, "customer": number % CUSTOMERS, "at": times, "amount": number % 3 - 1.0})


@project.source(timestamp="at", id="tip")
def tips() -> tm.Schema:
    """Money given on top."""
    return {"tip": int, "customer": int, "at": datetime, "amount": float}


sane_refunds = project.check(refunds, tm.between("amount", 0), action="quarantine")
sane_tips = project.check(tips, tm.between("amount", 0), action="quarantine")


@project.feature_view(entity=customer)
def spending(orders: tm.Rows) -> tm.Features:
    """What a customer spends."""
    return {"last_amount": orders["amount"].last(), "spent_60d": orders["amount"].sum(window="60d")}


@project.feature_view(entity=customer)
def interest(clicks: tm.Rows) -> tm.Features:
    """How long a customer stays."""
    return {"last_seconds": clicks["seconds"].last(), "clicks_60d": clicks.count(window="60d")}


@project.feature_view(entity=customer)
def pace(orders: tm.Rows) -> tm.Features:
    """How often a customer orders; not materialized in the prepared workspace."""
    return {"orders_60d": orders.count(window="60d")}


@project.label(entity=customer, horizon="1d")
def splurges(orders: tm.Rows) -> tm.Label:
    """Whether a large order follows."""
    return (orders["amount"] > 110).last()


visits_to_orders = project.training_set("visits_to_orders", spine=visits, label=splurges, features=[spending])


def click_rows(first, count):
    """Clicks with ids of their own."""
    return [
        {"click": n, "customer": n % CUSTOMERS, "at": START + timedelta(minutes=n), "seconds": n * 0.25}
        for n in range(first, first + count)
    ]


def tip_rows(first, count):
    """Tips with ids of their own; every second one is wrong."""
    return [
        {"tip": n, "customer": n % CUSTOMERS, "at": START + timedelta(minutes=n), "amount": 1.0 if n % 2 else -1.0}
        for n in range(first, first + count)
    ]


def ping_lines(first, end):
    """Lines of a file that is followed, numbered."""
    return "".join(json.dumps({"ping": n, "at": START.isoformat()}) + "\n" for n in range(first, end))


def _curve(count):
    """Points of a metric, as many as one likes."""
    steps = np.arange(count)
    return points_of(steps, np.sin(steps / 100), 1_000 * steps)


def connect(path, *, create=False):
    """Open a workspace of the shop, long after its last row."""
    return tm.connect(path, create=create, clock=tm.ReplayClock(NOW))


def build(path):
    """Make the starting workspace of every fault: files, dead files, an orphan, pushed rows, versions of a model."""
    from sklearn.tree import DecisionTreeClassifier

    with connect(path, create=True) as ws:
        ws.apply(project)
        for count in ("100", "200", "300"):
            os.environ[ORDERS] = count
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                ws.ingest("orders", "visits")
        ws.compact("orders")
        os.environ[ORDERS] = "310"
        ws.ingest("orders")
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            ws.ingest("refunds")
            ws.push("tips", tip_rows(0, 8))
        ws.catalog.note("spending", "What was known at the beginning.")
        ws.search("beginning")
        ws.push("clicks", click_rows(0, 20), batch_id="first")
        ws.materialize(spending, interest)
        data = ws.get_training_data(visits_to_orders)
        with ws.start_run("tree", data=data) as training:
            training.log_model(DecisionTreeClassifier(max_depth=2).fit(data.train.X, data.train.y))
            training.log_metrics(depth=2.0)
            training.log_artifact("notes.txt", b"how it was trained")
            ws.runs.log_points(training.id, {"loss": _curve(20_000)})
        doomed = ws.start_run("doomed", experiment="trials")
        doomed.log_artifact("large.bin", bytes(range(256)) * 64)
        for step in range(5):
            doomed.log_metric("loss", 1.0 / (step + 1), durable=step % 2 == 0)
        for alias in ("champion", None):
            ws.register_model("splurge", run=training, alias=alias)
        ws.predict("splurge@champion", [{"customer": number} for number in range(CUSTOMERS)])
        for name in ("billing", "reports"):
            path.with_name(name).write_text(ws.tokens.create(name, "predictor").token)
    with connect(path) as ws:  # which the log of predictions has reached
        known = database_of(ws).list(Prediction)
        ws.log_outcomes([{"prediction_id": one.id, "value": True} for one in known[:3]])
    path.with_name(FOLLOWED).write_text(ping_lines(0, 20))
    orphan = path / "blobs" / "ab" / ("ab" + "0" * 62)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"left by a crash")
    os.utime(orphan, (0, 0))
    saved = path.with_name("saved")
    run("backup", path, lambda _: None)
    path.with_name("copy").rename(saved)
    with zipfile.ZipFile(OLD) as packed:
        packed.extractall(path.with_name("old.tm"))
    path.with_name("old.tm").chmod(0o700)


def _opened(act):
    def verb(path):
        with connect(path) as ws:
            yield act(ws)

    return verb


def _ingest(ws):
    os.environ[ORDERS] = "340"
    return ws.ingest("orders")[0].sequence


def collect_garbage(ws):
    """Remove everything that is not needed now, without a grace period."""
    from tinymlops.stores.collection import collect

    return collect(environment_of(ws), now=int(time.time() * 1e6) + 10**9, grace=0, actor="test").bytes


def _backup(ws):
    from tinymlops.stores.backup import backup

    path = environment_of(ws).path
    return backup(environment_of(ws), path.with_name("copy"), advance=lambda _: None).sequence


def _artifact(ws):
    with ws.start_run("notes") as notes:
        notes.log_artifact("notes.txt", b"a few notes")
    return notes.id


def _quarantine_ingest(ws):
    os.environ[ORDERS] = "340"
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return ws.ingest("refunds")[0].sequence


def _quarantine_push(ws):
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        return ws.push("tips", tip_rows(100, 6)).sequence


def _quarantine_threads(ws):
    """Push from several threads at once, which share commits."""
    with warnings.catch_warnings(action="ignore", category=UserWarning), ThreadPoolExecutor(4) as pool:
        return sum(
            one.rows_quarantined for one in pool.map(lambda n: ws.push("tips", tip_rows(200 + 10 * n, 4)), range(8))
        )


def _waiting(ws, source):
    """Settle what waits of a source; nothing if that was done before."""
    return [one.id for one in ws.checks.quarantined(source)]


def _release(ws, source="refunds"):
    return [ws.checks.release(number).rows_new for number in _waiting(ws, source)]


def _release_some(ws):
    """Release one row of the first quarantine, by its number; nothing if that was done before."""
    for number in _waiting(ws, "tips"):
        if 0 in ws.checks.rows(number)["__row"]:
            return ws.checks.release(number, rows=[0]).rows_new
    return 0


def _drop(ws):
    return [ws.checks.drop(number).rows for number in _waiting(ws, "tips")]


def _dataset(ws):
    spine = pl.DataFrame({"customer": range(CUSTOMERS), "timestamp": [NOW] * CUSTOMERS})
    return ws.save_dataset("customers", spine, [spending]).rows


def _index(ws):
    """Index what was said since, as a search does; and gather what is gone."""
    ws.catalog.note("pace", "Counted while it was indexed.")
    return len(ws.search("indexed").found)


def _token(ws):
    """Issue a token; nothing if that was done before."""
    known = [one.name for one in ws.tokens.list()]
    return "clerk" in known or ws.tokens.create("clerk", "editor", expires="90d").name


def _revoke(ws):
    """Revoke a token; nothing if that was done before."""
    active = [one.name for one in ws.tokens.list() if one.state == "active"]
    return "billing" not in active or ws.tokens.revoke("billing").state


LIFE = ("started", "durable", "flushed", "finished", "resumed", "finished again")
"""The steps of `run_life`, each of which is acknowledged by its number."""
_BUFFERED = 1_500


def _run_life(path):
    """Start a run, log to it, finish it, let it go on and finish it again."""
    with connect(path) as ws:
        run = ws.start_run("life", experiment="lives", params={"depth": 3})
        yield 1
        run.log_metric("loss", 1.0, durable=True)
        yield 2
        for step in range(_BUFFERED):
            run.log_metric("curve", step * 0.5)
        run.flush()
        yield 3
        run.finish()
        yield 4
        again = ws.start_run(resume=run)
        yield 5
        again.log_metric("loss", 2.0, step=0)
        again.finish()
        yield 6


def _life(ws):
    """Return how many steps of its life the newest run has behind it."""
    run = database_of(ws).newest(RunRow, name="life")
    if run is None:
        return 0
    loss, curve = ws.runs.points(run.id, "loss"), ws.runs.points(run.id, "curve")
    if run.status == "finished" and run.session:
        return 6 if ws.runs.points(run.id, "loss", superseded=True).size == loss.size == 1 else 0
    if run.session or run.status == "finished":
        assert curve.values.tolist() == [step * 0.5 for step in range(_BUFFERED)]
        return 4 + bool(run.session)
    if curve.size < _BUFFERED:
        assert curve.values.tolist() == [step * 0.5 for step in range(curve.size)]
    return 3 if curve.size == _BUFFERED else 1 + loss.size


def _delete(ws):
    """Delete a run for good; nothing if that was done before."""
    for run in ws.runs.search("name = 'doomed'"):
        ws.runs.delete(run.id)
    return len(ws.runs.search("name = 'doomed'"))


def _follow(path):
    """Take the lines of a file; nothing that was taken before."""
    with connect(path) as ws:
        ws.follow("pings", path.with_name(FOLLOWED), once=True)
        yield database_of(ws).sequence()


def _create(path):
    with connect(path.with_name("new.tm"), create=True) as ws:
        yield database_of(ws).sequence()


def _migrate(path):
    with connect(path.with_name("old.tm")) as ws:
        yield database_of(ws).rows("PRAGMA user_version")[0][0]


def _restore(path):
    from tinymlops.stores.backup import restore

    yield restore(path.with_name("saved"), path.with_name("restored.tm"), actor="x", advance=lambda _: None).sequence


_SETTLED = "SELECT coalesce(sum(rows), 0) FROM quarantines WHERE settled_at IS NOT NULL AND source = '{}'"
VERBS = {
    "ingest": _opened(_ingest),
    "rebuild": _opened(lambda ws: int(ws.ingest("orders", rebuild=True)[0].generation > 0)),
    "push": _opened(lambda ws: ws.push("clicks", click_rows(100, 5)).sequence),
    "follow": _follow,
    "materialize": _opened(lambda ws: [one.keys for one in ws.materialize()]),
    "compact": _opened(lambda ws: len(ws.compact())),
    "register": _opened(lambda ws: ws.register_model("splurge", run="tree", alias="staging").version),
    "promote": _opened(lambda ws: ws.promote("splurge", 2).version),
    "artifact": _opened(_artifact),
    "quarantine_ingest": _opened(_quarantine_ingest),
    "quarantine_push": _opened(_quarantine_push),
    "quarantine_threads": _opened(_quarantine_threads),
    "release": _opened(_release),
    "release_push": _opened(lambda ws: _release(ws, "tips")),
    "release_some": _opened(_release_some),
    "drop": _opened(_drop),
    "dataset": _opened(_dataset),
    "note": _opened(lambda ws: ws.catalog.note("spending", "What was found out since.").id),
    "mark": _opened(lambda ws: ws.catalog.mark("spending", "golden").mark),
    "index": _opened(_index),
    "token": _opened(_token),
    "revoke": _opened(_revoke),
    "run_life": _run_life,
    "run_delete": _opened(_delete),
    "gc": _opened(collect_garbage),
    "backup": _opened(_backup),
    "restore": _restore,
    "create": _create,
    "migrate": _migrate,
}
"""Verb to a generator on a path that yields once its result is acknowledged, and closes after that."""
ELSEWHERE = {"backup": "copy", "restore": "restored.tm", "create": "new.tm", "migrate": "old.tm"}
"""Verb to what it makes or changes, where that is not the workspace itself."""


COUNTED = {
    "quarantine_ingest": "SELECT count(*) FROM quarantines",
    "quarantine_push": "SELECT count(*) FROM quarantines",
    "release": _SETTLED.format("refunds"),
    "release_push": _SETTLED.format("tips"),
    "release_some": _SETTLED.format("tips"),
    "drop": _SETTLED.format("tips"),
    "dataset": "SELECT count(*) FROM datasets",
    "run_delete": "SELECT count(*) FROM deleted_runs",
    "note": "SELECT count(*) FROM notes",
    "mark": "SELECT count(*) FROM marks",
    "token": "SELECT count(*) FROM tokens",
    "revoke": "SELECT count(*) FROM tokens WHERE revoked_at IS NOT NULL",
}
"""Verb to what counts how far it has come."""


def measure(verb, path):
    """Return how far a verb has come, as the files on the disk show it."""
    if verb == "migrate":
        return _schema_state(path.with_name(ELSEWHERE[verb]))
    if verb in ELSEWHERE:
        return _copy_state(verb, path.with_name(ELSEWHERE[verb]))
    with connect(path) as ws:
        database = database_of(ws)
        if verb in ("ingest", "push", "follow"):
            return database.sequence()
        if verb == "rebuild":
            return database.rows("SELECT count(*) > 0 FROM generations WHERE ends IS NOT NULL")[0][0]
        if verb == "materialize":
            from tinymlops.features.online.materialization import covered

            context = context_of(ws)
            return sum(covered(context, view) is not None for view in context.definitions.of(_view_spec()).values())
        if verb == "compact":
            return database.rows("SELECT count(DISTINCT source) FROM pushed_rows")[0][0]  # a transaction for each
        if verb == "register":
            return len(ws.models.versions("splurge"))
        if verb == "promote":
            return ws.models.get("splurge@champion").version
        if verb == "run_life":
            return _life(ws)
        if verb == "artifact":
            return database.rows("SELECT count(*) FROM artifacts")[0][0]
        if verb in COUNTED:
            return database.rows(COUNTED[verb])[0][0]
        if verb == "quarantine_threads":
            return database.rows("SELECT sum(rows) FROM quarantines")[0][0]
        if verb == "index":
            return len(ws.search("indexed").found)
        return len(_garbage(ws))


def _view_spec():
    from tinymlops.features.definitions.specs import ViewSpec

    return ViewSpec


def _garbage(ws):
    environment = environment_of(ws)
    from tinymlops.stores.references import named_files

    named = {environment.path / file.name for file in named_files(environment.database.rows)}
    stored = [path for root in ("blobs", "segments") for path in (environment.path / root).rglob("*") if path.is_file()]
    return [path for path in stored if path not in named]


def _copy_state(verb, target):
    if verb == "create":
        return int((target / "meta.db").exists())
    if not target.exists():
        return 0
    from tinymlops.stores.backup import read_manifest, restore

    if verb == "backup":
        read_manifest(target)
        again = target.with_name("again.tm")
        shutil.rmtree(again, ignore_errors=True)
        restore(target, again, actor="x", advance=lambda _: None)
        target = again
    problems = invariants(target)
    assert not problems, problems
    return 1


def _schema_state(target):
    """Return how far a migration of schema 1 has come: the version, and how many counters, steps and checksums there are.

    tinymlops is not used, because it would continue where it was stopped. A partly committed migration has the numbers of
    neither end, or other records: that detects `broken.migrate_without_transaction`.
    """
    with _database_of(target) as now, tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(OLD) as packed:
            packed.extract("meta.db", folder)
        with _database_of(Path(folder)) as old:
            for table, records in _records(old).items():
                assert _records(now)[table] == records, f"{table} has {_records(now)[table]} and had {records}"
        checksums = "pragma_table_list AS t JOIN pragma_table_info(t.name) AS c WHERE c.name = 'check_'"
        counted = [f"SELECT count(*) FROM {what}" for what in ("counters", "_sqlite_migrations", checksums)]
        return [now.execute(sql).fetchone()[0] for sql in ("PRAGMA user_version", *counted)]


@contextmanager
def _database_of(path):
    """Read a copy of a workspace's database, its logs with it: SQLite recovers the copy, and leaves the file alone."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal", "-journal"):
            file = path / f"meta.db{suffix}"
            if file.exists():
                shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / "meta.db")) as connection:
            yield connection


def _records(connection):
    """Return table to rows, without what later schemas added: it stands from the checksums on.

    Metrics of runs were a table of points, and a column of runs with the last values; they are chunks since schema 11.
    """
    tables = [name for (name,) in connection.execute("SELECT name FROM pragma_table_list WHERE strict")]
    points = "metrics" if "metrics" in tables else "metric_chunks"
    columns_of_points = "run, name, step, value, at"
    found = {"points": connection.execute(f"SELECT {columns_of_points} FROM {points} ORDER BY 1, 2, 3, 5").fetchall()}
    for table in tables:
        if table == "metrics":
            continue
        columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        names = ", ".join(
            f'"{name}"'
            for name in takewhile(lambda name: name != "check_", columns)
            if (table, name) != ("runs", "metrics")
        )
        added = "WHERE name NOT IN ('commits', 'schema')" if table == "counters" else ""
        found[table] = connection.execute(f'SELECT {names} FROM "{table}" {added} ORDER BY {names}').fetchall()
    return found


def invariants(path):
    """Open the workspace and return the failed checks, one sentence each."""
    from tinymlops.registry.runs.verifying import check_sums
    from tinymlops.stores.doctor import check

    with connect(path) as ws:
        first = database_of(ws).rows("SELECT action FROM audit ORDER BY n LIMIT 1")
        if first != [("workspace.create",)]:
            return [f"the audit log begins with {first}"]
        findings = [*check(environment_of(ws), lambda _: None), *check_sums(database_of(ws))]
        problems = [f"doctor: {one.check}: {one.detail} {one.file}" for one in findings if one.level == "damaged"]
        if problems:
            return problems
        problems += sequences(ws)
        problems += _twice(ws)
        problems += _checked(ws)
        problems += _versions(ws)
        problems += _audited(ws)
        problems += _known(ws)
        if database_of(ws).sequence():
            problems += _parity(ws)
        return problems


def _audited(ws):
    """Yield the changes that have no entry in the audit log, or the other way round: each is in the transaction of the other."""
    database = database_of(ws)
    counted = dict(database.rows("SELECT action, count(*) FROM audit GROUP BY action"))
    tokens = (("token.create", "tokens"), ("token.revoke", "tokens WHERE revoked_at IS NOT NULL"))
    for action, table in (
        ("model.register", "model_versions"),
        ("run.start", "runs UNION ALL SELECT 1 FROM deleted_runs"),
        *tokens,
    ):
        rows = len(database.rows(f"SELECT 1 FROM {table}"))
        if counted.get(action, 0) != rows:
            yield f"{counted.get(action, 0)} entries of {action}, and {rows} rows in {table}"
    name = environment_of(ws).path.name
    if name in (ELSEWHERE["restore"], "again.tm") and counted.get("workspace.restore") != 1:
        yield f"{name} does not say that it was restored"
    if name == ELSEWHERE["migrate"]:  # where pushed rows were corrected
        return
    sql = """SELECT (SELECT coalesce(sum(json_extract(detail, '$.rows')), 0) FROM audit
            WHERE action = 'push' AND subject = 'clicks'),
        (SELECT coalesce(sum(rows), 0) FROM source_states WHERE source = 'clicks')"""
    ((said, stored),) = database.rows(sql)
    if said != stored:
        yield f"the audit log says that {said} clicks were pushed, and {stored} are stored"


def _known(ws):
    """Yield what the texts of tokens open that the list does not say, and the other way round."""
    from tinymlops.errors import AccessError

    states = {one.name: one.state for one in ws.tokens.list()}
    for name in states.keys() & {"billing", "reports"}:
        text = environment_of(ws).path.with_name(name).read_text()
        try:
            state = "active" if ws.tokens.verify(text).name == name else "of another"
        except AccessError as error:
            state = error.message.rpartition(" ")[2]
        if state != states[name]:
            yield f"the token of {name} is {state}, and the list says {states[name]}"


def sequences(ws):
    """Return the gaps in the numbers of rows, and counts that differ from the source's state."""
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.history.stored import stored_rows
    from tinymlops.records import SourceState

    context, numbers, problems = context_of(ws), [], []
    for source in context.definitions.of(SourceSpec):
        state = database_of(ws).get(SourceState, source=source)
        if state is None:
            continue
        rows = stored_rows(context, source)
        numbers += rows["__sequence"].to_list()
        if state.rows != rows.height:
            problems.append(f"{source} counts {state.rows} rows and has {rows.height}")
    last = database_of(ws).sequence()
    ended = database_of(ws).rows("SELECT count(*) FROM generations WHERE ends IS NOT NULL") != [(0,)]
    if len(set(numbers)) < len(numbers) if ended else sorted(numbers) != list(range(1, last + 1)):
        problems.append(f"the rows have {len(numbers)} sequence numbers, and the last is {last}")
    return problems


def _twice(ws):
    """Yield the rows that are stored more than once: nothing in the shop is ever corrected."""
    from tinymlops.features.definitions.specs import SourceSpec
    from tinymlops.features.history.stored import stored_rows

    for source in context_of(ws).definitions.of(SourceSpec).values():
        if source.id is not None and database_of(ws).rows(
            "SELECT 1 FROM source_states WHERE source = ?", (source.name,)
        ):
            ids = stored_rows(context_of(ws), source.name, [source.id])[source.id]
            if ids.n_unique() != len(ids):
                yield f"{source.name} has rows twice: {ids.filter(ids.is_duplicated()).unique().to_list()[:10]}"


def _checked(ws):
    """Yield the rows that came and are neither stored nor in quarantine, or are both."""
    if "refunds" not in {row.name for row in ws.catalog.list()}:
        return
    for source, identifier in (("refunds", "refund"), ("tips", "tip")):
        stored = ws.sql(f"select {identifier} as id, amount from {source}")
        kept = [ws.checks.rows(one.id) for one in ws.checks.quarantined(source)]
        waiting = [number for rows in kept for number in rows[identifier]]
        if len(set(waiting)) < len(waiting) or set(waiting) & set(stored["id"]):
            yield f"{source} has rows twice: waiting {sorted(waiting)}, stored {sorted(stored['id'])}"
        dropped = sum(one.rows for one in ws.checks.quarantined(source, status="dropped"))
        released = sum(one.rows for one in ws.checks.quarantined(source, status="released"))
        wrong = stored.filter(pl.col("amount") < 0).height
        if wrong != released:
            yield f"{source} has {wrong} wrong rows, and {released} were released"
        if source == "tips" and stored.height - wrong != len(waiting) + dropped + wrong:
            yield f"of the tips {stored.height} are stored, {len(waiting)} wait and {dropped} are dropped: half a batch"


def _versions(ws):
    problems = []
    for newest in ws.models.list():
        versions = [one.version for one in ws.models.versions(newest.name)]
        if versions != list(range(1, len(versions) + 1)):
            problems.append(f"{newest.name} has versions {versions}")
        for version in versions:
            ws.models.read(f"{newest.name}:{version}")
        aliases = ws.models.aliases(newest.name)
        problems += [f"@{one.alias} points at {one.version}" for one in aliases if one.version not in versions]
    for run in ws.runs.search():
        for artifact in ws.runs.artifacts(run.id):
            ws.runs.read_artifact(run.id, artifact.name)
    return problems


def _parity(ws):
    problems = []
    old = environment_of(ws).path.name == ELSEWHERE["migrate"]
    for view, entity in (OLD_VIEWS if old else dict.fromkeys(VIEWS, "customer")).items():
        keys = KEYS[entity]
        online = ws.get_online_features([view], {entity: keys})
        spine = pl.DataFrame({entity: keys, "timestamp": [online.timestamp] * len(keys)})
        offline = ws.get_historical_features(spine, [view], as_of=online.sequence).drop("timestamp")
        answer = online.to_polars()
        if online.sequence != database_of(ws).sequence():
            problems.append(f"{view} is behind: {online.sequence}")
        if not answer.equals(offline.select(answer.columns)):
            problems.append(f"{view} as of {online.sequence}: online {answer.rows()}, history {offline.rows()}")
    return problems


def finish(path, verb, before, after, acknowledged):
    """Check the state after a killed verb, do the verb again, and check again.

    Args:
        path: The workspace.
        verb: The killed verb.
        before: The result of `measure` before the verb.
        after: The result of `measure` after it.
        acknowledged: Whether the verb had reported its result; of one that reports its steps, the numbers it has reported.

    Returns:
        What is lost, partly visible, or wrong after doing it again: kind to sentences.
    """
    subject = path.with_name(ELSEWHERE[verb]) if verb in ("create", "migrate") else path
    found = {"lost": [], "half_visible": [], "again": []}
    reached = measure(verb, path)
    least = acknowledged[-1] if verb == "run_life" and isinstance(acknowledged, list) and acknowledged else after
    if acknowledged and not least <= reached <= after:
        found["lost"].append(f"acknowledged, and it is {reached} instead of {least}")
    if not min(before, after) <= reached <= max(before, after):
        found["half_visible"].append(f"it is {reached}, neither {before} nor {after}")
    if reached not in (before, after) and verb in ATOMIC:
        found["half_visible"].append(f"it is {reached}, between {before} and {after}")
    if (subject / "meta.db").exists():
        found["half_visible"] += invariants(subject)
    if not (verb in ("backup", "restore") and reached == after):
        run(verb, path, lambda _: None)
    wanted = after + 1 if verb in ("register", "artifact", "dataset", "note", "index") and reached == after else after
    if measure(verb, path) != wanted:
        found["again"].append(f"done again, it is {measure(verb, path)} instead of {wanted}")
    found["again"] += invariants(subject)
    return found


ATOMIC = (
    *COUNTED,
    "ingest",
    "push",
    "follow",
    "register",
    "promote",
    "artifact",
    "backup",
    "restore",
    "create",
    "migrate",
)
"""Verbs that are done or not; the others may have come half way: `compact` does one source after the other."""


def run(verb, path, acknowledge):
    """Do a verb; report its result at once, and close."""
    for result in VERBS[verb](Path(path)):
        acknowledge(json.dumps(result))


def measured(path, verb):
    """`measure`, as a job."""
    return measure(verb, path)
