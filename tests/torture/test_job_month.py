"""A simulated month of jobs, runners and jobs killed all the time, and a wrong clock: none missed, none done twice."""

import collections
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import tinymlops as tm
from torture import month
from torture.conftest import FULL
from torture.figures import record
from torture.month import JOBS, FileClock, moment

HOUR = timedelta(hours=1)
HALVES = {
    "march": ("2024-03-23 22:30", "2024-04-07 23:30"),
    "october": ("2024-10-19 21:30", "2024-11-03 22:30"),
}
"""Half a month around each night on which the clocks of Vienna change."""
SHORT = {"october": ("2024-10-26 22:30", "2024-10-27 01:30")}
KILLS = 150 if FULL else 3
SLEEPS = 5 if FULL else 0
BACK = 10 if FULL else 1
BUSY = 2
"""With so many jobs that run or could, the clock goes on."""
AT_ONCE = 3
PATIENCE = 3_000 if FULL else 300


def dues_between(start, end):
    """Return the due times of each job, said without what computes them elsewhere."""
    hours = [start.replace(minute=0) + n * HOUR for n in range(1, (end - start) // HOUR + 2)]
    hours = [hour for hour in hours if hour <= end]
    zone = ZoneInfo(month.VIENNA)
    dues = {
        "hourly": hours,
        "merged": [hour for hour in hours if hour.hour % 6 == 0],
        "pooled": [hour for hour in hours if hour.hour % 12 == 0],
        "nightly": [],
        "delivered": [],
    }
    dues["pooled-too"] = dues["pooled"]
    day = start.astimezone(zone).date()
    while day <= end.astimezone(zone).date():
        for name, minute in (("nightly", 30), ("delivered", 0)):
            # The last Sunday of March has no 2 o'clock: both move to 3; that of October has two, and the first counts.
            hour, minute = (3, 0) if (day.month, day.day) == (3, 31) else (2, minute)
            due = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
            if start < due <= end:
                dues[name].append(due)
        day += timedelta(days=1)
    return dues | {"next": dues["nightly"], "both": dues["nightly"]}


class Month:
    """A workspace, its clock, two runners, and who kills them."""

    def __init__(self, folder, start, end):
        self.folder, self.start, self.end = folder, start, end
        self.clock, self.chance = FileClock(folder / "clock"), random.Random(15)
        self.dues = dues_between(start, end)
        self.runners = [None, None]
        self.kills, self.killed = collections.Counter(), set()
        (folder / "in").mkdir()
        self.clock.set(start)
        self._came = {due: due + self.chance.random() * 5 * HOUR for due in self.dues["delivered"]}
        span = (end - start) / KILLS
        kinds = ["job", "runner", "both", "job", "runner", "group"]
        self._deaths = [(start + (n + 0.5) * span, kinds[n % len(kinds)]) for n in range(KILLS)]
        self._back = [start + (n + 0.7) * (end - start) / max(1, BACK) for n in range(BACK)]
        self._sleeps = [start + (n + 0.4) * (end - start) / max(1, SLEEPS) for n in range(SLEEPS)]

    def live(self):
        """Let the clock go, and kill, until all that is due by the end is done."""
        until = time.monotonic() + PATIENCE
        with tm.connect(self.folder / "month.tm", clock=self.clock) as ws:
            while self.clock() < self.end or not self._is_done(ws):
                assert time.monotonic() < until, (self.folder / "told").read_text()[-2_000:]
                self._revive()
                self._deliver()
                self._move_clock(ws)
                self._kill()
                time.sleep(self.chance.uniform(0.01, 0.06))
            while ws.jobs.open_attempts():
                assert time.monotonic() < until
                self._revive()
                time.sleep(0.05)

    def close(self):
        for number in (0, 1):
            self._end(number)

    def _revive(self):
        for number, one in enumerate(self.runners):
            if one is None or one.poll() is not None:
                assert one is None, f"a runner has ended by itself: {one.returncode}"
                command = [sys.executable, month.__file__, "runner", str(self.folder)]
                with (self.folder / "errors").open("ab") as errors:
                    self.runners[number] = subprocess.Popen(command, stderr=errors)

    def _deliver(self):
        now = self.clock()
        for due in [due for due, came in self._came.items() if came <= now]:
            del self._came[due]
            day = due.astimezone(ZoneInfo(month.VIENNA)).date()
            (self.folder / "in" / f"{day}.csv").write_text("x\n1\n")

    def _move_clock(self, ws):
        now = self.clock()
        decided = ws.jobs.state("hourly").through
        waiting = [run for run in ws.jobs.history(state="waiting", limit=None) if run.not_before <= now]
        busy = len([run for run in waiting if run.job != "delivered"]) + len(ws.jobs.open_attempts())
        if busy > BUSY or now - decided >= HOUR:
            return
        if self._back and now >= self._back[0]:
            self._back.pop(0)
            self.clock.set(now - self.chance.random() * 20 * HOUR)
        elif self._sleeps and now >= self._sleeps[0]:
            self._sleeps.pop(0)
            self.clock.set(now + self.chance.uniform(5, 30) * HOUR)
        elif now < self.end:
            self.clock.set(min(self.end, now + self.chance.uniform(5, 40) * HOUR / 60))
        else:
            self.clock.set(now + timedelta(seconds=20))  # until what was killed is tried again

    def _kill(self):
        if not self._deaths or self.clock() < self._deaths[0][0]:
            return
        kind = self._deaths[0][1]
        if kind == "runner" or self._kill_a_job(kind):
            self._deaths.pop(0)
            self.kills[kind] += 1
            if kind in ("runner", "both"):
                self._end(self.chance.randrange(2))

    def _kill_a_job(self, kind):
        with suppress(OSError, ValueError, IndexError):  # none is there, or it has just ended
            files = [one for one in (self.folder / "month.tm" / "jobs").iterdir() if one.name.isdecimal()]
            chosen = self.chance.choice(files)
            process = int(chosen.read_text())
            if b"attempt" in Path(f"/proc/{process}/cmdline").read_bytes():
                time.sleep(self.chance.random() * 0.5)
                (os.killpg if kind == "group" else os.kill)(process, signal.SIGKILL)
                self.killed.add(int(chosen.name))
                return True
        return False

    def _end(self, number):
        one, self.runners[number] = self.runners[number], None
        if one is not None:
            one.kill()
            one.wait()

    def _is_done(self, ws):
        done = collections.defaultdict(set)
        for run in ws.jobs.history(state="succeeded", limit=None):
            done[run.job].add(run.due)
        merged = self.dues["merged"]
        return all(set(dues) <= done[job] for job, dues in self.dues.items() if job != "merged") and (
            not merged or max(done["merged"], default=self.start) >= merged[-1]
        )


def accounted(ws, life):
    """Return what is wrong with history and with what was done, by words."""
    runs = [run for run in ws.jobs.history(limit=None) if run.due <= life.end]
    wrong = [f"{run.job} of {run.due} is {run.state}: {run.told}" for run in runs if not _is_as_told(run)]
    for job, dues in life.dues.items():
        wrong += _each_once(job, dues, [run for run in runs if run.job == job])
    rows = collections.Counter((job, due) for job, due in ws.sql("select job, due from done").rows())
    succeeded = {(run.job, tm.times.to_micros(run.due)) for run in ws.jobs.history(state="succeeded", limit=None)}
    wrong += [f"{one} was done {count} times" for one, count in rows.items() if count != 1]
    wrong += [f"{one} succeeded without its row" for one in succeeded - set(rows)]
    return wrong + [f"{one} has a row without a success" for one in set(rows) - succeeded]


def _is_as_told(run):
    return run.state == "succeeded" or (run.job == "merged" and run.state == "skipped")


def _each_once(job, dues, runs):
    """Say which due times history does not account for, or more than once."""
    told = collections.Counter()
    for run in runs:
        if run.state == "succeeded":
            stands = [due for due in dues if run.first <= due <= run.due] if job == "merged" else [run.due]
            told.update(stands)
            if len(stands) != run.count:
                return [f"{job} of {run.due} stands for {run.count}, not {len(stands)}"]
    return [
        f"{job} of {due}: accounted for {told[due]} times"
        for due in set(dues) | set(told)
        if (due in dues, told[due]) != (True, 1)
    ]


def witnessed(ws, life):
    """Return what the witness outside saw and history does not tell."""
    lines = [line.split() for line in (life.folder / "witness").read_text().splitlines()]
    attempts = {one.id: one for run in ws.jobs.history(limit=None) for one in ws.jobs.attempts(run.job, run.due)}
    wrong = [f"attempt {number} of {job} ran beside another" for number, job, what in lines if what == "beside-another"]
    began = [(int(number), job, int(due)) for number, job, due in lines if due.isdecimal()]
    known = {(number, one.job, tm.times.to_micros(one.due)) for number, one in attempts.items()}
    wrong += [f"{one} began and history does not know it" for one in set(began) - known]
    wrong += [f"{one} began twice" for one, count in collections.Counter(began).items() if count > 1]
    started = {number for number, _, _ in began}
    for number, one in attempts.items():
        if one.state == "succeeded" and number not in started:
            wrong.append(f"attempt {number} succeeded and never began")
        if one.state not in ("succeeded", "failed", "lost") or (one.state == "failed" and number not in life.killed):
            wrong.append(f"attempt {number} of {one.job} is {one.state}: {one.told}")
    unasked = [number for number, one in attempts.items() if one.state == "lost" and number not in life.killed]
    if len(unasked) > AT_ONCE * (life.kills["runner"] + life.kills["both"]):
        wrong.append(f"lost without a kill: {unasked}")
    succeeded = collections.Counter((one.job, one.due) for one in attempts.values() if one.state == "succeeded")
    return wrong + [f"{one} succeeded {count} times" for one, count in succeeded.items() if count > 1], attempts


@pytest.mark.parametrize("half", HALVES if FULL else SHORT)
def test_a_month_of_kills_and_wrong_clocks_misses_nothing_and_doubles_nothing(tmp_path, half):
    start, end = map(moment, (HALVES if FULL else SHORT)[half])
    life, began = Month(tmp_path, start, end), time.monotonic()
    with tm.connect(tmp_path / "month.tm", create=True, clock=life.clock) as ws:
        ws.apply(month.project())
        ws.jobs.decide(JOBS)
    try:
        life.live()
    finally:
        life.close()
    with tm.connect(tmp_path / "month.tm", clock=life.clock) as ws:
        wrong = accounted(ws, life)
        more, attempts = witnessed(ws, life)
        states = collections.Counter(one.state for one in attempts.values())
    assert (tmp_path / "errors").read_text() == ""
    record(
        f"a_simulated_month_of_jobs_{half}",
        due_times=sum(map(len, life.dues.values())),
        attempts=len(attempts),
        attempts_killed=states["failed"] + states["lost"],
        kills=life.kills.total(),
        minutes=round((time.monotonic() - began) / 60, 1),
        wrong=len(wrong + more),
    )
    assert not wrong + more, "\n".join(wrong + more)
    assert life.kills.total() >= KILLS
