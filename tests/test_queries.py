"""Queries in processes of their own: what they answer, what they may not do, and that nothing of them stays."""

import io
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
import polars as pl
import pytest
import served_shop
from conftest import at
from inside import environment_of
from network import FULL

import tinymlops as tm
from tinymlops.queries.answering import answered
from tinymlops.queries.cells import cell_text, column_texts
from tinymlops.queries.charts import chart_of
from tinymlops.queries.messages import Bounds, ChartAsked, File, Question, Refused, Shown
from tinymlops.queries.places import place_of
from tinymlops.queries.processes import QueryProcesses, Running

ROOT = Path(__file__).parent.parent
BOUNDS = Bounds(seconds=10.0, memory=2**30, rows=100_000, bytes=64 * 2**20)
ENDLESS = "with recursive x as (select 1 as a union all select a + 1 from x) select count(*) from x"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("queries") / "shop.tm"
    with tm.connect(path, create=True, clock=tm.ReplayClock(served_shop.NOW)) as ws:
        ws.apply(served_shop.project)
        ws.ingest()
        ws.push("clicks", [{"click": 1, "shopper": "<b>", "at": served_shop.START, "seconds": 1.5}])
        with ws.start_run("first") as run:
            run.log_metric("loss", 0.5)
        yield ws


def question(ws, text, **fields):
    where = {"workspace": str(environment_of(ws).path), "root": str(environment_of(ws).path.parent)}
    now = int(served_shop.NOW.timestamp() * 1e6)
    return Question(**where, text=text, now=now, **{"bounds": BOUNDS, **fields})


def ask(ws, text, **fields):
    return answered(question(ws, text, **fields)).reply


def processes_below(parent):
    """Return the processes that another one started and that are still there, zombies too."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


def gone(process, seconds=10.0):
    """Wait until a process is not there, or nothing but a zombie that somebody else reaps."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    "text",
    [
        "show tables",
        "from orders order by 1",
        "from orders_history order by __sequence",
        "from spending order by 1",
        "from clicks",
        "select name, status from tinymlops.runs",
        "from metrics",
        "select kind, count(*) from tables group by 1 order by 1",
    ],
)
def test_a_query_sees_what_ws_sql_sees(shop, text):
    frame = shop.sql(text)
    shown = ask(shop, text)
    assert isinstance(shown, Shown), shown
    assert ([one.name for one in shown.columns], shown.count, shown.is_whole) == (frame.columns, frame.height, True)
    columns = [column_texts(one.head(200), BOUNDS.characters) for one in frame.iter_columns()]
    assert shown.rows == [list(row) for row in zip(*columns, strict=True)]
    parquet = answered(question(shop, text, form="parquet"))
    assert pl.read_parquet(io.BytesIO(parquet.content)).equals(frame)
    assert isinstance(parquet.reply, File)


REFUSED = [
    ("select 1; drop table orders", "DefinitionError"),
    ("drop table orders", "DefinitionError"),
    ("create table x as select 1", "DefinitionError"),
    ("copy (select 1) to 'x.csv'", "DefinitionError"),
    ("attach 'x.db' as z", "DefinitionError"),
    ("install httpfs", "DefinitionError"),
    ("load httpfs", "DefinitionError"),
    ("set memory_limit = '100GB'", "DefinitionError"),
    ("pragma database_list", "DefinitionError"),
    ("call pragma_version()", "DefinitionError"),
    ("explain analyze select 1", "DefinitionError"),
    ("from read_csv('/etc/passwd')", "AccessError"),
    ("from read_text('/etc/passwd')", "AccessError"),
    ("from read_blob('meta.db')", "AccessError"),
    ("from glob('/*')", "AccessError"),
    ("from '/etc/passwd.csv'", "AccessError"),
    ("from 'features.parquet'", "AccessError"),
    ("with x as (from 'features.parquet') from x", "AccessError"),
    ("from parquet_schema('shop.parquet')", "AccessError"),
    ("select current_setting('memory_limit')", "AccessError"),
    ("select getenv('HOME')", "DefinitionError"),
    ("from duckdb_settings()", "AccessError"),
    ("from sqlite_master", "NotFoundError"),
    ("from information_schema.tables", "DefinitionError"),
    ("from audit", "NotFoundError"),
    ("from tinymlops.audit", "NotFoundError"),
    ('from "AUDIT"', "NotFoundError"),
    ("from access", "NotFoundError"),
    ("", "DefinitionError"),
    ("-- nothing", "DefinitionError"),
    ("select '\0'", "DefinitionError"),
]


