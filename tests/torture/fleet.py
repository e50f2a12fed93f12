"""Children to torture: forked by `child.py`, traced and killed by strace."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
STATE = "write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir"
STATE += ",ftruncate,fallocate,openat,link,linkat,copy_file_range,sendfile"
_PATIENCE = 90.0
_BETWEEN_LOOKS = 0.003
_LINE = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)(.*)$")


class Ended(NamedTuple):
    """How a child ended."""

    status: int
    """Its exit code, or minus the signal that ended it."""
    said: list
    """What it acknowledged or answered."""
    log: Path | None


class Call(NamedTuple):
    """One system call that a trace shows."""

    thread: int
    name: str
    nth: int
    """1 for the first of this name in its thread."""
    text: str


class Fleet:
    """One server of children.

    Args:
        scratch: A directory for outputs and logs.
    """

    def __init__(self, scratch):
        self.scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self._numbers = iter(range(10**9))
        self._asking = threading.Lock()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, sys.path)])}
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-m", "torture.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=scratch,
        )
        assert "ready" in json.loads(self._server.stdout.readline())

    def close(self):
        """End the server."""
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def start(self, job, path, **options):
        """Make a child that waits for `go`; return it."""
        output = self.scratch / f"{next(self._numbers)}.out"
        pid = self._ask(job=job, path=str(path), output=str(output), **options)["pid"]
        return Child(self, pid, output)

    def do(self, job, path, **options):
        """Run a child to its end."""
        child = self.start(job, path, **options)
        child.go()
        return child.ended()

    def do_or_fail(self, job, path, **options):
        """Run a child to its end.

        Raises:
            AssertionError: If it failed.
        """
        ended = self.do(job, path, **options)
        assert ended.status == 0, (ended.status, ended.said)

    def answer(self, job, path, **options):
        """Run a child to its end and return its last line.

        Raises:
            AssertionError: If it failed.
        """
        ended = self.do(job, path, **options)
        assert ended.status == 0, (ended.status, ended.said)
        return ended.said[-1]

    def traced(self, job, path, *, inject=(), trace=STATE, strings=0, threads=True, **options):
        """Run a child under strace.

        Args:
            job: See `child.py`.
            path: The workspace.
            inject: The fault for strace to inject: "write:signal=SIGKILL:when=3".
            trace: Which calls to log.
            strings: How many bytes of written data the log shows.
            threads: Whether to log and inject into other threads than the first as well.
            **options: For the child.
        """
        child = self.start(job, path, **options)
        log = child.output.with_suffix(".trace")
        command = [
            "strace",
            *(["-f"] if threads else []),
            "-y",
            "-s",
            str(strings),
            "-o",
            str(log),
            "-e",
            f"trace={trace}",
            "-e",
            "signal=none",
        ]
        for one in inject:
            command += ["-e", f"inject={one}"]
        with subprocess.Popen([*command, "-p", str(child.pid)], stderr=subprocess.PIPE, text=True) as strace:
            said = strace.stderr.readline()
            assert "attached" in said, said
            child.go()
            ended = child.ended(log)
            strace.wait(30)
        return ended

    def _ask(self, **request):
        with self._asking:
            self._server.stdin.write(json.dumps(request) + "\n")
            self._server.stdin.flush()
            return json.loads(self._server.stdout.readline())


class Child:
    """A child that waits for `go`."""

    def __init__(self, fleet, pid, output):
        self._fleet = fleet
        self.pid = pid
        self.output = output

    def go(self):
        """Start it."""
        self._fleet._ask(go=self.pid)

    def kill(self):
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)

    def said(self):
        """Return the lines that it has printed so far; an incomplete line does not count."""
        text = self.output.read_text() if self.output.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def ended(self, log=None):
        """Wait for its end, which must not take minutes."""
        late = threading.Timer(_PATIENCE, self.kill)
        late.start()
        while (status := self._fleet._ask(wait=self.pid)["status"]) is None:
            time.sleep(_BETWEEN_LOOKS)
        assert not late.finished.is_set(), f"the child had to be ended after {_PATIENCE:g} seconds"
        late.cancel()
        return Ended(status, self.said(), log)


def has_strace():
    """Whether strace is there and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def calls(log):
    """Return the calls of a trace in the order they began."""
    counts, found = {}, []
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None or "resumed>" in match[3][:12] or not match[3].startswith("("):
            continue
        thread, name = int(match[1]), match[2]
        counts[thread, name] = counts.get((thread, name), 0) + 1
        found.append(Call(thread, name, counts[thread, name], line))
    return found


def points(log, within):
    """Return the calls of a trace that change something below a directory, in order."""
    return [call for call in calls(log) if _changes(call) and str(within) in call.text]


def _changes(call):
    return call.name != "openat" or "O_CREAT" in call.text or "O_TRUNC" in call.text


def copied(base, target):
    """Copy a prepared directory, cheaply where the file system can."""
    subprocess.run(["cp", "-r", "--reflink=auto", "--sparse=always", str(base), str(target)], check=True)
    return target


def waited(condition, *, seconds=30.0):
    """Wait for a condition of another process."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come in time"
        time.sleep(0.002)
