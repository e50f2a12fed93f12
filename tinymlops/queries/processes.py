"""The processes of queries, as who starts them sees them: one waits, loaded, for the next query, and each answers one."""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import UnavailableError
from tinymlops.printable import printable
from tinymlops.queries.child import LENGTH
from tinymlops.queries.messages import Done, File, Refused, Reply, too_large, too_slow
from tinymlops.secrets import without_secrets

if TYPE_CHECKING:
    from tinymlops.queries.messages import Question

__all__ = ["QueryProcesses", "Running"]

_log = logging.getLogger("tinymlops.server")

_START = "import sys; sys.path[:] = {path!r}; from tinymlops.queries.child import main; main({parent})"
_PATIENCE = 20.0
"""Seconds beyond the time of a query after which its process is killed: it kills itself before."""
_LONGEST_HEAD = 64 * 2**20
_PART = 2**20
_OVER = (signal.SIGALRM, signal.SIGXCPU)
_NO_MEMORY = (signal.SIGKILL, signal.SIGABRT)
"""By the kernel, or by a library that gets none."""
_ONE_THREAD = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Running:
    """A query that goes on, and may be stopped by any thread at any time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.is_stopped = False

    def stop(self) -> None:
        """Kill its process; one that has none yet gets none."""
        with self._lock:
            self.is_stopped = True
            if self._process is not None:
                self._process.kill()

    def begin(self, process: subprocess.Popen[bytes]) -> None:
        """Note the process that answers it."""
        with self._lock:
            self._process = process
            if self.is_stopped:
                process.kill()


class QueryProcesses:
    """The processes that one server has for queries. One is kept ready once there was a reason to, for some minutes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spare: subprocess.Popen[bytes] | None = None
        self._closed = False

    def prepare(self) -> None:
        """Have one process ready for the next query; returns at once."""
        with self._lock:
            if self._closed or (self._spare is not None and self._spare.poll() is None):
                return
            if self._spare is not None:
                _end(self._spare)
            self._spare = process = _started()
        threading.Thread(target=self._reap, args=(process,), name="tinymlops-sql-spare", daemon=True).start()

    def close(self) -> None:
        """End the process that waits; whoever runs a query stops that."""
        with self._lock:
            self._closed = True
            spare, self._spare = self._spare, None
        if spare is not None:
            _end(spare)

    def answer(self, question: Question, running: Running) -> Done:
        """Have a question answered by a process of its own; returns when that is gone.

        Args:
            question: What is asked.
            running: Stops it from elsewhere.

        Returns:
            The reply; what is wrong with the query is a reply too.

        Raises:
            UnavailableError: If no process could be started.
        """
        message = msgspec.msgpack.encode(question)
        message = len(message).to_bytes(LENGTH, "big") + message
        done = self._once(message, question, running) or self._once(message, question, running)
        done = done or Done(_unexplained(0))
        if isinstance(done.reply, Refused) and not done.reply.kind:
            _log.error("a query failed\n%s", printable(without_secrets(done.reply.message)))
            return Done(msgspec.structs.replace(done.reply, message="the query failed; the server's log says why"))
        return done

    def _once(self, message: bytes, question: Question, running: Running) -> Done | None:
        """Return the reply of one process; None from one that ended of itself, just before it was asked."""
        process = self._asked(message, running)
        try:
            until = time.monotonic() + question.bounds.seconds + _PATIENCE
            done = _Answer(process, until).read(2 * question.bounds.bytes)
            if done is not None:
                return done
            why = _explained(process, question, running, is_late=time.monotonic() >= until)
            return None if why is None else Done(why)
        finally:
            _end(process)

    def _asked(self, message: bytes, running: Running) -> subprocess.Popen[bytes]:
        """Return a process that has the question: the one that waits, or a new one if that has just given up."""
        with self._lock:
            spare, self._spare = self._spare, None
        for kept in (spare, None):
            process = kept or _started()
            running.begin(process)
            assert process.stdin is not None, "it has a pipe"
            with suppress(BrokenPipeError):
                process.stdin.write(message)
                process.stdin.flush()
                return process
            _end(process)
        raise UnavailableError("the process of the query ended before it began", hint="try again")

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a process that ends because nobody asked it anything."""
        if not hasattr(os, "waitid"):  # macOS before Python 3.13: it is waited for when the next one is started
            return
        with suppress(OSError):
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._lock:
            if self._spare is process:
                self._spare = None
                _end(process)


class _Answer:
    """What a process writes, until it ends or the time is over."""

    def __init__(self, process: subprocess.Popen[bytes], until: float) -> None:
        assert process.stdout is not None, "it has a pipe"
        self._pipe, self._until = process.stdout.fileno(), until
        self._ready = select.poll()  # `select.select` knows only the first thousand descriptors
        self._ready.register(self._pipe, select.POLLIN | select.POLLHUP)

    def read(self, most: int) -> Done | None:
        """Return the whole answer, or None."""
        length = self._exactly(LENGTH)
        size = int.from_bytes(length or b"", "big")
        head = self._exactly(size) if length is not None and size <= _LONGEST_HEAD else None
        if head is None:
            return None
        reply = msgspec.msgpack.decode(head, type=Reply)
        if not isinstance(reply, File):
            return Done(reply)
        content = self._exactly(reply.bytes) if reply.bytes <= most else None
        return None if content is None else Done(reply, content)

    def _exactly(self, count: int) -> bytes | None:
        found = bytearray()
        while len(found) < count:
            left = self._until - time.monotonic()
            if left <= 0 or not self._ready.poll(left * 1000):
                return None
            part = os.read(self._pipe, min(_PART, count - len(found)))
            if not part:
                return None
            found += part
        return bytes(found)


def _started() -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, with the paths it has here
            [sys.executable, "-c", _START.format(path=sys.path, parent=os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1")},
            start_new_session=True,  # Ctrl-C is for the server, which stops its queries
        )
    except OSError as error:
        raise UnavailableError(f"no process can be started: {error.strerror}", hint="try again later") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process, and leave nothing of it."""
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _explained(
    process: subprocess.Popen[bytes], question: Question, running: Running, *, is_late: bool
) -> Refused | None:
    """Say why a process ended without an answer; None if it ended of itself."""
    if running.is_stopped:
        return Refused(kind="UnavailableError", message="the query was stopped", hint="run it again")
    if is_late:
        return too_slow(question)
    with suppress(subprocess.TimeoutExpired):
        process.wait(1.0)
    code = process.poll()
    if code == 0:
        return None
    if code is not None and -code in _OVER:
        return too_slow(question)
    return too_large(question) if code is not None and -code in _NO_MEMORY else _unexplained(code)


def _unexplained(code: int | None) -> Refused:
    return Refused(kind="", message=f"its process gave no answer and ended with exit code {code}")