def test_nothing_but_one_select_from_tables_is_run(shop):
    path = environment_of(shop).path
    before = {file: file.stat().st_mtime_ns for file in sorted(path.parent.rglob("*")) if "shm" not in file.name}
    for text, kind in REFUSED:
        refused = ask(shop, text, hidden=("audit", "access"))
        assert (isinstance(refused, Refused), getattr(refused, "kind", None)) == (True, kind), (text, refused)
        assert str(path.parent) not in refused.message + refused.hint, refused
    assert ask(shop, "select count(*) from audit").count == 1
    assert "audit" not in {name for name, _ in ask(shop, "show tables", hidden=("audit",)).rows}
    after = {file: file.stat().st_mtime_ns for file in sorted(path.parent.rglob("*")) if "shm" not in file.name}
    assert after == before


@pytest.mark.parametrize(
    ("query", "line", "column"),
    [
        ("selec 1", 1, 1),
        ("\n-- all\nselect a\nfrom orders\nwhere amountx > 1", 5, 7),
        ("select 1,\n  nosuch(2)", 2, 3),
        ("select *\nfrom ordrs", 2, 6),
        ("select *, 'ordrs'\nfrom orders, Ordrs", 2, 14),
        ("select 'é', 1 / 0, 'x'::int", 1, 23),
        ("select\n\tcast('" + "y" * 200 + "' as int)", 2, 2),
        ("select 1 limit", 1, 10),
    ],
)
def test_what_is_wrong_is_told_by_line_and_column(shop, query, line, column):
    refused = ask(shop, query)
    assert (refused.place.line, refused.place.column) == (line, column), refused
    assert "LINE" not in refused.message
    text = query.split("\n")[line - 1]
    assert refused.place.text in text
    assert (
        refused.place.text[refused.place.offset :]
        == text[column - 1 :][: len(refused.place.text) - refused.place.offset]
    )


def test_a_message_without_a_place_has_none():
    assert place_of("the SQL has 2 statements", "select 1; select 2") is None
    assert place_of("broken\n\nLINE 7: other\n        ^", "select 1") is None
    assert place_of("broken\n\nLINE 1: \n ^", "select 1") is None


VALUES = [
    ("null", None),
    ("1.25::decimal(10, 2)", "1.25"),
    ("1::hugeint", "1"),
    ("'inf'::double", "∞"),
    ("'nan'::double", "NaN"),
    ("0.1::double", "0.1"),
    ("true", "true"),
    ("timestamptz '2024-01-01 02:00:00+02'", "2024-01-01 00:00:00"),
    ("timestamp_ns '2024-01-01 00:00:00.123456789'", "2024-01-01 00:00:00.123456789"),
    ("'infinity'::timestamp", "infinity"),
    ("'-infinity'::timestamptz", "-infinity"),
    ("timestamp '1600-02-29 23:59:59.5'", "1600-02-29 23:59:59.5"),
    ("timestamp '20000-01-01 00:00:01.5'", "20000-01-01 00:00:01.5"),
    ("timestamp '290000-12-31 (BC) 23:59:59'", "-289999-12-31 23:59:59"),
    ("{'a': timestamptz '294246-12-31 23:59:59+00'}", "{a: 294246-12-31 23:59:59}"),
    ("date '2024-02-29'", "2024-02-29"),
    ("date '20000-01-01'", "20000-01-01"),
    ("time '10:20:30'", "10:20:30"),
    ("time_ns '10:20:30.123456789'", "10:20:30.123456789"),
    ("[time_ns '10:20:30.000000001']", "[10:20:30.000000001]"),
    ("map {time '10:00': time '00:00'}", "{10:00:00: 00:00:00}"),
    ("interval '1 day 2 hours'", "1 d 2:00:00"),
    ("'\\x00\\xff'::blob", "0x00ff"),
    ("'<img src=x onerror=alert(1)>'", "<img src=x onerror=alert(1)>"),
    ("'a' || chr(27) || '[2J'", "a\\x1b[2J"),
    ("''", ""),
    ("[1, null, 3]", "[1, null, 3]"),
    ("{'a': [1], 'b': {'c': null}}", "{a: [1], b: {c: null}}"),
    ("['infinity'::timestamp]", "[infinity]"),
    ("[]", "[]"),
    ("repeat('y', 1000000)", "y" * 300 + " … (1,000,000 characters)"),
    ("'a'::enum('a', 'b')", "a"),
]


