"""The work of concurrent children on one workspace."""

import os
import random
import shutil
import threading
import time
from functools import partial

from inside import context_of, database_of, environment_of

from torture import world

_LONGEST_LOOK = 20.0
_LONGEST_PAUSE = 0.06
_A_PUSH_EVERY = 10


def create(path):
    """Open the workspace, or create it."""
    with world.connect(path, create=True) as ws:
        return {"sequence": database_of(ws).sequence()}


def register(path, *, times):
    """Register the model a number of times."""
    with world.connect(path) as ws:
        return {"versions": [ws.register_model("splurge", run="tree").version for _ in range(times)]}


def commit(path, *, times):
    """Commit a number of times: a push of one row, then metrics of a run, and so on."""
    pushed = 0
    try:
        with world.connect(path) as ws:
            training = ws.runs.start("training").id
            for n in range(1, times):
                if n % _A_PUSH_EVERY:
                    ws.runs.log_metrics(training, {"loss": n}, step=n)
                else:
                    ws.push("clicks", world.click_rows(5000 + n, 1))
                    pushed += 1
    finally:
        path.with_name("committed").touch()
    return {"clicks": pushed, "metrics": times - 1 - pushed}


def checkpoint(path):
    """Open and close, which checkpoints the write-ahead log, until `commit` is done; check that nothing vanishes."""
    chance, done, seen = random.Random(1), 0, 0
    while not path.with_name("committed").exists():
        with world.connect(path) as ws:
            ((now,),) = database_of(ws).rows("SELECT sum(count) FROM metric_summaries")
        assert (now or 0) >= seen, f"after {seen} metrics there were {now}"
        seen, done = now or 0, done + 1
        time.sleep(chance.uniform(0.0, _LONGEST_PAUSE))
    return {"checkpoints": done}


def fork(path, *, times):
    """Fork a number of times while threads push and read; each fork tries everything on the workspace of its parent."""
    stopped, pushed, problems = threading.Event(), [], []
    with world.connect(path) as ws:

        def push():
            n = 5000 + len(pushed)
            ws.push("clicks", world.click_rows(n, 1))
            pushed.append(n)

        def over_and_over(act):
            while not stopped.is_set():
                try:
                    act()
                except Exception as error:
                    problems.append(repr(error))
                    return

        predict = partial(ws.predict, "splurge@champion", [{"customer": 1}])
        threads = [threading.Thread(target=over_and_over, args=[act]) for act in (push, predict)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(times):
                problems += _forked(ws, path)
        finally:
            stopped.set()
            for thread in threads:
                thread.join()
    return {"clicks": len(pushed), "refused": times * len(_USES) - len(problems), "problems": problems}


_USES = {
    "push": lambda ws: ws.push("clicks", world.click_rows(1, 1)),
    "ingest": lambda ws: ws.ingest("orders"),
    "materialize": lambda ws: ws.materialize(),
    "compact": lambda ws: ws.compact(),
    "promote": lambda ws: ws.promote("splurge", 2),
    "register": lambda ws: ws.register_model("splurge", run="tree"),
    "gc": lambda ws: ws.gc(),
    "online": lambda ws: ws.get_online_features(["spending"], {"customer": [1]}),
    "history": lambda ws: ws.get_training_data("visits_to_orders"),
    "predict": lambda ws: ws.predict("splurge@champion", [{"customer": 1}], sync=True),
    "sql": lambda ws: ws.sql("select count(*) from orders"),
    "connect": lambda ws: world.connect(environment_of(ws).path),
}


def _forked(ws, path):
    """Try everything in a fork; return what was not refused with a hint, and what did not end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        for name, use in _USES.items():
            os.write(writing, f"{name}: {_refusal(use, ws)}\n".encode())
        ws.close()
        os.write(writing, b"closed: refused\n")
        os._exit(0)
    os.close(writing)
    late = threading.Timer(_LONGEST_LOOK, os.kill, (pid, 9))
    late.start()
    with os.fdopen(reading) as answers:
        said = answers.read().splitlines()
    late.cancel()
    os.waitpid(pid, 0)
    if len(said) <= len(_USES):
        said.append(f"after {said[-1:]} it hung or died")
    return [one for one in said if not one.endswith(": refused")]


def _refusal(use, ws):
    from tinymlops.errors import ConflictError

    try:
        use(ws)
    except ConflictError as error:
        return "refused" if "cannot be used in process" in str(error) and error.hint else f"unclear: {error}"
    except BaseException as error:
        return repr(error)
    return "done"


def notebook(path, *, seconds):
    """Read history and training data for some seconds."""
    until, done = time.monotonic() + seconds, 0
    with world.connect(path) as ws:
        while time.monotonic() < until:
            ws.get_training_data("visits_to_orders")
            ws.get_online_features(list(world.VIEWS), {"customer": list(range(world.CUSTOMERS))})
            done += 1
    return {"reads": done}


def server(path, *, seconds):
    """Push and predict for some seconds."""
    until, pushed, predicted = time.monotonic() + seconds, 0, 0
    with world.connect(path) as ws:
        while time.monotonic() < until:
            ws.push("clicks", world.click_rows(5000 + 5 * pushed, 5))
            ws.predict("splurge@champion", [{"customer": pushed % world.CUSTOMERS}], sync=True)
            pushed, predicted = pushed + 1, predicted + 1
    return {"clicks": 5 * pushed, "predictions": predicted}


def cron(path, *, seconds):
    """Ingest, materialize, compact, collect and back up for some seconds."""
    until, rounds, orders = time.monotonic() + seconds, 0, 310
    while time.monotonic() < until:
        orders += 7
        os.environ[world.ORDERS] = str(orders)
        with world.connect(path) as ws:
            ws.ingest("orders")
            ws.materialize()
            ws.compact()
            world.collect_garbage(ws)
            _backup(ws, path.with_name(f"copy{rounds}"))
        rounds += 1
    return {"rounds": rounds, "orders": orders}


def _backup(ws, target):

    from tinymlops.stores.backup import backup

    backup(environment_of(ws), target, advance=lambda _: None)
    shutil.rmtree(target)


def count(path):
    """Return the final content: clicks, orders, metrics, predictions, and the failures."""
    from tinymlops.features.history.stored import stored_rows

    with world.connect(path) as ws:
        context, rows = context_of(ws), database_of(ws).rows
        trained = ws.runs.search("name = 'training'")
        losses = ws.runs.points(trained[0].id, "loss").values.tolist() if trained else []
        metrics, different = len(losses), len(set(losses))
        ((predictions,),) = rows("SELECT count(*) FROM predictions")
        return {
            "clicks": stored_rows(context, "clicks").height,
            "orders": stored_rows(context, "orders").height,
            "metrics": metrics,
            "predictions": predictions,
            "versions": [one.version for one in ws.models.versions("splurge")],
            "problems": world.invariants(path)
            + [f"{metrics - different} metrics are there twice"] * (metrics > different),
        }
