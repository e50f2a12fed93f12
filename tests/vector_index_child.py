"""A process that rebuilds the index of a workspace, and may be killed on its way."""

import os
import signal
import sys

import tinymlops as tm
from tinymlops.features.vectors import generation
from tinymlops.features.vectors import image as images
from tinymlops.registry.scope import Scope
from tinymlops.stores import index_files, publish

STEPS = ("fsync", "fsync_directory", "make_directory", "hash_file")


def small():
    """Make images and indexes of few rows too, and search by them."""
    images.MANY_ROWS = generation.MANY_SPANS = generation.FEW_KNOWN = 0
    images.MANY_LATE_ROWS = 10**9


def dying(when):
    """Die at the call of this number among those that sync, rename, commit and remove."""
    calls = [0]

    def wrapped(original):
        def call(*args, **options):
            calls[0] += 1
            if calls[0] == when:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **options)

        return call

    for name in STEPS:
        setattr(index_files, name, wrapped(getattr(index_files, name)))
    for name in ("fsync", "fsync_directory"):
        setattr(publish, name, wrapped(getattr(publish, name)))
    index_files.Path.rename = wrapped(index_files.Path.rename)
    index_files.shutil.rmtree = wrapped(index_files.shutil.rmtree)
    Scope.write = wrapped(Scope.write)
    return calls


def main(path, when, purge):
    small()
    with tm.connect(path) as ws:
        ws.vectors.search("near", [1.0] * 12)
        print("ready", flush=True)
        calls = dying(when)
        while True:
            ws.vectors.rebuild("near", purge=purge)
            print("done", calls[0], flush=True)
            if when:
                return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "purge")
