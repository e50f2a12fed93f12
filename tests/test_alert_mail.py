"""Alerts by e-mail: to a mail server on a real socket that takes them, or does not."""

import email
import email.policy
import os
import shutil
import socket
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mail_server import MailServer, certificate, nobody_listens

import tinymlops as tm
from tinymlops.config import AlertsConfig
from tinymlops.jobs import smtp, webhook
from tinymlops.jobs.channels import channels_of
from tinymlops.jobs.delivery import Delivery
from tinymlops.jobs.mail import mail_of
from tinymlops.jobs.smtp import Mail, mail_server
from tinymlops.printable import printable
from tinymlops.records import OutboxMessage
from tinymlops.registry.outbox import put_message
from tinymlops.secrets import Secret

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SENDER, ANA, BO = "jobs@shop.example", "ana@shop.example", "bo@shop.example"
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


class AnyClock:
    """A clock that goes as it is told."""

    now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return AnyClock()


@pytest.fixture
def ws(tmp_path, clock):
    with tm.connect(tmp_path / "shop.tm", create=True, clock=clock) as ws:
        yield ws


@pytest.fixture
def server():
    with MailServer() as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(smtp, "_SECONDS", 0.5)


def put(ws, told="no disk", **detail):
    with ws.jobs._scope.write(audit=None) as tx:
        return put_message(
            tx, "job.failed", f"job 'orders' failed: {told}", ws.jobs.clock(), **{"job": "orders", **detail}
        )


def mail(server, *receivers, scheme="smtp", user="", host="127.0.0.1"):
    url = Secret(f"{scheme}://{user}{host}:{server if isinstance(server, int) else server.port}")
    return Mail(mail_server(url), SENDER, receivers or (ANA,))


def lines_of(mail):
    return mail.get_content().replace("\r\n", "\n")


def deliver(ws, *channels):
    told = []
    Delivery(ws.jobs.outbox, told.append, channels).end()
    (message,) = ws.jobs.outbox.list()
    return message, told


def test_a_message_is_mail_with_its_job_and_a_message_id_made_of_its_id(ws, server):
    put(ws, due=NOON.isoformat(), attempt=17, code=None)
    message, told = deliver(ws, mail(server, ANA, BO))
    ((receivers, found),) = server.mails
    assert receivers == (ANA, BO)
    assert (found["From"], found["To"], found["Subject"]) == (SENDER, f"{ANA}, {BO}", "job orders failed")
    assert found["Message-ID"] == f"<{message.id}@shop.example>"
    assert found["Date"].datetime == NOON
    assert found["Auto-Submitted"] == "auto-generated"
    assert lines_of(found) == (
        "job 'orders' failed: no disk\n\njob: orders\ndue: 2024-05-01T12:00:00+00:00\nattempt: 17\n"
        f"id: {message.id}\n\ntinymlops jobs history and tinymlops jobs logs say more.\n"
    )
    assert found.get_content_type() == "text/plain"
    assert (message.state, message.taken) == ("sent", (ANA, BO))
    assert told == [f"alert: {message.text}"]
    assert deliver(ws, mail(server, ANA, BO))[1] == []
    assert len(server.mails) == 1


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ({"CONNECT": ["421 too many"]}, "answers 421 too many"),
        ({"MAIL": ["451 later"]}, "answers 451 later"),
        ({"RCPT": ["450 greylisted"]}, "answers 450 greylisted for ana@shop.example"),
        ({"DATA": ["451 no space"]}, "answers 451 no space"),
        ({"DATA-END": ["550 5.7.1 spam"]}, "answers 550 5.7.1 spam"),
        ({"DATA-END": ["552-x\x1b[2J\r\n552 bad"]}, "answers 552 x\\x1b[2J\\nbad"),
        ({"CONNECT": ["drop"]}, "ends the connection before it has taken the message"),
        ({"EHLO": ["drop"]}, "ends the connection before it has taken the message"),
        ({"DATA": ["drop"]}, "ends the connection before it has taken the message"),
        ({"DATA-END": ["drop"]}, "ends the connection before it has taken the message"),
        ({"CONNECT": ["hang"]}, "does not answer in time"),
        ({"RCPT": ["hang"]}, "does not answer in time"),
        ({"DATA-END": ["hang"]}, "does not answer in time"),
        ({"MAIL": ["trickle"]}, "does not answer in time"),
        ({"DATA-END": ["trickle"]}, "does not answer in time"),
    ],
    ids=str,
)
def test_a_message_that_is_not_taken_is_sent_again_later_and_then_taken_once(ws, clock, server, replies, said):
    put(ws)
    server.replies = {verb: list(answers) for verb, answers in replies.items()}
    begun = time.monotonic()
    message, told = deliver(ws, mail(server))
    assert time.monotonic() - begun < 5
    assert message.told == f"the mail server 127.0.0.1:{server.port} {said}"
    assert told == [f"alert: {message.text} (not sent yet: {message.told})"]
    assert (message.state, message.taken, server.mails) == ("waiting", (), [])
    clock.now += timedelta(seconds=29)
    assert deliver(ws, mail(server))[1] == []
    clock.now += timedelta(seconds=1)
    message, _ = deliver(ws, mail(server))
    assert (message.state, message.attempts, message.told) == ("sent", 2, None)
    assert server.ids() == [f"<{message.id}@shop.example>"]


