"""Faults: kills, full disks, flipped bytes and many processes; the whole with `make torture`, a short version in `make test`."""
