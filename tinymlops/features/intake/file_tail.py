"""The complete lines of a file that grows, over rotations and truncations.

A file is known again by its device and inode and by the bytes at its beginning and before the position: a file that was
renamed or copied goes on from there, and one that was truncated and written anew does not pass for it.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections import deque
from glob import escape
from pathlib import Path

from tinymlops._warn import warn
from tinymlops.errors import AccessError, DataError, NotFoundError
from tinymlops.features.intake.line_input import CHUNK, EDGE, Known, Lines, Place

__all__ = ["Tail"]

_LETTING_GO = 2.0
"""Seconds without a new byte, after which a file that was renamed is left: its writer has opened the new one by then."""
_INODES = 2**63 - 1
_NUMBERED = re.compile(r"[.-]\d[\dTZ._-]*$")
"""How the name of a file ends that was renamed to make room: .1 or -20260131."""
_COMPRESSED = re.compile(r"[.-]\d[\dTZ._-]*\.(gz|bz2|xz|zst|lz4|zip)$")


class Tail:
    """The lines of a file that others append to.

    A file that takes the place of this one is opened when it is seen, so that it may be renamed in its turn before this one
    is read to its end.

    Args:
        path: The file; it need not exist yet.
        known: Where another process stopped; None to begin at its beginning.
        once: Read what is there by now, without waiting for more.
    """

    def __init__(self, path: Path, known: Known | None, *, once: bool = False) -> None:
        self.path = path
        self._once = once
        self._file: int | None = None
        self._lines = Lines()
        self._place: Place | None = None
        self._next: deque[int] = deque()
        """The files that come after this one."""
        self._done = set[tuple[int, int]]()
        self._seen = 0
        self._is_other = False
        """Whether it was truncated or written anew since it was read."""
        self._grew = 0.0
        self._ended = False
        if known is not None:
            self._resume(known)

    @property
    def place(self) -> Place | None:
        """After the lines that were read; None before there is a file."""
        return self._place

    @property
    def has_ended(self) -> bool:
        """Whether all that is there was read, and no more is waited for."""
        return self._ended

    def read(self, most: int) -> list[bytes]:
        """Return the next complete lines; none if there are none, or once the file is another one."""
        if self._file is None or self._place is None or self._is_other:
            return []
        self._look(self._place)  # before it is read, so that nothing is written to it after that
        while not len(self._lines) and self._fill(self._file):
            pass  # a line may be longer than what is read at once
        lines = self._lines.take(most)
        if lines:
            self._place = self._place.after(lines)
        return lines

    def turn(self) -> bool:
        """Go to the file that comes next, if all lines of this one were read; return whether there may be lines."""
        if self._file is None:
            return self._begin()
        if self._is_other:
            return self._leave_truncated()
        if not self._next:
            self._ended = self._once
            return False
        if not self._once and len(self._next) == 1 and time.monotonic() - self._grew < _LETTING_GO:
            return False
        if self._lines.has_rest:
            self._lines.finish()  # nobody writes the rest of it
            return True
        return self._begin()

    def wait(self, seconds: float) -> None:
        """Wait for more lines."""
        time.sleep(seconds)

    def left(self) -> list[bytes]:
        """Return nothing: what is not taken stays in the file."""
        return []

    def close(self) -> None:
        """Close the files."""
        for file in (self._file, *self._next):
            if file is not None:
                os.close(file)
        self._file = None
        self._next.clear()

    def _look(self, place: Place) -> None:
        """Open the files that came after this one, if it is not at the path any more."""
        now = _stat(self.path)
        known = {place[:2], *(_identity(os.fstat(one)) for one in self._next)}
        if now is None or _identity(now) not in known:
            self._next.extend(self._newer(known))

    def _newer(self, known: set[tuple[int, int]]) -> list[int]:
        """Open the file that is at the path, and those that were there since the last known one, in order."""
        assert self._file is not None, "there is a known one"
        after = _age(os.fstat(self._next[-1] if self._next else self._file))
        current = _opened(self.path)  # first: what is renamed meanwhile is found among the others
        skipped = known | self._done | ({_identity(os.fstat(current))} if current is not None else set())
        files = []
        for now, path in sorted(_siblings(self.path), key=lambda one: _age(one[0])):
            if _age(now) > after and _identity(now) not in skipped:
                if _NUMBERED.search(path.name):
                    files.append(_opened(path))
                elif _COMPRESSED.search(path.name):
                    warn(f"{path} may hold lines that were not read, and is compressed")
        return [file for file in (*files, current) if file is not None]

    def _fill(self, file: int) -> bool:
        """Read on; return whether there was anything."""
        assert self._place is not None, "an open file has a place"
        chunk = os.pread(file, CHUNK, self._seen)
        if not _goes_on(file, self._place):
            self._is_other = True
            return False
        if chunk:
            self._seen += len(chunk)
            self._grew = time.monotonic()
            self._lines.add(chunk)
        return bool(chunk)

    def _resume(self, known: Known) -> None:
        """Open the file that another process read, under whatever name it has now."""
        found = self._open(self.path, known) or self._open_likely(known)
        if known.offset and not found:
            warn(
                f"{self.path} is not the file that was read before, up to line {known.line:,}, and no file beside it is: it "
                "is read from its beginning, and what was added to the former file is not found"
            )

    def _open_likely(self, known: Known) -> bool:
        """Open the file that was read by another name, or a copy of it."""
        siblings = sorted(_siblings(self.path), key=lambda one: -one[0].st_mtime_ns)
        return any(self._open(path, known) for path in (*_same(self.path, known), *(path for _, path in siblings)))

    def _open(self, path: Path, known: Known) -> bool:
        """Open a file if it is the one that was read."""
        file = _opened(path)
        if file is None:
            return False
        size = min(known.offset, EDGE)
        identity = _identity(os.fstat(file))
        place = Place(
            *identity, known.offset, known.line, os.pread(file, size, 0), os.pread(file, size, known.offset - size)
        )
        may_be = known.offset > 0 or identity == known[:2]
        if not may_be or os.fstat(file).st_size < known.offset or place.edges != known.edges:
            os.close(file)
            return False
        self._use(file, place)
        return True

    def _leave_truncated(self) -> bool:
        """Read the rest of what was truncated where there is a copy of it; else go on at the beginning."""
        place, file = self._place, self._file
        assert place is not None, "it was read"
        assert file is not None, "it was read"
        os.close(file)
        self._file = None
        known = Known(*place[:4], place.edges)
        if self._open_likely(known):
            return True
        warn(f"{self.path} was truncated after line {place.line:,}: it is read from its beginning")
        return self._begin()

    def _begin(self) -> bool:
        """Go to the beginning of the next file."""
        if self._file is None and not self._next:
            file = _opened(self.path)
            if file is None and self._once:
                raise NotFoundError(f"there is no file {self.path}")
            if file is None:
                return False
            self._next.append(file)
        if self._file is not None:
            self._done.add(_identity(os.fstat(self._file)))
            os.close(self._file)
        file = self._next.popleft()
        self._use(file, Place(*_identity(os.fstat(file)), 0, 0, b"", b""))
        return True

    def _use(self, file: int, place: Place) -> None:
        self._file, self._place, self._seen = file, place, place.offset
        self._lines, self._is_other = Lines(), False
        self._grew = time.monotonic()


def _goes_on(file: int, place: Place) -> bool:
    """Return whether an open file still has what was read of it."""
    if os.fstat(file).st_size < place.offset:
        return False
    before = os.pread(file, len(place.tail), place.offset - len(place.tail))
    return before == place.tail and os.pread(file, len(place.head), 0) == place.head


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev & _INODES, found.st_ino & _INODES


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _opened(path: Path) -> int | None:
    """Open a file to read; None if there is none.

    Raises:
        DataError: If it is no regular file.
        AccessError: If it may not be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe without a writer would wait for one
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {error.strerror}", hint="let this user read it") from error
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise DataError(f"{path} is not a regular file", hint="a pipe is followed as standard input: --follow -")
    return file


def _siblings(path: Path) -> list[tuple[os.stat_result, Path]]:
    """Return the files whose names begin like that of a file."""
    found = []
    for one in path.parent.glob(f"{escape(path.name)}*"):
        now = _stat(one)
        if one != path and now is not None and stat.S_ISREG(now.st_mode) and os.access(one, os.R_OK):
            found.append((now, one))
    return found


def _same(path: Path, known: Known) -> list[Path]:
    """Return the file that was read, whatever its name, if it is in the directory of a file or of what that links to."""
    folders = {path.parent, path.resolve().parent}
    entries = [Path(entry.path) for folder in folders if folder.is_dir() for entry in os.scandir(folder)]
    found = [(one, _stat(one)) for one in entries]
    return [one for one, now in found if now is not None and _identity(now) == known[:2] and stat.S_ISREG(now.st_mode)]


def _age(found: os.stat_result) -> tuple[int, int]:
    """Return when a file was written last, then when it was renamed last."""
    return found.st_mtime_ns, found.st_ctime_ns