def test_a_server_that_refuses_connections_is_told(ws):
    put(ws)
    port = nobody_listens()
    message, _ = deliver(ws, mail(port))
    assert message.told == f"the mail server 127.0.0.1:{port} does not answer: ConnectionRefusedError"


def test_a_message_whose_answer_was_lost_comes_twice_with_one_message_id(ws, clock, server):
    put(ws)
    server.replies = {"TAKEN": ["drop"]}
    assert deliver(ws, mail(server))[0].state == "waiting"
    clock.now += timedelta(minutes=1)
    assert deliver(ws, mail(server))[0].state == "sent"
    assert len(server.mails) == 2
    assert len(set(server.ids())) == 1
    assert server.mails[0][1].raw == server.mails[1][1].raw


def test_what_fails_after_the_message_was_taken_is_no_failure(ws, server):
    put(ws)
    server.replies = {"QUIT": ["hang"]}
    assert deliver(ws, mail(server))[0].state == "sent"


def test_who_has_taken_it_does_not_get_it_again_while_others_have_yet_to(ws, clock, server):
    put(ws)
    server.replies = {"RCPT": [None, "550 nobody"]}
    message, _ = deliver(ws, mail(server, ANA, BO))
    assert (message.state, message.taken) == ("waiting", (ANA,))
    assert message.told == f"the mail server 127.0.0.1:{server.port} answers 550 nobody for {BO}"
    clock.now += timedelta(minutes=1)
    message, _ = deliver(ws, mail(server, ANA, BO))
    assert (message.state, message.taken) == ("sent", (ANA, BO))
    assert [receivers for receivers, _ in server.mails] == [(ANA,), (BO,)]


@pytest.mark.parametrize("answers", [[None, "421 bye"], ["421 bye"], ["450 later", "421 bye"], ["550 no", "550 no"]])
def test_who_was_accepted_by_a_server_that_then_took_nothing_gets_it_later(ws, clock, server, answers):
    put(ws)
    server.replies = {"RCPT": list(answers)}
    message, _ = deliver(ws, mail(server, ANA, BO))
    assert (message.state, message.taken, server.mails) == ("waiting", (), [])
    assert answers[-1] in message.told
    clock.now += timedelta(minutes=1)
    message, _ = deliver(ws, mail(server, ANA, BO))
    assert (message.state, message.taken) == ("sent", (ANA, BO))
    assert [receivers for receivers, _ in server.mails] == [(ANA, BO)]


def test_one_way_does_not_wait_for_another(ws, clock, server):
    """A webhook that takes nothing is tried again; the mail is sent once."""
    put(ws)
    nobody = webhook.Webhook(Secret(f"http://127.0.0.1:{nobody_listens()}/"))
    for _ in range(3):
        message, _ = deliver(ws, nobody, mail(server))
        clock.now += timedelta(hours=1)
    assert (message.state, message.taken, message.attempts, len(server.mails)) == ("waiting", (ANA,), 3, 1)
    assert message.told == "the address of TINYMLOPS_ALERTS_URL does not answer: ConnectError"


def test_a_runner_that_ends_does_not_wait_for_a_server_that_hangs(ws, server, monkeypatch):
    monkeypatch.setattr("tinymlops.jobs.delivery._PATIENCE", 0.8)
    for _ in range(20):
        put(ws)
    server.replies = {"CONNECT": ["hang"] * 20}
    begun = time.monotonic()
    Delivery(ws.jobs.outbox, print, [mail(server)]).end()
    assert time.monotonic() - begun < 5
    assert len(ws.jobs.outbox.list(state="waiting")) == 20


