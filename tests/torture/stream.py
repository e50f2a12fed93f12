"""A file that is followed by processes that are killed, and its writer, who rotates it."""

import random
import threading
import time
from datetime import datetime
from pathlib import Path

import tinymlops as tm
from torture import world

project = tm.Project("stream")


@project.source(timestamp="at")
def pings() -> tm.Schema:
    """Without ids: only the position in the file tells what was taken."""
    return {"ping": int, "at": datetime}


class Writer:
    """Appends numbered lines, some in two parts, and now and then renames the file and begins another."""

    def __init__(self, file, seed):
        self._file, self._chance = file, random.Random(seed)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.written = self.rotations = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._thread.join()

    def _write(self):
        file = self._file.open("ab", buffering=0)
        while not self._stopped.is_set():
            more = self._chance.randrange(1, 60)
            text = world.ping_lines(self.written, self.written + more).encode()
            cut = self._chance.randrange(len(text))
            file.write(text[:cut])
            time.sleep(self._chance.uniform(0, 0.01))
            file.write(text[cut:])
            self.written += more
            if self._chance.random() < 0.02:
                self.rotations += 1
                self._file.rename(self._file.with_name(f"{self._file.name}.{self.rotations}"))
                time.sleep(self._chance.uniform(0, 0.02))
                file.write(world.ping_lines(self.written, self.written + 1).encode())  # it learns of it late
                self.written += 1
                file.close()
                file = self._file.open("ab", buffering=0)
        file.close()


def prepare(path, *, file):
    """Make a workspace and begin to follow an empty file: from then on it is found by any name."""
    Path(file).touch()
    with world.connect(path, create=True) as ws:
        ws.apply(project)
        ws.follow("pings", file, once=True)


def follow_until_killed(path, *, file):
    """Follow a file."""
    with world.connect(path) as ws:
        ws.follow("pings", file)


def finish(path, *, file, say):
    """Take what is left of a file; return all that was taken, in order."""
    with world.connect(path) as ws:
        ws.follow("pings", file, once=True)
        taken = ws.sql("select ping from pings_history order by __sequence")["ping"].to_list()
        say({"taken": taken})
