"""E-mail to a mail server: encrypted, within a time limit, with what the server says of each receiver."""

from __future__ import annotations

import base64
import ipaddress
import smtplib
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from tinymlops.errors import DataError
from tinymlops.jobs.deadline import Deadline
from tinymlops.jobs.mail import mail_of
from tinymlops.printable import printable
from tinymlops.secrets import Secret, hide, without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tinymlops.records import OutboxMessage

__all__ = ["Mail", "MailServer", "mail_server"]

_SECONDS = 10.0
_PORTS = {"smtp": 587, "smtps": 465}
_QUOTED = 200
_OK, _GO_ON, _LOGGED_IN, _MORE = 250, 220, 235, 334


class MailServer(NamedTuple):
    """Where mail is sent from."""

    host: str
    port: int
    is_encrypted: bool
    """Whether TLS begins with the connection; else STARTTLS makes it, but for a server on this machine."""
    user: str | None
    password: Secret

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.host}:{self.port}"

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, by its name."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def mail_server(url: Secret) -> MailServer:
    """Read the URL of a mail server.

    Args:
        url: Such as "smtp://user:password@mail.example.com:587".

    Raises:
        DataError: If it cannot be read; it is not quoted.
    """
    try:
        parts = urlsplit(url.reveal())
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode()
    except ValueError:
        raise _unreadable() from None
    rest = f"{parts.path.removeprefix('/')}{parts.query}{parts.fragment}"
    half = parts.password is not None and not parts.username
    if parts.scheme not in _PORTS or not host or port == 0 or rest or parts.netloc.count("@") > 1 or half:
        raise _unreadable()
    password = unquote(parts.password or "")
    hide(password)
    user = unquote(parts.username) if parts.username else None
    return MailServer(host, port or _PORTS[parts.scheme], parts.scheme == "smtps", user, Secret(password))


class Mail:
    """Sends messages by e-mail.

    Args:
        server: Where mail is sent from.
        sender: The address that it comes from.
        receivers: The addresses that it goes to.
    """

    def __init__(self, server: MailServer, sender: str, receivers: Sequence[str]) -> None:
        self._server, self._sender = server, sender
        self.receivers = tuple(dict.fromkeys(receivers))

    def send(self, message: OutboxMessage, receivers: Sequence[str]) -> Mapping[str, str | None]:
        """Send a message, and return for each receiver why the server has not taken it; None if it has."""
        with Deadline(_SECONDS) as deadline:
            try:
                refused = self._send(message, receivers, deadline)
            except _RefusedError as error:
                return dict.fromkeys(receivers, f"the mail server {self._server.place} {error}")
            except smtplib.SMTPRecipientsRefused as error:
                # It names those that were refused; who was accepted before a 421 has not got it either.
                last = list(error.recipients.values())[-1]
                refused = dict.fromkeys(receivers, last) | error.recipients
            except (smtplib.SMTPException, OSError, UnicodeError) as error:
                told = "does not answer in time" if deadline.is_over else _told(error)
                return dict.fromkeys(receivers, f"the mail server {self._server.place} {told}")
        return {one: self._refusal(one, refused[one]) if one in refused else None for one in receivers}

    def _send(self, message: OutboxMessage, receivers: Sequence[str], deadline: Deadline) -> _Refused:
        session = _Session(self._server, deadline)
        try:
            session.ehlo()
            if not self._server.is_encrypted:
                self._encrypt(session, deadline)
            if self._server.user is not None:
                _log_in(session, self._server)
            # To all who are left: a copy that comes twice is the same.
            content = mail_of(message, self._sender, self.receivers)
            refused = session.sendmail(self._sender, list(receivers), content)
            with suppress(smtplib.SMTPException, OSError):  # it was taken
                session.quit()
            return refused
        finally:
            session.close()

    def _encrypt(self, session: _Session, deadline: Deadline) -> None:
        if not session.has_extn("starttls"):
            if self._server.is_here:  # what it is told passes no network
                return
            raise _RefusedError("does not offer STARTTLS, so mail would go unencrypted; write smtps:// if it has that")
        context = ssl.create_default_context()
        if self._server.is_here:  # where the certificate is seldom anybody's
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        session.starttls(context=context)
        assert session.sock is not None
        deadline.watch(session.sock)
        session.ehlo()

    def _refusal(self, receiver: str, said: tuple[int, bytes]) -> str:
        return f"the mail server {self._server.place} {_answered(*said)} for {receiver}"


_Refused = dict[str, tuple[int, bytes]]
"""Receivers, each with what the server says."""


class _RefusedError(Exception):
    """What the server does or says that ends the attempt, for a sentence that begins with it."""


class _Session(smtplib.SMTP):
    """One conversation; it does not ask the network for this machine's name, which may take long."""

    def __init__(self, server: MailServer, deadline: Deadline) -> None:
        self._server, self._deadline = server, deadline
        name = socket.gethostname()
        is_full = "." in name and name.isascii()
        super().__init__(server.host, server.port, local_hostname=name if is_full else "[127.0.0.1]", timeout=_SECONDS)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's
        connection = self._deadline.connect(host, port)
        if not self._server.is_encrypted:
            return connection
        try:
            return self._deadline.watch(ssl.create_default_context().wrap_socket(connection, server_hostname=host))
        except BaseException:
            connection.close()
            raise


def _log_in(session: _Session, server: MailServer) -> None:
    """Log in; unlike smtplib's own, with any letters, and without an error that quotes what was sent."""
    offered = str(session.esmtp_features.get("auth", "")).upper().split()
    user, password = (server.user or "").encode(), server.password.reveal().encode()
    if "PLAIN" in offered:
        code, _ = session.docmd("AUTH", "PLAIN " + _encoded(b"\0".join((b"", user, password))))
    elif "LOGIN" in offered:
        code, _ = session.docmd("AUTH", f"LOGIN {_encoded(user)}")
        if code == _MORE:
            code, _ = session.docmd(_encoded(password))
    else:
        raise _RefusedError("takes neither PLAIN nor LOGIN as a way to log in")
    if code != _LOGGED_IN:
        raise _RefusedError(f"does not take the user and the password of its URL: {code}")


def _encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def _told(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        return _answered(error.smtp_code, said if isinstance(said, bytes) else str(said).encode())
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "ends the connection before it has taken the message"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"shows a certificate that is not valid here: {error.verify_message}"
    return f"does not answer: {type(error).__name__}"


def _answered(code: int, said: bytes) -> str:
    text = without_secrets(printable(said[: 4 * _QUOTED].decode(errors="replace"), line=True))
    return f"answers {code} {text[:_QUOTED]}".rstrip()


def _unreadable() -> DataError:
    return DataError(
        "the URL of the mail server of alerts cannot be read",
        hint="write smtp://user:password@mail.example.com:587 or smtps://...; in a user and a password, write @ as %40, "
        "/ as %2F, : as %3A, # as %23, ? as %3F and % as %25",
    )
