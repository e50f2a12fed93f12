"""A PostgreSQL server of a test module's own: from Debian, in a temporary directory, as an unprivileged user."""

import os
import pwd
import shutil
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import adbc_driver_postgresql.dbapi

PASSWORD = "s3cret@/:#pass"
ENCODED = "s3cret%40%2F%3A%23pass"


def binaries():
    """Return the directory of `initdb`; None if PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    here = found[-1] if found else shutil.which("initdb")
    return Path(here).parent if here else None


class Server:
    """A cluster in a directory; the superuser `owner` is trusted on the socket, everybody else says a password."""

    def __init__(self, directory):
        self.directory, self.bin = directory, binaries()
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            self.port = one.getsockname()[1]

    def run(self, *command):
        """Run one of its programs, as a user who is not root."""
        as_whom = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            as_whom = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        program = [str(self.bin / command[0]), *map(str, command[1:])]
        out = subprocess.run(program, cwd="/", capture_output=True, text=True, timeout=60, check=False, **as_whom)
        assert out.returncode == 0, out.stderr + out.stdout

    def make(self):
        self.directory.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(self.directory, pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("nobody").pw_gid)
            for place in self.directory.parents:  # pytest's directories are root's alone
                if place.owner() == "root" and place != Path("/tmp") and place.is_relative_to("/tmp"):
                    place.chmod(place.stat().st_mode | 0o011)
        self.run(
            "initdb",
            "-D",
            self.directory / "data",
            "-U",
            "owner",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--no-locale",
        )
        trust = "host all owner 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.directory / "data" / "pg_hba.conf").write_text(trust)
        self.start()
        self.sql(f"create role reader login password '{PASSWORD}'", "grant pg_read_all_stats to reader")
        self.sql("create role stranger login password 'stranger'")

    def start(self):
        settings = f"-c listen_addresses=127.0.0.1 -p {self.port} -k '' -c fsync=off -c max_prepared_transactions=5"
        log = self.directory / "log"
        self.run("pg_ctl", "-D", self.directory / "data", "-o", settings, "-l", log, "-w", "start")

    def stop(self):
        self.run("pg_ctl", "-D", self.directory / "data", "-m", "immediate", "-w", "stop")

    def url(self, user="reader", password=ENCODED, database="postgres"):
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @contextmanager
    def connected(self, database="postgres"):
        """Give a function that runs SQL as the superuser, on one connection in autocommit."""
        address = f"postgresql://owner@127.0.0.1:{self.port}/{database}"
        with (
            adbc_driver_postgresql.dbapi.connect(address, autocommit=True) as connection,
            connection.cursor() as cursor,
        ):

            def sql(*statements):
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []

            yield sql

    def sql(self, *statements, database="postgres"):
        with self.connected(database) as sql:
            return sql(*statements)


@contextmanager
def running(directory):
    """Run a server while a test module needs it."""
    server = Server(directory)
    server.make()
    try:
        yield server
    finally:
        server.stop()
