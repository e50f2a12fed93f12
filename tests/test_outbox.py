"""Failures are told: committed with what failed, sent at least once, with an id."""

import contextlib
import http.server
import itertools
import json
import os
import socket
import sys
import threading
import time
import types
from datetime import timedelta

import msgspec
import pytest
from clocks import AnyClock
from inside import database_of

import tinymlops as tm
from tinymlops.jobs import webhook
from tinymlops.jobs.delivery import Delivery
from tinymlops.jobs.runner import Runner
from tinymlops.jobs.webhook import ADDRESS, Webhook
from tinymlops.schedules import Job, schedule_of
from tinymlops.secrets import read_secret


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


@pytest.fixture
def receiver():
    """A server that takes messages; `.codes` are its next answers, then 204."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["Content-Length"]))
            server.taken.append((json.loads(content), self.headers["Idempotency-Key"]))
            self.send_response(server.codes.pop(0) if server.codes else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    server.taken, server.codes = [], []
    server.secret = read_secret("X", {"X": f"http://127.0.0.1:{server.server_port}/hook/correct-horse"})
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fail(ws, told="no disk"):
    """Let a run of a job fail for good."""
    job = Job(name="orders", schedule=schedule_of("1h", None, "UTC"))
    ws.jobs.decide([job])
    ws.jobs.start("orders")
    (claimed,) = ws.jobs.claim([job], at_once=1)
    ws.jobs.finish(claimed.number, "failed", told=told)
    os.close(claimed.lock)


def test_a_failure_and_its_message_are_one_commit(ws):
    before = ws.jobs.commits()
    job = Job(name="orders", schedule=schedule_of("1h", None, "UTC"))
    ws.jobs.start("orders")
    (claimed,) = ws.jobs.claim([job], at_once=1)
    assert ws.jobs.finish(claimed.number, "failed", retries=1).state == "waiting"
    os.close(claimed.lock)
    assert ws.jobs.outbox.list() == []
    assert ws.jobs.commits() == before + 3
    ws.jobs.start("other")
    fail_now = ws.jobs.commits()
    (claimed,) = ws.jobs.claim([Job(name="other", schedule=job.schedule)], at_once=9)
    ws.jobs.finish(claimed.number, "failed", told="no disk")
    os.close(claimed.lock)
    assert ws.jobs.commits() == fail_now + 2
    (message,) = ws.jobs.outbox.list(state="waiting")
    assert message.text == "job 'other' of 2024-05-01 12:00:00 UTC failed: no disk"


def test_a_message_is_posted_with_its_id_and_only_once_if_it_was_taken(ws, receiver):
    fail(ws)
    told = []
    Delivery(ws.jobs.outbox, told.append, [Webhook(receiver.secret)]).end()
    Delivery(ws.jobs.outbox, told.append, [Webhook(receiver.secret)]).end()
    ((content, key),) = receiver.taken
    (message,) = ws.jobs.outbox.list(state="sent")
    assert key == content["id"] == message.id
    assert (content["kind"], content["job"], content["told"]) == ("job.failed", "orders", "no disk")
    assert told == [f"alert: {message.text}"]


def test_a_message_that_is_not_taken_is_sent_again_later_with_the_same_id(ws, clock, receiver):
    fail(ws)
    receiver.codes += [500, 302]
    told = []
    delivery = Delivery(ws.jobs.outbox, told.append, [Webhook(receiver.secret)])
    for seconds in (0, 29, 1, 59, 1):
        clock.now += timedelta(seconds=seconds)
        delivery.end()
    assert len(receiver.taken) == 3
    assert len({key for _, key in receiver.taken}) == 1
    assert [one.attempts for one in ws.jobs.outbox.list(state="sent")] == [3]
    assert "(not sent yet: the address of TINYMLOPS_ALERTS_URL answers 500)" in told[0]
    assert "correct-horse" not in " ".join(told)


def test_a_message_whose_sender_died_is_sent_by_the_next(ws, clock, receiver):
    fail(ws)
    (taken,) = ws.jobs.outbox.take()  # and nothing more is heard of who took it
    delivery = Delivery(ws.jobs.outbox, print, [Webhook(receiver.secret)])
    delivery.end()
    assert receiver.taken == []
    clock.now += timedelta(minutes=1)
    delivery.end()
    assert [key for _, key in receiver.taken] == [taken.id]


def test_an_address_that_nobody_hears_at_is_tried_again_and_at_last_given_up(ws, clock):
    fail(ws)
    nobody = read_secret("X", {"X": "http://127.0.0.1:1/correct-horse"})
    told = []
    delivery = Delivery(ws.jobs.outbox, told.append, [Webhook(nobody)])
    for _ in range(2):
        delivery.end()
        clock.now += timedelta(hours=1)
    (message,) = ws.jobs.outbox.list()
    assert (message.state, message.attempts) == ("waiting", 2)
    with database_of(ws).write(actor=None) as tx:  # days later
        tx.update(msgspec.structs.replace(message, attempts=98))
    for _ in range(4):
        delivery.end()
        clock.now += timedelta(hours=1)
    (message,) = ws.jobs.outbox.list()
    assert len(told) == 4
    assert (message.state, message.attempts) == ("given up", 100)
    assert message.told == "the address of TINYMLOPS_ALERTS_URL does not answer: ConnectError"
    assert "correct-horse" not in " ".join(told)


def test_a_runner_tells_of_failures_in_its_log_and_to_the_address(ws, clock, receiver, tmp_path):
    told = []
    job = Job(name="work", schedule=schedule_of("1h", None, "UTC"))
    runner = Runner(
        ws.jobs,
        [job],
        [sys.executable, "-S", "-c", "raise SystemExit('no disk')"],
        root=tmp_path,
        tell=told.append,
        channels=[Webhook(receiver.secret)],
    )
    runner.run_until_idle()
    clock.now += timedelta(hours=1)
    runner.run_until_idle()
    assert "alert: job 'work' of 2024-05-01 13:00:00 UTC failed: ended with code 1: no disk" in told
    assert [content["job"] for content, _ in receiver.taken] == ["work"]


def test_what_is_no_address_is_refused():
    with pytest.raises(tm.DefinitionError, match=ADDRESS):
        Webhook(read_secret("X", {"X": "ftp://correct-horse"}))


@pytest.fixture
def talker():
    """A server that answers every request with what `.says` yields, a part now and then, until it is told to end."""
    listener, ends = socket.create_server(("127.0.0.1", 0)), threading.Event()
    talker = types.SimpleNamespace(says=[], port=listener.getsockname()[1])

    def talk():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                for part in talker.says:
                    connection.sendall(part)
                    if ends.wait(0.02):
                        break

    thread = threading.Thread(target=talk)
    thread.start()
    yield talker
    ends.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_a_server_that_answers_a_letter_now_and_then_is_left_in_time(ws, talker, monkeypatch):
    monkeypatch.setattr(webhook, "_SECONDS", 0.5)
    fail(ws)
    talker.says = itertools.chain([b"HTTP/1.1 204 No Content\r\nX: "], itertools.repeat(b"x"))
    begun = time.monotonic()
    Delivery(ws.jobs.outbox, print, [address_of(talker)]).end()
    assert time.monotonic() - begun < 5
    (message,) = ws.jobs.outbox.list()
    assert (message.state, message.told) == ("waiting", f"the address of {ADDRESS} does not answer in time")


def test_an_answer_without_an_end_is_not_read(ws, talker):
    fail(ws)
    talker.says = itertools.chain([b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"], itertools.repeat(b"x"))
    begun = time.monotonic()
    Delivery(ws.jobs.outbox, print, [address_of(talker)]).end()
    assert time.monotonic() - begun < 5
    (message,) = ws.jobs.outbox.list()
    assert (message.state, message.taken) == ("sent", ("webhook",))


def address_of(talker):
    return Webhook(read_secret("X", {"X": f"http://127.0.0.1:{talker.port}/correct-horse"}))
