"""Kill who sends alerts, at random moments: every receiver gets every message at least once, and none is lost."""

import collections
import http.server
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from mail_server import MailServer

import tinymlops as tm
from tinymlops.registry.outbox import put_message
from torture.conftest import FULL
from torture.figures import record

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
KILLS = 60 if FULL else 5
SENDER, RECEIVERS = "jobs@shop.example", ("ana@shop.example", "bo@shop.example")
PROGRAM = """
import datetime, os, sys
import httpx, smtplib, ssl  # so that a sender begins at once
import tinymlops as tm
from tinymlops import workspace
from tinymlops.jobs.delivery import Delivery
from tinymlops.jobs.smtp import Mail, mail_server
from tinymlops.jobs.webhook import Webhook
from tinymlops.secrets import Secret

path, web, smtp, sender, *receivers = sys.argv[1:]

def send(moment):
    ways = [Webhook(Secret(web)), Mail(mail_server(Secret(smtp)), sender, receivers)]
    with tm.connect(path, clock=lambda: moment) as ws:
        if BROKEN:  # what is sent is settled before
            take, settle = ws.jobs.outbox.take, ws.jobs.outbox.settle
            ws.jobs.outbox.take = lambda: [settle(one, None) for one in take()]
        Delivery(ws.jobs.outbox, lambda _: None, ways).end()

for line in sys.stdin:
    child = os.fork()
    if child == 0:
        try:
            send(datetime.datetime.fromisoformat(line.strip()))
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Receivers:
    """A webhook and a mail server that count what they take, and may have the sender killed meanwhile."""

    def __init__(self):
        self.posted, self.victim, self.after, self.counted = [], None, None, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert content["id"] == self.headers["Idempotency-Key"]
                outer.posted.append(content["id"])
                outer.count()
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads, block_on_close = False, True

            def handle_error(self, *_):
                """The sender was killed."""

        self._web = Quiet(("127.0.0.1", 0), Handler)
        self.web = f"http://127.0.0.1:{self._web.server_port}/hook"
        self.mail = MailServer()
        for verb in ("CONNECT", "MAIL", "RCPT", "DATA", "DATA-END", "QUIT"):
            self.mail.replies[verb] = _Always(self.count)
        self._thread = threading.Thread(target=self._web.serve_forever, args=(0.01,))

    def __enter__(self):
        self.mail.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._web.shutdown()
        self._thread.join()
        self._web.server_close()
        self.mail.__exit__()

    def count(self):
        """Kill the sender before it gets the answer of this number."""
        self.counted += 1
        if self.counted == self.after:
            os.kill(self.victim, signal.SIGKILL)

    def taken(self):
        """How often each message came, by receiver."""
        found = {"webhook": collections.Counter(self.posted)}
        found |= {one: collections.Counter() for one in RECEIVERS}
        for receivers, mail in self.mail.mails:
            for one in receivers:
                found[one][mail["Message-ID"].strip("<>").partition("@")[0]] += 1
        return found


class _Always:
    """Answers without an end that call a function and are the usual ones."""

    def __init__(self, call):
        self._call = call

    def __bool__(self):
        return True

    def pop(self, _):
        return self._call


class Story:
    """A workspace with messages, and a sender after the other."""

    def __init__(self, folder, receivers, *, broken=False):
        self._path, self._receivers = folder / "shop.tm", receivers
        self.kills, self.now, self._put = 0, NOON, 0
        with tm.connect(self._path, create=True, clock=lambda: self.now):
            pass
        smtp = f"smtp://127.0.0.1:{receivers.mail.port}"
        program = f"BROKEN = {broken}\n{PROGRAM}"
        words = [sys.executable, "-c", program, self._path, receivers.web, smtp, SENDER, *RECEIVERS]
        self._parent = subprocess.Popen(list(map(str, words)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self):
        self._parent.kill()
        self._parent.communicate()

    def put(self, many):
        with tm.connect(self._path, clock=lambda: self.now) as ws, ws.jobs._scope.write(audit=None) as tx:
            for number in range(self._put, self._put + many):
                put_message(tx, "job.failed", f"job 'j{number}' failed", self.now, job=f"j{number}")
        self._put += many

    def send(self, *, after=None, seconds=None):
        """Let a sender send what is due; kill it before an answer of this number, or after so many seconds."""
        self.now += timedelta(minutes=2)  # what a dead one had taken is free again
        self._receivers.counted, self._receivers.after = 0, None
        print(self.now.isoformat(), file=self._parent.stdin, flush=True)
        self._receivers.victim = child = int(self._parent.stdout.readline())
        self._receivers.after = after
        timer = threading.Timer(seconds or 0, os.kill, (child, signal.SIGKILL))
        if seconds is not None:
            timer.start()
        code = int(self._parent.stdout.readline())
        self._receivers.after = None
        timer.cancel()
        if seconds is not None:
            timer.join()
        assert code in (0, -signal.SIGKILL)
        self.kills += code != 0
        return code

    def all(self):
        with tm.connect(self._path, clock=lambda: self.now) as ws:
            return ws.jobs.outbox.list()


@pytest.fixture
def receivers():
    with Receivers() as receivers:
        yield receivers


def test_no_message_is_lost_however_often_its_sender_is_killed(tmp_path, receivers):
    story, chance = Story(tmp_path, receivers), random.Random(15)
    try:
        story.put(3)
        begun = time.monotonic()
        assert story.send() == 0
        usual = time.monotonic() - begun
        turns = 0
        while story.kills < KILLS:
            turns += 1
            assert turns < 10 * KILLS
            if len(story.all()) - sum(one.state == "sent" for one in story.all()) < 3:
                story.put(3)
            story.send(**({"after": chance.randint(1, 24)} if turns % 2 else {"seconds": chance.uniform(0, usual)}))
        assert story.send() == 0
        messages = story.all()
    finally:
        story.close()
    assert [one for one in messages if one.state != "sent"] == []
    ids = {one.id for one in messages}
    assert len(ids) == len(messages) == story._put
    twice = {}
    for receiver, counted in receivers.taken().items():
        assert set(counted) == ids, receiver
        twice[receiver] = sum(counted.values()) - len(ids)
        assert twice[receiver] <= story.kills  # a sender works at one message: it alone may come again
    record(
        "kills_of_the_sender_of_alerts",
        kills=story.kills,
        messages=len(ids),
        lost=0,
        deliveries=sum(sum(counted.values()) for counted in receivers.taken().values()),
        twice_by_webhook=twice["webhook"],
        twice_by_mail=sum(twice[one] for one in RECEIVERS),
    )
    assert twice["webhook"] > 0 or not FULL  # moments were met at which that cannot be helped


def test_a_sender_that_says_sent_before_it_sends_is_found_out(tmp_path, receivers):
    """Otherwise the test above could not fail."""
    story = Story(tmp_path, receivers, broken=True)
    try:
        story.put(3)
        assert story.send(after=1) == -signal.SIGKILL
        assert story.send() == 0
        ids = {one.id for one in story.all() if one.state == "sent"}
    finally:
        story.close()
    assert len(ids) == 3
    assert any(set(counted) != ids for counted in receivers.taken().values())
