"""One flipped byte in each kind of file: detected on read, or harmless."""

import sqlite3
from contextlib import closing

import pytest

from tinymlops.stores.references import named_files
from torture.conftest import FULL
from torture.figures import record
from torture.flips import flip

EACH = 143 if FULL else 4
HASHED = ("segments", "models_and_manifests")
KINDS = (*HASHED, "backup", "online_store")


def files_of(kind, path):
    """Return the files of a kind."""
    if kind == "backup":
        return sorted(file for file in path.with_name("saved").rglob("*") if file.is_file())
    root = {"segments": "segments", "models_and_manifests": "blobs", "online_store": "online"}[kind]
    names = ("data.mdb",) if kind == "online_store" else None
    found = [file for file in (path / root).rglob("*") if file.is_file() and (names is None or file.name in names)]
    return sorted(file for file in found if not file.name.endswith("0" * 62))


def alive(path, files):
    """Leave out what nothing names any more."""
    with closing(sqlite3.connect(path / "meta.db")) as connection:
        named = {path / file.name for file in named_files(connection.execute)}
    return [file for file in files if file in named]


@pytest.fixture(scope="module")
def total():
    total = {"flips": 0, "detected": 0, "harmless": 0, "harmful_and_undetected": 0, "crashes": 0}
    yield total
    record("flipped_bytes", **total)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_byte_is_detected_or_harmless(fleet, place, chance, total, kind):
    look = "flips:look_at_backup" if kind == "backup" else "flips:look"
    right = fleet.answer(look, place.fresh())
    assert not right["errors"]
    wrong = []
    for _ in range(EACH):
        path = place.fresh()
        files = files_of(kind, path)
        file = chance.choice(alive(path, files) if kind in HASHED else files)
        at = flip(file, chance)
        total["flips"] += 1
        looked = fleet.do(look, path)
        verdict = judged(looked, right, file if kind in HASHED else None)
        total[verdict] += 1
        if verdict not in ("detected", "harmless"):
            wrong.append((str(file), at, verdict, looked))
    assert not wrong, "\n\n".join(map(str, wrong))


def judged(looked, right, hashed):
    """Say what became of a flip."""
    if looked.status or not looked.said or "error" in looked.said[-1]:
        return "crashes"
    found = looked.said[-1]
    if hashed is not None:
        return "detected" if str(hashed) in found["doctor"] else "harmful_and_undetected"
    if any(not error["typed"] for error in found["errors"]):
        return "crashes"
    if found["errors"] or found["doctor"]:
        return "detected"
    return "harmless" if found["answers"] == right["answers"] else "harmful_and_undetected"
