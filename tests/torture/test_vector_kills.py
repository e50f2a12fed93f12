"""Kill what makes vectors at every system call, and at random among others: nothing is lost, and no answer is wrong."""

import random
import sqlite3
import time
from contextlib import closing

import pytest

from torture import vectors
from torture.conftest import FULL, Place, needs_strace
from torture.figures import record
from torture.fleet import points, waited
from torture.flips import flip

A_VERB = 1
"""Kill points of each verb in the short version."""
ROUNDS = 25
"""In each, four processes are killed."""


only_full = pytest.mark.skipif(not FULL, reason="takes minutes: make torture")


@pytest.fixture(scope="module")
def base(fleet, tmp_path_factory):
    made = tmp_path_factory.mktemp("vectors") / "base"
    made.mkdir()
    fleet.do_or_fail("vectors:build", made / "shop.tm", arguments={"indexed": FULL})
    return made


@pytest.fixture(scope="module")
def total():
    total = {"kill_points": 0, "survived": 0, "lost": 0, "wrong": 0}
    yield total
    record("kills_of_what_makes_vectors", **total)


@needs_strace
@pytest.mark.parametrize("verb", vectors.VERBS if FULL else ("purge",))
def test_making_vectors_killed_at_any_system_call_leaves_every_answer_right(fleet, base, tmp_path, chance, total, verb):
    place, asked = Place(base, tmp_path / "copy"), {"verb": verb}
    path = place.fresh()
    before = fleet.answer("vectors:look", path, arguments=asked)
    reference = fleet.traced("vectors:act", path, arguments=asked, says=True)
    assert reference.status == 0, reference.said
    after = fleet.answer("vectors:look", path, arguments=asked)
    found = list({(point.name, point.nth): point for point in points(reference.log, path.parent)}.values())
    wrong = []
    for point in found if FULL else chance.sample(found, A_VERB):
        path = place.fresh()
        kill = f"{point.name}:signal=SIGKILL:when={point.nth}"
        ended = fleet.traced("vectors:act", path, arguments=asked, says=True, trace=point.name, inject=[kill])
        ended.log.unlink()
        total["survived" if ended.status == 0 else "kill_points"] += 1
        if ended.status not in (0, -9):
            wrong.append((point.name, point.nth, point.text[:200], ended.said))
            continue
        now, again = fleet.answer("vectors:finish", path, arguments=asked)
        sentences = differing(now, before, after) + [f"again: {one}" for one in differing(again, after, after)]
        if sentences:
            total["lost" if ended.said else "wrong"] += 1
            wrong.append((point.name, point.nth, point.text[:200], sentences))
    assert not wrong, "\n\n".join(map(str, wrong))


def differing(now, before, after):
    """Return the searches whose answer is neither that of before nor that of after; of one that waits, fewer rows are found."""
    wrong = list(now["wrong"])
    for name, answer in now["found"].items():
        waits = answer.get("waiting") and len(answer["rows"]) <= len(after["found"][name].get("rows", []))
        if answer not in (before["found"][name], after["found"][name]) and not waits:
            wrong.append(f"{name}: {answer}, and it was {before['found'][name]} and is to be {after['found'][name]}")
    return wrong


def files_of(path, kind):
    if kind == "vectors of texts":
        with closing(sqlite3.connect(path / "meta.db")) as connection:
            names = [name for (name,) in connection.execute("SELECT sha256 FROM vector_files")]
            names += [name for (name,) in connection.execute("SELECT fitted FROM embedding_fits")]
        return [path / "blobs" / name[:2] / name for name in names]
    return sorted(one for one in (path / kind).rglob("*") if one.is_file() and one.stat().st_size)


@only_full
@pytest.mark.parametrize("kind", ["vectors", "images", "vectors of texts"])
def test_a_flipped_byte_of_any_file_is_found_and_no_answer_is_wrong(fleet, base, tmp_path, chance, flipped, kind):
    place = Place(base, tmp_path / "copy")
    right = fleet.answer("vectors:look_at_damage", place.fresh())
    assert right["doctor"] == []
    names = [file.relative_to(place.fresh()) for file in files_of(place.fresh(), kind)]
    for name in names:
        for _ in range(4):
            path = place.fresh()
            at = flip(path / name, chance)
            looked = fleet.answer("vectors:look_at_damage", path)
            flipped["flips"] += 1
            flipped["detected"] += bool(looked["doctor"])
            wrong = [
                (one, found, right["found"][one])
                for one, found in looked["found"].items()
                if found != right["found"][one] and not (kind == "vectors of texts" and "kind" in found)
            ]
            flipped["wrong"] += bool(wrong)
            assert not wrong, (name, at)
            assert looked["doctor"], (name, at)


@pytest.fixture(scope="module")
def flipped():
    flipped = {"flips": 0, "detected": 0, "wrong": 0}
    yield flipped
    record("flipped_bytes_of_vectors", **flipped)


@only_full
def test_random_kills_of_those_who_push_embed_rebuild_and_search_lose_nothing(fleet, base, tmp_path):
    chance, path = random.Random(7), Place(base, tmp_path / "copy").fresh()
    pushed, lost, wrong, searched, made = [], [], [], 0, 0
    for number in range(ROUNDS):
        children = [
            fleet.start("vectors:push_until_killed", path, says=True, arguments={"first": 1_000 + 10_000 * number}),
            fleet.start("vectors:make_until_killed", path, says=True, arguments={"seed": number, "indexed": False}),
            fleet.start("vectors:make_until_killed", path, says=True, arguments={"seed": number, "indexed": True}),
            fleet.start("vectors:search_until_killed", path, says=True),
        ]
        for child in children:
            child.go()
        if chance.random() < 0.7:
            for child in children:
                waited(child.said, seconds=60.0)
        time.sleep(chance.uniform(0, 2.0))
        for child in chance.sample(children, 4):
            child.kill()
            time.sleep(chance.uniform(0, 0.1))
        ended = [child.ended() for child in children]
        assert [one.status for one in ended] == [-9] * 4, [one.said[-1:] for one in ended]
        said = [what for one in ended for what in one.said]
        pushed += [what["rows"] for what in said if "rows" in what]
        wrong += [what["wrong"] for what in said if "wrong" in what]
        searched += sum("searched" in what for what in said)
        made += sum("made" in what for what in said)
        looked = fleet.answer("vectors:look_at_all", path, arguments={"pushed": pushed})
        lost, wrong = lost + looked["lost"], wrong + looked["wrong"]
        pushed += looked["late"]
    record(
        "random_kills_of_vectors",
        kills=4 * ROUNDS,
        acknowledged=len(pushed),
        searches=searched,
        made=made,
        lost=len(lost),
        wrong=len(wrong),
    )
    assert not lost
    assert not wrong