def test_every_kind_of_value_can_be_read(shop):
    text = "select " + ", ".join(f"{value} as c{place}" for place, (value, _) in enumerate(VALUES))
    shown = ask(shop, text)
    assert isinstance(shown, Shown), shown
    assert dict(zip([value for value, _ in VALUES], shown.rows[0], strict=True)) == dict(VALUES)
    csv = answered(question(shop, text, form="csv"))
    assert csv.content.decode().splitlines()[0].startswith("c0,c1,")
    assert "[1, null, 3]" in csv.content.decode()
    assert "y" * 1_000_000 in csv.content.decode()
    assert not ask(shop, "select timetz '10:00+02'").message.startswith("Traceback")


def test_a_type_that_a_file_cannot_have_is_told(shop):
    refused = answered(question(shop, "select 1 as a, null::row as b", form="parquet")).reply
    assert (refused.kind, "cannot be written as Parquet" in refused.message) == ("DataError", True)


def test_a_message_as_long_as_a_query_likes_is_cut(shop):
    for text in ("select error(repeat('x', 3000000))", f"select regexp_matches('a', '({'b' * 90_000}')"):
        refused = ask(shop, text)
        assert (refused.kind, len(refused.message) < 3_000) == ("DefinitionError", True)


def test_a_long_value_is_never_written_in_full():
    begun = time.process_time()
    assert cell_text(["x" * 10] * 1_000_000, 30) == "[xxxxxxxxxx, xxxxxxxxxx, xxxxx …"
    assert cell_text([[1, 2, 3]] * 9, 10) == "[[1, 2, 3] …"
    assert cell_text([1], 3) == "[1]"
    assert len(cell_text({"a": "b" * 10_000_000}, 50)) < 100
    deep = [1]
    for _ in range(100):
        deep = [deep]
    assert len(cell_text(deep, 20)) <= 22
    assert time.process_time() - begun < 0.5


def test_wide_and_long_results_are_cut_and_say_so(shop):
    wide = ask(shop, "select " + ", ".join(f"{number} as c{number}" for number in range(3_000)))
    assert (wide.width, len(wide.columns), len(wide.rows[0])) == (3_000, 200, 200)
    twice = ask(shop, "select 1 as a, 2 as a, 3 as A")
    assert len({one.name.lower() for one in twice.columns}) == 3
    bounds = Bounds(seconds=10.0, memory=2**30, rows=5_000, bytes=64 * 2**20)
    long = ask(shop, "from range(1000000000000)", bounds=bounds)
    assert (long.is_whole, len(long.rows)) == (False, 200)
    assert 0 < long.count <= 5_000
    whole = ask(shop, "from range(5000)", bounds=bounds)
    assert (whole.is_whole, whole.count) == (True, 5_000)
    none = ask(shop, "from orders where false", chart=ChartAsked("line", "", ""))
    assert (none.count, none.rows, none.chart) == (0, [], None)
    refused = ask(shop, "from range(1000000)", bounds=bounds, form="csv")
    assert "more than 5,000 rows" in refused.message
    refused = ask(shop, "select repeat('x', 100000000) as a")
    assert (refused.kind, "64 MiB" in refused.message) == ("DataError", True)


