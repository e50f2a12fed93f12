"""An online store in the memory of one process: the minimum that a store must do."""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tinymlops.errors import ConflictError
from tinymlops.stores.forked import Owner
from tinymlops.stores.online_store import prefix_of

OWN = bytes(4)
"""What the store adds to the words of an entry."""


@dataclass(frozen=True)
class View:
    """A view; immutable, a change makes a new one."""

    coverage: tuple
    description: bytes
    newest: dict = field(default_factory=dict)
    full: dict = field(default_factory=dict)

    def changed(self, change):
        newest = self.newest | {key: (words, beside) for key, words, beside in change.newest}
        newest = {key: entry for key, entry in newest.items() if entry[0] is not None}
        full = {name: entry for name, entry in self.full.items() if name not in set(change.gone)}
        full |= {(key, number): (words, beside) for key, number, words, beside in change.full}
        return replace(self, coverage=change.coverage, newest=newest, full=full)


@dataclass(frozen=True)
class State:
    """The whole content of the store; a snapshot is one of these."""

    version: int = 0
    token: bytes = b""
    views: dict = field(default_factory=dict)

    def coverage(self, view):
        return self.views[view].coverage if view in self.views else None

    def coverages(self):
        return {view: held.coverage for view, held in sorted(self.views.items())}

    def description(self, view):
        return self.views[view].description

    def read(self, view, keys, lasting=True):
        held = self.views.get(view)
        if held is None:
            return None, [None] * len(keys)
        return held.coverage, [_with_own(held.newest.get(key), 0) for key in keys]

    def full(self, keys, counts, *, beside=False):
        return [
            _with_own(self._view_of(key).full[key, number], int(beside))
            for key, count in zip(keys, counts, strict=True)
            for number in range(count)
        ]

    def beside(self, keys):
        return [None if key is None else _with_own(self._view_of(key).newest.get(key), 1) for key in keys]

    def keys_of(self, view, after=b""):
        held = self.views.get(view)
        return iter(sorted(key for key in held.newest if key > after) if held else ())

    def _view_of(self, key):
        return next(held for view, held in self.views.items() if key.startswith(prefix_of(view)))


def _with_own(entry, part):
    return None if entry is None or entry[part] is None else entry[part] + OWN


class MemoryStore:
    """One store per directory and process; closing it loses its content, as a crash of the machine would."""

    def __init__(self, path):
        self.path = path
        path.mkdir(exist_ok=True)
        self._owner = Owner(f"the online store {path}")
        self._one_writes = threading.Lock()
        self._state, self._names, self._closed = State(), {}, False

    @contextmanager
    def read(self):
        self._check()
        yield self._state

    def write(self, batch, *, if_covered=()):
        self._check()
        with self._one_writes:
            state = self._state
            if any(state.coverage(view) != coverage for view, coverage in dict(if_covered).items()):
                return False
            views, names = dict(state.views), {}
            for view, change in batch.items():
                if change is None:
                    views.pop(view, None)
                    continue
                if change.description is not None:
                    views[view] = View(change.coverage, change.description)
                    names[view.hex()] = change.name
                views[view] = views[view].changed(change)
            self._names |= names
            self._state = replace(state, version=state.version + 1, views=views)
        return True

    def put_token(self, token):
        self._check()
        with self._one_writes:
            self._state = replace(self._state, version=self._state.version + 1, token=token)

    def remembered(self):
        return dict(self._names)

    def remember(self, names):
        with self._one_writes:
            there = {view.hex() for view in self._state.views}
            self._names = {name: view for name, view in self._names.items() if name in there} | dict(names)

    def drop_other_format(self):
        """Nobody but this process has written here."""

    def verify(self):
        return sum(len(view.newest) + len(view.full) for view in self._state.views.values())

    def reset(self):
        self._check()
        with self._one_writes:
            self._state = State(version=self._state.version + 1)

    def close(self):
        if self._owner.is_here:
            self._closed = True

    def _check(self):
        self._owner.check()
        if self._closed:
            raise ConflictError(f"the online store {self.path} is closed", hint="connect to the workspace again")
