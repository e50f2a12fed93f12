"""One flipped byte in each kind of file: detected on read, or harmless."""

import sqlite3
from contextlib import closing
from typing import NamedTuple

import pytest

from tinymlops.stores.references import named_files
from torture.conftest import FULL, Place
from torture.figures import record
from torture.fleet import copied
from torture.flips import flip

EACH = 125 if FULL else 2


class Kind(NamedTuple):
    """One kind of file."""

    pattern: str
    """Its files, below the prepared directory."""
    look: str = "look"
    base: str = "prepared"
    named: bool = False
    """The database names each file by its hash, so `doctor` has to name the very file."""
    derived: bool = False
    """Rebuilt silently: every answer has to be right."""
    columns: tuple[str, ...] = ()
    """Tables and their columns; one byte of such a value is changed, which has to be detected."""


KINDS = {
    "segments": Kind("shop.tm/segments/*/*", named=True),
    "models_and_manifests": Kind("shop.tm/blobs/*/*", named=True),
    "backup": Kind("saved/**/*", look="look_at_backup"),
    "online_store": Kind("shop.tm/online/data.mdb"),
    "database": Kind("shop.tm/meta.db"),
    "points": Kind(
        "shop.tm/meta.db", columns=("metric_chunks.check_", "metric_series.content", "metric_pyramids.content")
    ),
    "write_ahead_log": Kind("shop.tm/meta.db-wal", base="killed"),
    "number_of_the_last_commit": Kind("shop.tm/meta.db.last", base="killed", derived=True),
    "join_images": Kind("shop.tm/images/**/*", look="look_at_images", base="pictured", derived=True),
}


@pytest.fixture(scope="module")
def bases(fleet, prepared, tmp_path_factory):
    """Directories to copy: the prepared one, one whose process was killed, and one with join images."""
    made = tmp_path_factory.mktemp("flips")
    for name, job in (("killed", "die"), ("pictured", "make_images")):
        fleet.do_or_fail(f"flips:{job}", copied(prepared, made / name) / "shop.tm")
    return {"prepared": prepared, "killed": made / "killed", "pictured": made / "pictured"}


def files_of(kind, path):
    """Return the files of a kind, without unused ones."""
    found = sorted(file for file in path.parent.glob(kind.pattern) if file.is_file())
    if kind.named:
        with closing(sqlite3.connect(path / "meta.db")) as connection:
            named = {path / file.name for file in named_files(connection.execute)}
        found = [file for file in found if file in named]
    return found


def pieces(kind, path):
    """Return what a file holds of the columns of a kind, None where it has none: of long values parts that lie on one page."""
    found = []
    if not kind.columns:
        return None
    with closing(sqlite3.connect(path / "meta.db")) as connection:
        for table, column in (name.split(".") for name in kind.columns):
            for (value,) in connection.execute(f"SELECT {column} FROM {table}"):
                whole = value if isinstance(value, bytes) else value.to_bytes(4, "big")
                found += [whole[at : at + 64] for at in range(0, len(whole), 64)]
    content = (path / "meta.db").read_bytes()
    return [piece for piece in found if content.count(piece) == 1 and any(piece)]


@pytest.fixture(scope="module")
def total():
    verdicts = ("detected", "harmless", "harmful_and_undetected", "crashes")
    total = {"flips": 0, **dict.fromkeys(verdicts, 0), "of_the_detected_a_wrong_answer_that_only_doctor_explains": 0}
    kinds = {}
    yield total, kinds
    record("flipped_bytes", **total, kinds=kinds)


@pytest.mark.parametrize("name", KINDS)
def test_a_flipped_byte_is_detected_or_harmless(fleet, bases, tmp_path, chance, total, name):
    kind = KINDS[name]
    place = Place(bases[kind.base], tmp_path / "copy")
    right = fleet.answer(f"flips:{kind.look}", place.fresh())
    assert not right["errors"]
    assert not right["doctor"]
    counts, kinds = total
    mine, wrong = kinds.setdefault(name, {}), []
    for _ in range(EACH):
        path = place.fresh()
        file = chance.choice(files_of(kind, path))
        at = flip(file, chance, pieces(kind, path))
        looked = fleet.do(f"flips:{kind.look}", path)
        verdict = judged(looked, right, file, kind)
        counts["flips"] += 1
        counts[verdict] += 1
        mine[verdict] = mine.get(verdict, 0) + 1
        if verdict not in ("detected", "harmless"):
            wrong.append((str(file), at, verdict, looked))
        elif (differs := differing(looked.said[-1], right)) and not looked.said[-1]["errors"]:
            counts["of_the_detected_a_wrong_answer_that_only_doctor_explains"] += 1
            print(file, at, "answers", differs, looked.said[-1]["doctor"])
    assert not wrong, "\n\n".join(map(str, wrong))


def judged(looked, right, file, kind):
    """Return the effect of a flipped bit."""
    if looked.status or not looked.said or "error" in looked.said[-1]:
        return "crashes"
    found = looked.said[-1]
    if kind.named:
        return "detected" if str(file) in found["doctor"] else "harmful_and_undetected"
    if any(not error["typed"] for error in found["errors"]):
        return "crashes"
    if kind.derived and (found["errors"] or differing(found, right)):
        return "harmful_and_undetected"
    if found["errors"] or found["doctor"]:
        return "detected"
    if kind.columns:
        return "harmful_and_undetected"
    return "harmful_and_undetected" if differing(found, right) else "harmless"


def differing(found, right):
    """Return the numbers of the reads whose answer differs from before."""
    pairs = zip(found["answers"], right["answers"], strict=True)
    return [number for number, (answer, before) in enumerate(pairs) if answer not in (None, before)]