def test_a_picture_is_of_the_columns_that_fit(shop):
    both = 'select "at", customer, amount from orders order by "at"'
    chart = ask(shop, both, chart=ChartAsked("line", "", "amount")).chart
    assert (chart.kind, chart.x, chart.y, chart.is_time, chart.total, len(chart.xs)) == (
        "line",
        "at",
        "amount",
        True,
        600,
        600,
    )
    assert chart.xs[0] == served_shop.START.timestamp()
    bars = ask(
        shop, "select customer, sum(amount) as s from orders group by 1 order by 1", chart=ChartAsked("bar", "", "")
    ).chart
    assert (bars.kind, bars.x, bars.y, bars.labels) == ("bar", "customer", "s", [str(one) for one in range(10)])
    assert (
        bars.ys == shop.sql("select sum(amount) from orders group by customer order by customer").to_series().to_list()
    )
    assert "no column 'nosuch'" in ask(shop, both, chart=ChartAsked("bar", "nosuch", "")).no_chart
    assert "not a column of numbers" in ask(shop, both, chart=ChartAsked("bar", "", "at")).no_chart
    assert "no column of numbers" in ask(shop, "select 'a' as a", chart=ChartAsked("bar", "", "")).no_chart
    assert "times or numbers" in ask(shop, "select 'a' as a", chart=ChartAsked("line", "", "")).no_chart


def test_a_long_line_keeps_its_peaks_and_leaves_out_what_is_no_number():
    count = 100_000
    y = [float(number % 10) for number in range(count)]
    y[77_777], y[55_555], y[0], y[count - 1] = 1e6, -1e6, math.nan, math.inf
    frame = pl.DataFrame({"x": list(range(count)), "y": y, "none": [None] * count}, schema_overrides={"none": pl.Int64})
    chart = chart_of(frame, ChartAsked("line", "x", "y"), BOUNDS)
    assert len(chart.ys) <= BOUNDS.points
    assert (max(chart.ys), min(chart.ys)) == (1e6, -1e6)
    assert chart.xs == sorted(chart.xs)
    assert (chart.total, chart.skipped, chart.xs[0], chart.xs[-1]) == (count - 2, 2, 1.0, count - 2.0)
    assert chart_of(frame, ChartAsked("bar", "x", "none"), BOUNDS).ys == []


def test_all_tables_of_a_query_are_of_one_commit(shop):
    from tinymlops.records import RunRow
    from tinymlops.stores.environment import reading

    with reading(environment_of(shop).path) as environment:
        before = environment.database.count(RunRow)
        shop.start_run("later").finish()
        assert environment.database.count(RunRow) == before
    mine = Counter(writable(os.getpid()))
    with reading(environment_of(shop).path) as environment:
        assert environment.database.count(RunRow) == before + 1
        assert set(Counter(writable(os.getpid())) - mine) <= {"meta.db-wal", "meta.db-shm"}
        with pytest.raises(tm.ConflictError), environment.database.write(actor=None):
            pass
    with pytest.raises(tm.NotFoundError), reading(environment_of(shop).path / "tmp"):
        pass


CONFINED = """
import errno, os, resource, sys, time
from tinymlops.queries.confinement import confine
confine(seconds=1.0, memory=2**27)
try:
    with open(sys.argv[1], "wb") as file:
        file.write(b"x")
except OSError as error:
    print(errno.errorcode[error.errno])
try:
    bytearray(2**28)
except MemoryError:
    print("MemoryError")
print(len(bytearray(2**20)), *resource.getrlimit(resource.RLIMIT_CPU), flush=True)
time.sleep(30)
"""


def test_the_kernel_holds_a_confined_process_to_its_limits(tmp_path):
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CONFINED, str(tmp_path / "x")], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, time.monotonic() - begun < 20) == (-signal.SIGALRM, True), done.stderr
    assert done.stdout.split() == ["EFBIG", "MemoryError", str(2**20), "2", "3"]
    assert (tmp_path / "x").stat().st_size == 0


def writable(process):
    """Return the files that a process may write, by the kernel's account of its descriptors."""
    found = []
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            flags = int(re.search(r"flags:\s+(\d+)", Path(f"/proc/{process}/fdinfo/{entry.name}").read_text())[1], 8)
            target = os.readlink(entry)
        except OSError:  # closed meanwhile
            continue
        if flags & os.O_ACCMODE and target.startswith("/") and not target.startswith("/dev/"):
            found.append(Path(target).name)
    return found