# --- TLS and passwords


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def far(monkeypatch):
    """Let mail.test and other.test be names of this machine that do not say so."""
    real = socket.getaddrinfo

    def found(host, *rest, **options):
        return real("127.0.0.1" if str(host).endswith(".test") else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", found)


@needs_openssl
def test_mail_goes_encrypted_and_the_certificate_is_checked(ws, clock, tls, far, monkeypatch):
    put(ws)
    context, cert = tls
    with MailServer(starttls=context, auth=("jobs@shop", "päss wörd")) as server:
        to = mail(server, host="mail.test", user="jobs%40shop:p%C3%A4ss%20w%C3%B6rd@")
        message, _ = deliver(ws, to)
        assert message.told.startswith(
            f"the mail server mail.test:{server.port} shows a certificate that is not valid here: "
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        clock.now += timedelta(hours=1)
        message, _ = deliver(ws, mail(server, host="other.test"))
        assert "Hostname mismatch" in message.told
        assert [line for line in server.commands if line.startswith(("AUTH", "MAIL"))] == []
        clock.now += timedelta(hours=1)
        assert deliver(ws, to)[0].state == "sent"
        assert len(server.mails) == 1


@needs_openssl
def test_mail_goes_over_tls_from_the_first_byte(ws, clock, tls, monkeypatch):
    put(ws)
    context, cert = tls
    with MailServer(tls=context) as server:
        message, _ = deliver(ws, mail(server, scheme="smtps"))
        assert "certificate that is not valid here" in message.told  # also on this machine
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        for answer in ("hang", "trickle", "drop", None):
            clock.now += timedelta(hours=1)
            server.replies = {"MAIL": [answer]}
            message, _ = deliver(ws, mail(server, scheme="smtps"))
        assert (message.state, message.attempts, len(server.mails)) == ("sent", 5, 1)


def test_a_server_without_tls_gets_no_mail_but_on_this_machine(ws, clock, server, far):
    put(ws)
    message, _ = deliver(ws, mail(server, host="mail.test", user="jobs:correct-horse@"))
    assert message.told.startswith(f"the mail server mail.test:{server.port} does not offer STARTTLS")
    assert [line for line in server.commands if line.startswith(("AUTH", "MAIL"))] == []
    clock.now += timedelta(hours=1)
    assert deliver(ws, mail(server, host="localhost"))[0].state == "sent"


@needs_openssl
def test_on_this_machine_nobody_signs_certificates(ws, tls):
    put(ws)
    with MailServer(starttls=tls[0]) as server:
        assert deliver(ws, mail(server))[0].state == "sent"
        assert "STARTTLS" in server.commands


def test_a_server_that_hangs_in_the_handshake_is_left(ws, server):
    put(ws)
    server.replies = {"CONNECT": ["hang"]}
    begun = time.monotonic()
    message, _ = deliver(ws, mail(server, scheme="smtps"))
    assert time.monotonic() - begun < 5
    assert "127.0.0.1" in message.told


@pytest.mark.parametrize("mechanisms", ["PLAIN LOGIN", "LOGIN", "CRAM-MD5"])
def test_no_password_is_told(ws, clock, mechanisms):
    put(ws)
    secrets = ("correct-horse", "Y29ycmVjdC1ob3JzZQ", "AGpvYnMAY29ycmVjdC1ob3JzZQ")
    with MailServer(auth=("jobs", "battery-staple"), mechanisms=mechanisms) as server:
        message, told = deliver(ws, mail(server, user="jobs:correct-horse@"))
        assert message.state == "waiting"
        if mechanisms != "CRAM-MD5":
            assert message.told.endswith("does not take the user and the password of its URL: 535")
        assert [one for one in secrets if one in repr(message) + "".join(told)] == []
        server.replies = {"MAIL": ["550 correct-horse is no way to say it"]}
        server.auth = ("jobs", "correct-horse")
        clock.now += timedelta(hours=1)
        message, told = deliver(ws, mail(server, user="jobs:correct-horse@"))
        assert [one for one in secrets if one in repr(message) + "".join(told)] == []


@pytest.mark.parametrize(
    "url",
    [
        "smtp://",
        "smtp://:correct-horse@host",
        "smtp://jobs:correct@horse@host",
        "smtp://jobs:correct/horse@host",
        "smtp://jobs:correct#horse@host",
        "smtp://jobs:correct?horse@host",
        "smtp://host:0",
        "smtp://host:99999",
        "smtp://host/path",
        "smtp://ho..st",
        "http://host",
        "host:25",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_being_quoted(url):
    with pytest.raises(tm.DataError) as raised:
        mail_server(Secret(url))
    assert "correct" not in str(raised.value)
    assert "smtp://user:password@mail.example.com:587" in raised.value.hint
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_ports_are_those_of_the_standard():
    assert mail_server(Secret("smtp://mail.example.com")).port == 587
    assert mail_server(Secret("smtps://mail.example.com/")).port == 465
    found = mail_server(Secret("smtp://a%40b:p%3Aw@[::1]:25"))
    assert (found.host, found.user, found.password.reveal(), found.is_here) == ("::1", "a@b", "p:w", True)
    assert "p:w" not in repr(found)


# --- what a message may hold


def parsed(message, sender=SENDER, receivers=(ANA,)):
    raw = mail_of(message, sender, receivers)
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) < 999
    assert raw.replace(b"\r\n", b"").count(b"\n") == raw.replace(b"\r\n", b"").count(b"\r") == 0
    return email.message_from_bytes(raw, policy=email.policy.default)


HEADERS = ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted"]
HEADERS += ["Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
NASTY = st.one_of(
    st.text(max_size=120),
    st.text(alphabet='\r\n\t :=?a.\u2028\x85\x0b\x0c\x1c<>@,;"\\é\ud800☃', max_size=120),
    st.sampled_from(
        [
            "x\r\nBcc: eve@evil.example",
            "x\nBcc: eve@evil.example\n\nbody",
            "=?utf-8?q?x=0D=0ABcc:_eve@evil.example?=",
            "=?utf-8?b?eA0KQmNjOiBldmU=?=",
            "данные-заказы-" * 30,
            "注文" * 200,
            "طلبات" * 50,
            "a" * 100_000,
            "x" * 70 + "é" + "\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n",
            " " * 500,
            "",
        ]
    ),
)


@given(name=NASTY, told=NASTY, text=NASTY)
def test_no_name_and_no_text_adds_a_header_or_a_receiver(name, told, text):
    message = OutboxMessage(
        id="0" * 32, kind="job.failed", text=text, detail={"job": name, "told": told}, created_at=NOON, not_before=NOON
    )
    found = parsed(message)
    assert sorted(found.keys()) == sorted(HEADERS)
    assert (found["To"], found["From"], found["Message-ID"]) == (ANA, SENDER, f"<{'0' * 32}@shop.example>")
    assert found.defects == []
    assert not found.is_multipart()
    cut = printable(name[:81], line=True).strip()
    cut = cut if len(cut) <= 80 else f"{cut[:80]}..."
    assert found["Subject"].split() == f"job {cut} failed".split()
    assert found.get_content().replace("\r\n", "\n").startswith(printable(text[:4000]) + "\n\njob: ")


def test_names_in_other_scripts_arrive(ws, server):
    put(ws, job="注文-заказы-é")
    deliver(ws, mail(server))
    assert server.mails[0][1]["Subject"] == "job 注文-заказы-é failed"


def test_a_line_that_would_end_the_mail_does_not(ws, server):
    put(ws, told="one\n.\nMAIL FROM:<eve@evil.example>\n.two")
    deliver(ws, mail(server))
    assert [line for line in server.commands if "eve" in line] == []
    assert "\n.\nMAIL FROM:<eve@evil.example>\n.two\n" in lines_of(server.mails[0][1])


# --- settings


def test_the_ways_are_those_of_the_settings(tmp_path):
    said = AlertsConfig(smtp="env:SMTP_URL", sender=SENDER, to=(ANA, ANA, BO))
    secret = {"SMTP_URL": "smtp://jobs:correct-horse@mail.example.com", "TINYMLOPS_ALERTS_URL": "https://hook/x"}
    post, mail = channels_of(said, tmp_path, secret)
    assert (post.receivers, mail.receivers) == (("webhook",), (ANA, BO))
    assert channels_of(None, tmp_path, {}) == []
    with pytest.raises(tm.NotFoundError, match="mail server of alerts takes its URL from SMTP_URL, which is not set"):
        channels_of(said, tmp_path, {})
    with pytest.raises(tm.DataError, match="cannot be read"):
        channels_of(said, tmp_path, {"SMTP_URL": "https://mail"})
    (tmp_path / "smtp").write_text(secret["SMTP_URL"] + "\n")
    (tmp_path / "smtp").chmod(0o600)
    (mail,) = channels_of(AlertsConfig(smtp="file:smtp", sender=SENDER, to=(ANA,)), tmp_path, {})
    os.chmod(tmp_path / "smtp", 0o644)
    with pytest.raises(tm.AccessError):
        channels_of(AlertsConfig(smtp="file:smtp", sender=SENDER, to=(ANA,)), tmp_path, {})
