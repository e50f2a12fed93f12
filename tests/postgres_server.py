"""A PostgreSQL server of a test module's own: from Debian, in a temporary directory, as an unprivileged user."""

import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_postgresql.dbapi

PASSWORD = "s3cret@/:#pass"
ENCODED = "s3cret%40%2F%3A%23pass"
_DIES_WITH_ITS_PARENT = 1
"""PR_SET_PDEATHSIG of prctl."""


def binaries():
    """Return the directory of `initdb`; None if PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    here = found[-1] if found else shutil.which("initdb")
    return Path(here).parent if here else None


class Server:
    """A cluster in a directory; the superuser `owner` is trusted, everybody else says a password."""

    def __init__(self, directory):
        self.directory, self.bin, self.process = directory, binaries(), None
        self.whom = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self.whom = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]

    def make(self):
        if self.whom:
            os.chown(self.directory, self.whom["user"], self.whom["group"])
        options = ["-U", "owner", "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale"]
        made = subprocess.run(
            [self.bin / "initdb", "-D", self.directory / "data", *options],
            **{"cwd": "/", "capture_output": True, "text": True, "timeout": 60, "check": False, **self.whom},
        )
        assert made.returncode == 0, made.stderr
        rules = "host all owner 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.directory / "data" / "pg_hba.conf").write_text(rules)
        self.start()
        self.sql(f"create role reader login password '{PASSWORD}'", "grant pg_read_all_stats to reader")
        self.sql("create role stranger login password 'stranger'")

    def start(self):
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_prepared_transactions": 5,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        library = ctypes.CDLL(None)
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.directory / "data", *options],
                cwd="/",
                stdout=log,
                stderr=log,
                preexec_fn=lambda: library.prctl(_DIES_WITH_ITS_PARENT, signal.SIGQUIT),
                **self.whom,
            )
        end = time.monotonic() + 60
        while True:
            try:
                self.sql("select 1")
            except adbc_driver_postgresql.dbapi.Error:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
            else:
                return

    def stop(self):
        """Let it go as if it had crashed."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(30)

    def url(self, user="reader", password=ENCODED, database="postgres"):
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def connected(self):
        """Give a function that runs SQL as the superuser, on one connection in autocommit."""
        address = f"postgresql://owner@127.0.0.1:{self.port}/postgres"
        with (
            adbc_driver_postgresql.dbapi.connect(address, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):

            def sql(*statements):
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

            yield sql

    def sql(self, *statements):
        with self.connected() as sql:
            return sql(*statements)


@contextmanager
def running():
    """Run a server while a test module needs it.

    Its directory is none of pytest's: an unprivileged user cannot enter those of root.
    """
    with tempfile.TemporaryDirectory(prefix="tinymlops-postgres-", ignore_cleanup_errors=True) as directory:
        server = Server(Path(directory))
        server.make()
        try:
            yield server
        finally:
            server.stop()
