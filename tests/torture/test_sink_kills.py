"""Kill a process that writes to tables of others, again and again: they end as the workspace, each row inserted once."""

import random
import sqlite3
import time
from contextlib import closing

import pytest
from sunk_shop import ask_file

from torture.conftest import FULL
from torture.figures import record
from torture.fleet import copied

KILLS = 120 if FULL else 5
POSTGRES = (
    "create table out.inserted (id text)",
    "create function out.note() returns trigger language plpgsql as "
    "'begin insert into out.inserted values (new.id); return new; end'",
    "create trigger note after insert on out.scores for each row execute function out.note()",
)
SQLITE = (
    "create table inserted (id text)",
    "create trigger note after insert on scores begin insert into inserted values (new.id); end",
)


def _ahead(ask, schema, path):
    """Return of how many sinks the table has a batch that the workspace does not know to be there."""
    there = dict(ask(f"select sink, delivery from {schema}tinymlops_sinks"))
    with closing(sqlite3.connect(f"file:{path / 'meta.db'}?mode=ro", uri=True)) as meta:
        known = dict(meta.execute("select sink, delivery from sink_states").fetchall())
    return sum(there[sink] > known.get(sink, 0) for sink in there)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_tables_of_others_are_what_the_workspace_has_over_kills(fleet, prepared, tmp_path, request, kind):
    chance = random.Random(20240101)
    path = copied(prepared, tmp_path / "shop") / "shop.tm"
    ask, schema, url = ask_file(path.with_name("app.db")), "", "sqlite:app.db"
    if kind == "postgresql":
        server = request.getfixturevalue("postgres")
        server.sql("drop schema if exists out cascade", "create schema out")
        ask, schema, url = server.sql, "out.", f"postgresql://owner@127.0.0.1:{server.port}/postgres"
    else:
        ask("create table theirs (a)")
    fleet.do_or_fail("sink:prepare", path, arguments={"url": url, "schema": schema})
    ask(*(POSTGRES if schema else SQLITE))
    stop, ahead = tmp_path / "stop", 0
    writer = fleet.start("sink:write", path, says=True, arguments={"stop": str(stop), "seed": 1})
    writer.go()
    for _ in range(KILLS):
        child = fleet.start("sink:run_until_killed", path)
        child.go()
        time.sleep(chance.uniform(0.1, 1.2))
        child.kill()
        ended = child.ended()
        assert ended.status == -9, ended
        ahead += _ahead(ask, schema, path)
    stop.touch()
    written = writer.ended().said[0]
    (answer,) = fleet.do("sink:finish", path, says=True, arguments={"url": url, "schema": schema}).said
    record(f"kills_of_a_sink_in_{kind}", kills=KILLS, between_both_commits=ahead, **written, **answer)
    assert (answer["lost"], answer["extra"], answer["twice"]) == (0, 0, 0), answer
