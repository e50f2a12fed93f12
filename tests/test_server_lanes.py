"""Where the server makes predictions: quick ones share a thread, and a slow one holds nobody up."""

import asyncio
import threading
import time

import pytest

from tinymlops.server.lanes import Lanes
from tinymlops.server.threads import Threads

PATIENCE = 60


def thread():
    return threading.current_thread().name


def slow():
    time.sleep(0.01)


async def all_of(*asked):
    return await asyncio.gather(*asked)


def test_what_was_quick_shares_one_thread():
    async def story():
        lanes = Lanes()
        first = await lanes.run("quick", thread)
        return first, await all_of(*(lanes.run("quick", thread) for _ in range(20)))

    first, rest = asyncio.run(story())
    assert len(set(rest)) == 1
    assert rest[0].startswith("tinymlops-predict")
    assert not first.startswith("tinymlops-predict"), "nothing is known of the first, which loads the model"


def test_what_was_slow_runs_beside_others():
    met = threading.Barrier(3, timeout=PATIENCE)

    async def story():
        lanes = Lanes()
        await lanes.run("slow", slow)
        await lanes.run("quick", thread)
        asked = [lanes.run("slow", met.wait), lanes.run("slow", met.wait), lanes.run("quick", met.wait)]
        return await all_of(*asked)

    assert sorted(asyncio.run(story())) == [0, 1, 2]


@pytest.mark.parametrize(
    "run", [lambda work: Threads(1, "test").run(work), lambda work: Lanes().run("any", work)], ids=["threads", "lanes"]
)
def test_work_that_raises_stop_iteration_ends(run):
    async def story():
        await asyncio.wait_for(run(lambda: next(iter(()))), PATIENCE / 10)

    with pytest.raises(RuntimeError, match="StopIteration"):  # which no future can carry: it would never be done
        asyncio.run(story())


def test_an_error_reaches_who_asked_and_says_nothing_of_the_time():
    async def story():
        lanes = Lanes()
        await lanes.run("quick", thread)
        with pytest.raises(ZeroDivisionError):
            await lanes.run("quick", lambda: 1 / 0)
        return await lanes.run("quick", thread)

    assert asyncio.run(story()).startswith("tinymlops-predict")
