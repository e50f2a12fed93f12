"""Fixtures of imports: what the real MLflow, tensorboardX and TensorBoard wrote, and a server that answers as MLflow's did."""

import base64
import contextlib
import json
import sqlite3
import threading
import urllib.parse
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FIXTURES = Path(__file__).parent / "fixtures"
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