def test_a_process_answers_once_and_is_stopped_at_any_moment_without_a_rest(shop):
    processes, told = QueryProcesses(), []
    mine = set(processes_below(os.getpid()))
    processes.prepare()
    try:
        bounds = Bounds(seconds=60.0, memory=2**30, rows=10, bytes=2**20)
        running = Running()
        work = threading.Thread(
            target=lambda: told.append(processes.answer(question(shop, ENDLESS, bounds=bounds), running))
        )
        work.start()
        (child,) = set(processes_below(os.getpid())) - mine
        until = time.monotonic() + 60
        while not re.search(r"Max file size +0 +0", Path(f"/proc/{child}/limits").read_text()):
            assert time.monotonic() < until
            time.sleep(0.005)
        assert set(writable(child)) <= {"meta.db-wal", "meta.db-shm", "gc.lock", "gc.turn"}
        running.stop()
        work.join(20)
        assert not work.is_alive()
        assert (told[0].reply.kind, told[0].reply.message) == ("UnavailableError", "the query was stopped")
        assert gone(child)
        stopped = Running()
        stopped.stop()
        assert processes.answer(question(shop, "select 1"), stopped).reply.kind == "UnavailableError"
    finally:
        processes.close()
    assert set(processes_below(os.getpid())) <= mine
    processes.prepare()
    assert set(processes_below(os.getpid())) <= mine


def test_a_query_without_end_and_one_without_measure_are_ended(shop):
    processes = QueryProcesses()
    try:
        bounds = Bounds(seconds=0.5, memory=2**28, rows=10, bytes=2**20)
        begun = time.monotonic()
        late = processes.answer(question(shop, ENDLESS, bounds=bounds), Running()).reply
        assert (late.kind, late.message) == ("DataError", "the query was stopped after 500ms")
        assert time.monotonic() - begun < 30
        if not FULL:
            return
        bomb = "select list(range) from range(1000000000)"
        large = processes.answer(
            question(shop, bomb, bounds=msgspec.structs.replace(bounds, seconds=20.0)), Running()
        ).reply
        assert (large.kind, large.message) == ("DataError", "the query needs more than 128 MiB of memory")
    finally:
        processes.close()


PARENT = """
import os, sys, threading, time
from tinymlops.queries.messages import Bounds, Question
from tinymlops.queries.processes import QueryProcesses, Running
path, root, text = sys.argv[1:]
bounds = Bounds(seconds=60.0, memory=2**30, rows=10, bytes=2**20)
processes = QueryProcesses()
asked = Question(workspace=path, root=root, text=text, bounds=bounds)
threading.Thread(target=processes.answer, args=(asked, Running()), daemon=True).start()
time.sleep(0.2)
processes.prepare()
print("started", flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not FULL, reason="the long form; a server is killed in test_pages_sql.py")
def test_a_killed_server_leaves_no_process(shop):
    path = environment_of(shop).path
    arguments = [sys.executable, "-c", PARENT, str(path), str(path.parent), ENDLESS]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout.readline() == "started\n"
        children = processes_below(parent.pid)
        assert len(children) == 2
        parent.kill()
    assert all(map(gone, children))


def test_what_is_read_in_place_is_read_and_its_paths_are_not_told(tmp_path):
    (tmp_path / "data").mkdir()
    pl.DataFrame({"id": [1], "at": [at(0)]}).write_parquet(tmp_path / "data" / "new.parquet")
    project = tm.Project("p")

    @project.source(timestamp="at", id="id", store=False)
    def rows() -> str:
        """Rows that stay where they are."""
        return "select * from 'data/*.parquet'"

    with tm.connect(tmp_path / "p.tm", create=True) as ws:
        ws.apply(project)
        assert ask(ws, "select id from rows").rows == [["1"]]
        tmp = environment_of(ws).tmp
        tmp.rmdir()  # a process that may be killed at any moment must leave nothing there
        assert ask(ws, "select id from rows").rows == [["1"]]
        tmp.mkdir()
        (tmp_path / "data" / "new.parquet").write_bytes(b"no longer")
        refused = ask(ws, "select id from rows")
        assert isinstance(refused, Refused)
        assert refused.kind
        assert str(tmp_path) not in refused.message + refused.hint, refused
