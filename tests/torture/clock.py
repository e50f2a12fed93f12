"""The steps of a child while the machine's clock jumps, most often backwards, and the checks after each step.

The run keeps what it sent to the workspace, in that order: no other order may count. A source that records when a row
was written has a correct clock of its own.
"""

import random
import time
from datetime import UTC, datetime, timedelta

import polars as pl
from inside import clock_of, database_of, environment_of

import tinymlops as tm
from tinymlops.errors import ConflictError
from torture import world

JUMPS = [timedelta(**jump) for jump in ({"days": 20}, {"hours": 1}, {"seconds": 1}, {"microseconds": 1}, {})]
_CUSTOMERS = 4
_FACTS = {"order": pl.Int64, "customer": pl.Int64, "at": pl.Datetime("us", "UTC"), "amount": pl.Float64}
_BACK = 0.6
"""How often a jump goes backwards."""


class Wall:
    """The machine's clock as this process sees it from now on, moved by `shift`."""

    def __init__(self):
        import tinymlops.features.context
        import tinymlops.times

        self.shift = timedelta(0)
        seconds, nanoseconds, wall = time.time, time.time_ns, self

        class Moved(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + wall.shift

        time.time = lambda: seconds() + wall.shift.total_seconds()
        time.time_ns = lambda: nanoseconds() + wall.shift // timedelta(microseconds=1) * 1_000
        tinymlops.times.datetime = Moved
        tinymlops.features.context.time_ns = time.time_ns

    def jump(self, chance):
        """Move it; return whether it was set back."""
        by = chance.choice(JUMPS) * (-1 if chance.random() < _BACK else 1)
        self.shift += by
        return by < timedelta(0)


def shop(told):
    """Orders whose source says when each was noted, the same without, and orders that are pushed."""
    project = tm.Project("clocks")
    customer = project.entity("customer", key="customer")

    @project.source(timestamp="at", created="noted", id="order")
    def noted() -> pl.DataFrame:
        return told.frame("noted")

    @project.source(timestamp="at", id="order")
    def plain() -> pl.DataFrame:
        return told.frame("plain").drop("noted")

    @project.source(timestamp="at", id="order")
    def pushed() -> tm.Schema:
        return {"order": int, "customer": int, "at": datetime, "amount": float}

    def features(rows, name):
        return {
            f"{name}_last": rows["amount"].last(),
            f"{name}_count": rows.count(window="30d"),
            f"{name}_sum": rows["amount"].sum(window="1d"),
        }

    @project.feature_view(entity=customer)
    def of_noted(noted: tm.Rows) -> tm.Features:
        return features(noted, "noted")

    @project.feature_view(entity=customer)
    def of_plain(plain: tm.Rows) -> tm.Features:
        return features(plain, "plain")

    @project.feature_view(entity=customer)
    def of_pushed(pushed: tm.Rows) -> tm.Features:
        return features(pushed, "pushed")

    return project


class Told:
    """The rows that were sent to the workspace: for each source, order to its row.

    Args:
        chance: The random generator.
    """

    def __init__(self, chance):
        self.rows = {"noted": {}, "plain": {}, "pushed": {}}
        self.taken = {"noted": {}, "plain": {}, "pushed": {}}
        """What a look at the facts must show."""
        self._chance = chance

    def change(self, source):
        """Add, correct or take back some rows at a source."""
        rows = self.rows[source]
        for _ in range(self._chance.randint(1, 4)):
            order = self._chance.randrange(12)
            if order in rows and self._chance.random() < 0.3:
                del rows[order]
                continue
            now = datetime.fromtimestamp(time.time(), UTC)
            rows[order] = {
                "order": order,
                "customer": order % _CUSTOMERS,
                "at": rows[order]["at"] if order in rows else now - self._chance.choice(JUMPS),
                "amount": float(self._chance.randrange(1000)),
                "noted": datetime.now(UTC),
            }

    def frame(self, source):
        """Return the rows of a source."""
        return pl.DataFrame(list(self.rows[source].values()), schema={**_FACTS, "noted": _FACTS["at"]})


def story(path, *, seed, steps):
    """Run random steps, with a jump of the clock before each.

    Args:
        path: The path of the new workspace.
        seed: The seed of the run.
        steps: The number of steps.

    Returns:
        How often the clock was set back, how often a change was refused because of it, how many answers were compared, and
        the failures.
    """
    chance, wall = random.Random(seed), Wall()
    told = Told(chance)
    said = {"set_back": 0, "refused": 0, "compared": 0, "problems": []}
    answers, latest = [], datetime.now(UTC)
    ws = tm.connect(path, create=True)
    ws.apply(shop(told))
    for source in ("noted", "plain"):
        told.change(source)
        ws.ingest(source)
        told.taken[source] = dict(told.rows[source])
    steps_to_do = chance.choices(list(_STEPS), [often for often, _ in _STEPS.values()], k=steps)
    for step, does in enumerate(steps_to_do):
        said["set_back"] += wall.jump(chance)
        latest = max(latest, clock_of(ws)())
        if does == "reopen":
            ws.close()
            ws = tm.connect(path)
            ws.apply(shop(told))
        before = {source: dict(rows) for source, rows in told.rows.items()}
        try:
            _STEPS[does][1](ws, told, chance)
        except ConflictError as error:
            # More than a day behind what was stored last: refused, and repaired or waited out.
            assert "was last stored at" in error.message, error
            said["refused"] += 1
            told.rows = before
            if chance.random() < 0.5:
                ws.repair()
                answers.clear()  # rows that were hidden until a wrong time are visible from now on
        problems = [
            *_facts(ws, told),
            *_last_amounts(ws, told, latest + timedelta(days=1)),
            *_online(ws, answers, said),
            *_again(ws, answers, chance, said),
        ]
        said["problems"] += [f"step {step}, {does}, clock moved by {wall.shift}: {problem}" for problem in problems]
        if problems:
            break
    ws.close()
    said["problems"] += [] if said["problems"] else _whole(path)
    return said


def _push(ws, told, chance):
    before = dict(told.rows["pushed"])
    told.change("pushed")
    now = told.rows["pushed"]
    rows = [{**row, "deleted": False} for order, row in now.items() if row != before.get(order)]
    rows += [{**row, "deleted": True} for order, row in before.items() if order not in now]
    ws.push("pushed", [{name: value for name, value in row.items() if name != "noted"} for row in rows])
    told.taken["pushed"] = dict(now)


def _ingest(ws, told, chance):
    source, full = chance.choice(("noted", "plain")), chance.random() < 0.5
    told.change(source)
    ws.ingest(source, full=full)
    told.taken[source] = {**({} if full else told.taken[source]), **told.rows[source]}


def _run(ws, told, chance):
    begun = ws.runs.start("notes")
    assert ws.runs.get("notes") == begun, "the newest run is not the one that began last"


_STEPS = {
    "push": (4, _push),
    "ingest": (4, _ingest),
    "materialize": (2, lambda ws, told, chance: ws.materialize()),
    "compact": (1, lambda ws, told, chance: ws.compact()),
    "gc": (1, lambda ws, told, chance: ws.gc()),
    "run": (1, _run),
    "reopen": (1, lambda ws, told, chance: None),
}
"""What is done, how often, and how."""


def _facts(ws, told):
    """Yield where the present fact differs from the last answer."""
    for source, rows in told.taken.items():
        found = {} if not _has_rows(ws, source) else _by_order(ws, source)
        wanted = {order: row["amount"] for order, row in rows.items()}
        if found != wanted:
            yield f"the facts of {source} are {found} and not {wanted}"


def _by_order(ws, source):
    return dict(ws.sql(f'select "order", amount from {source}').rows())


def _has_rows(ws, source):
    sql = "SELECT count(*) FROM source_states WHERE source = ?"
    return database_of(ws).rows(sql, (source,)) == [(1,)]


def _last_amounts(ws, told, moment):
    """Yield where history, read at the end, differs from an earlier answer."""
    for source, rows in told.taken.items():
        if not _has_rows(ws, source):
            continue
        spine = pl.DataFrame({"customer": range(_CUSTOMERS), "timestamp": [moment] * _CUSTOMERS})
        found = ws.get_historical_features(spine, [f"of_{source}"]).select("customer", f"{source}_last").rows()
        for customer, last in found:
            own = [row for row in rows.values() if row["customer"] == customer]
            newest = max((row["at"] for row in own), default=None)
            if last not in ([row["amount"] for row in own if row["at"] == newest] or [None]):
                yield f"{source} of {customer} ends with {last} at {moment}, and was told {own}"


def _online(ws, answers, said):
    """Yield where the online store and history differ; keep the answer."""
    for source in ("noted", "plain", "pushed"):
        if not _has_rows(ws, source):
            continue
        online = ws.get_online_features([f"of_{source}"], {"customer": list(range(_CUSTOMERS))})
        spine = pl.DataFrame({"customer": range(_CUSTOMERS), "timestamp": [online.timestamp] * _CUSTOMERS})
        found, asked = online.to_polars(), (spine, f"of_{source}", online.sequence)
        history = _read(ws, *asked)
        said["compared"] += 1
        if found.rows() != history:
            yield f"{asked}: online {found.rows()}, history {history}"
        answers.append((asked, history))


def _again(ws, answers, chance, said):
    """Yield where an earlier answer has changed."""
    for asked, before in chance.sample(answers, min(3, len(answers))):
        now = _read(ws, *asked)
        said["compared"] += 1
        if now != before:
            yield f"{asked}: was {before} and is {now}"


def _read(ws, spine, view, sequence):
    return ws.get_historical_features(spine, [view], as_of=sequence).drop("timestamp").rows()


def _whole(path):
    from tinymlops.stores.doctor import check

    with tm.connect(path) as ws:
        findings = list(check(environment_of(ws), lambda _: None))
        return [*world.sequences(ws), *(f"doctor: {one.detail}" for one in findings if one.level == "damaged")]
