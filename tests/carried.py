"""Fixtures of imports: what the real MLflow, tensorboardX and TensorBoard wrote, and a server that answers as MLflow's did."""

import base64
import contextlib
import json
import os
import sqlite3
import threading
import urllib.parse
import zipfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        ("project_id", pa.string()),
        ("run_id", pa.string()),
        ("attribute_path", pa.string()),
        ("attribute_type", pa.string()),
        ("step", pa.decimal128(18, 6)),
        ("timestamp", pa.timestamp("ms", tz="UTC")),
        ("int_value", pa.int64()),
        ("float_value", pa.float64()),
        ("string_value", pa.string()),
        ("bool_value", pa.bool_()),
        ("datetime_value", pa.timestamp("ms", tz="UTC")),
        ("string_set_value", pa.list_(pa.string())),
        ("file_value", pa.struct([("path", pa.string())])),
        (
            "histogram_value",
            pa.struct([("type", pa.string()), ("edges", pa.list_(pa.float64())), ("values", pa.list_(pa.float64()))]),
        ),
    ]
)
START = datetime(2025, 3, 1, 12, tzinfo=UTC)
"""When a run of Neptune was created."""
VALUES = {
    "int": "int_value",
    "float": "float_value",
    "float_series": "float_value",
    "string": "string_value",
    "string_series": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
    "histogram_series": "histogram_value",
    "file": "file_value",
    "file_series": "file_value",
    "file_set": "file_value",
}
FIXTURES = Path(os.environ.get("TINYMLOPS_FIXTURES", Path(__file__).parent / "fixtures"))
"""`make conformance` has the installed MLflow, tensorboardX and TensorBoard write them anew, and names where."""
LINK = ".symlink"


def unpacked(name, folder):
    """Unpack a fixture; a file `<name>.symlink` becomes the link that it stands for."""
    with zipfile.ZipFile(FIXTURES / f"{name}.zip") as archive:
        archive.extractall(folder)
    for path in [*folder.rglob(f"*{LINK}")]:
        path.with_name(path.name.removesuffix(LINK)).symlink_to(path.read_text())
        path.unlink()
    return folder


def by_name(report):
    """Return the lines of a report by the names of the runs."""
    return {line.name: line for line in report.lines}


@contextlib.contextmanager
def writing(path):
    """Write to a database of MLflow."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        yield connection


@contextlib.contextmanager
def answering(answers):
    """Serve recorded answers: method, path and what was asked, to a status and a body."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # an answer in two packets waits for an acknowledgement

        def do_GET(self):
            path, _, query = self.path.partition("?")
            self._answer("GET", path, urllib.parse.urlencode(sorted(urllib.parse.parse_qsl(query))))

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._answer("POST", self.path, json.dumps(body, sort_keys=True))

        def _answer(self, method, path, asked):
            server.asked.append((method, path, asked, self.headers.get("authorization")))
            status, body = answers.get(f"{method} {path} {asked}", [404, base64.b64encode(b"{}").decode()])
            content = base64.b64decode(body)
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def row(run, path, kind, value, step=None, *, project="team/wine", at=None):
    """One attribute, or one point of a series."""
    if kind.startswith("file") and value is not None:
        value = {"path": value}
    moment = at if at is not None else START + timedelta(seconds=float(step)) if step is not None else None
    decimal = Decimal(step).quantize(Decimal("1.000000")) if step is not None else None
    known = {"project_id": project, "run_id": run, "attribute_path": path, "attribute_type": kind}
    return {**known, "step": decimal, "timestamp": moment, VALUES.get(kind, "string_value"): value}


def write(folder, run, *parts, project="team_wine_0a1b"):
    """Write the parts of a run as neptune-exporter names them."""
    (folder / "data" / project).mkdir(parents=True, exist_ok=True)
    for number, rows in enumerate(parts):
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, folder / "data" / project / f"{run}_part_{number}.parquet", compression="snappy")


def system(run, **more):
    """The attributes that every run has."""
    rows = [
        row(run, "sys/id", "string", run),
        row(run, "sys/custom_run_id", "string", f"custom {run}"),
        row(run, "sys/creation_time", "datetime", START),
        row(run, "sys/modification_time", "datetime", START + timedelta(hours=1)),
        row(run, "sys/owner", "string", "ann"),
        row(run, "sys/failed", "bool", False),
        row(run, "sys/trashed", "bool", False),
        row(run, "sys/state", "string", "inactive"),
    ]
    kinds = {bool: "bool", list: "string_set", str: "string", float: "float"}
    return rows + [row(run, f"sys/{name}", kinds[type(value)], value) for name, value in more.items()]


def neptune_export(folder):
    """Write what neptune-exporter writes of one small run."""
    write(folder, "SAN-1", [*system("SAN-1"), row("SAN-1", "loss", "float_series", 0.5, "0.25")])
    return folder
