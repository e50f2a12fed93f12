"""A server in a process of its own, and clients that say what no library would."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

PATIENCE = 120
FULL = os.environ.get("TINYMLOPS_TORTURE") == "full"
"""`make torture` runs the long form of what takes its time."""


def some(cases, *short):
    """Return all cases in the long form, and these in `make test`."""
    return list(cases) if FULL else list(short)


SCRIPT = """
import json, sys
import served_shop
import tinymlops as tm
from tinymlops.server import bodies, connections, handshakes

for name, value in json.loads(sys.argv[3]).items():
    module, _, constant = name.partition(".")
    setattr({"bodies": bodies, "connections": connections, "handshakes": handshakes}[module], constant, value)
with tm.connect(sys.argv[1], clock=tm.ReplayClock(served_shop.NOW)) as ws:
    tm.serve(ws, port=0, **json.loads(sys.argv[2]))
"""


class Server:
    """`serve` with options, and with constants of its modules set."""

    def __init__(self, path, constants=None, **options):
        arguments = [str(path), json.dumps(options), json.dumps(constants or {})]
        self._start([sys.executable, "-W", "error", "-c", SCRIPT, *arguments], cwd=Path(__file__).parent)

    @classmethod
    def started(cls, command, **options):
        """Start a command that serves; the options are those of `Popen`."""
        server = cls.__new__(cls)
        server._start(command, **options)
        return server

    def _start(self, command, **options):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        said = self.process.stderr.readline()
        self.url = said.partition("serving on ")[2].partition(" ")[0]
        if not self.url:
            self.process.kill()
            raise AssertionError(said + self.process.stderr.read())
        self.port = int(self.url.rpartition(":")[2])
        self.host = self.url.partition("://")[2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def connect(self, timeout=PATIENCE):
        return socket.create_connection((self.host.rpartition(":")[0].strip("[]"), self.port), timeout=timeout)

    def say(self, raw, timeout=PATIENCE):
        """Send bytes, and return all that comes until the server ends the connection."""
        with self.connect(timeout) as connection:
            connection.sendall(raw)
            return read_all(connection)

    def stop(self):
        """Return the exit code, what is left of standard error, and the seconds that it took."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, err, time.monotonic() - begun


def read_all(connection):
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def statuses(raw):
    """The statuses of the answers in what a server sent."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Za-z -]+\r\n", raw)]


class Ordinary(threading.Thread):
    """A client that asks one thing after the other, and knows how long each took."""

    def __init__(self, url, ask, every=0.002):
        super().__init__()
        self._url, self._ask, self._every = url, ask, every
        self._ended = threading.Event()
        self.seconds, self.bad = [], []

    def run(self):
        with httpx.Client(base_url=self._url, timeout=PATIENCE) as client:
            while not self._ended.wait(self._every):
                begun = time.perf_counter()
                try:
                    status = self._ask(client).status_code
                except httpx.HTTPError as error:
                    status = repr(error)
                self.seconds.append(time.perf_counter() - begun)
                if status != 200:
                    self.bad.append(status)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self.join()

    def told(self):
        """Return milliseconds: the median, the 99th percentile and the longest."""
        ordered = sorted(self.seconds)
        return tuple(round(1e3 * ordered[int(share * (len(ordered) - 1))], 2) for share in (0.5, 0.99, 1.0))
