"""A mail server on loopback for tests: it takes mail over real sockets, and misbehaves as it is told."""

import base64
import contextlib
import email
import email.policy
import socketserver
import ssl
import subprocess
import threading


class MailServer:
    """Takes mail; `.mails` are (receivers, message) in the order in which they were taken.

    `.replies[verb]` are the next answers to a command (`CONNECT` and `DATA-END` too), then the usual one. An answer may also be
    "hang" (until the server ends), "drop" (the connection is cut), "trickle" (a byte now and then), or a function that is called
    and returns an answer or None for the usual one.
    """

    def __init__(self, *, tls=None, starttls=None, auth=None, mechanisms="PLAIN LOGIN"):
        self.mails, self.replies, self.commands = [], {}, []
        self.tls, self.starttls, self.auth, self.mechanisms = tls, starttls, auth, mechanisms
        self.ends = threading.Event()
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError, _DroppedError):
                    _Conversation(outer, self.request).run()

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address, daemon_threads, block_on_close = True, False, True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def ids(self):
        return [mail["Message-ID"] for _, mail in self.mails]


class _DroppedError(Exception):
    """The connection ends without a word."""


class _Conversation:
    def __init__(self, server, connection):
        self._server, self._connection = server, connection
        connection.settimeout(30)
        if server.tls is not None:
            self._connection = server.tls.wrap_socket(connection, server_side=True)
        self._file = self._connection.makefile("rb")
        self._is_encrypted = server.tls is not None
        self._receivers, self._is_known = [], server.auth is None

    def run(self):
        try:
            self._talk()
        finally:
            self._file.close()
            self._connection.close()

    def _talk(self):
        self._answer("CONNECT", "220 mail.test ready")
        while line := self._file.readline():
            text = line.decode().rstrip("\r\n")
            verb = text.partition(" ")[0].upper()
            self._server.commands.append(text)
            getattr(self, f"_{verb.lower()}", self._unknown)(text)
            if verb == "QUIT":
                break

    def _answer(self, verb, usual):
        """Answer, and return whether that was the usual answer."""
        waiting = self._server.replies.get(verb, [])
        said = waiting.pop(0) if waiting else None
        said = said() if callable(said) else said
        if said == "drop":
            raise _DroppedError
        if said == "hang":
            self._server.ends.wait(60)
            raise _DroppedError
        if said == "trickle":
            while not self._server.ends.wait(0.05):
                self._connection.sendall(b"2")
            raise _DroppedError
        self._connection.sendall(f"{said or usual}\r\n".encode())
        return said is None

    def _ehlo(self, _):
        offers = ["mail.test", "8BITMIME", "SIZE 1000000"]
        if self._server.starttls is not None and not self._is_encrypted:
            offers.append("STARTTLS")
        if self._server.auth is not None:
            offers.append(f"AUTH {self._server.mechanisms}")
        lines = [f"250-{offer}" for offer in offers[:-1]] + [f"250 {offers[-1]}"]
        self._answer("EHLO", "\r\n".join(lines))

    def _starttls(self, _):
        if self._answer("STARTTLS", "220 go on"):
            self._file.close()
            self._connection = self._server.starttls.wrap_socket(self._connection, server_side=True)
            self._file, self._is_encrypted = self._connection.makefile("rb"), True

    def _auth(self, text):
        _, mechanism, first = text.split(" ")
        if mechanism == "PLAIN":
            said = tuple(base64.b64decode(first).decode().split("\0")[1:])
        else:
            self._connection.sendall(b"334 UGFzc3dvcmQ6\r\n")
            said = base64.b64decode(first).decode(), base64.b64decode(self._file.readline()).decode()
        self._is_known = said == self._server.auth
        self._answer("AUTH", "235 welcome" if self._is_known else f"535 5.7.8 {first} is wrong")

    def _mail(self, _):
        self._receivers = []
        self._answer("MAIL", "250 ok" if self._is_known else "530 log in first")

    def _rcpt(self, text):
        if self._answer("RCPT", "250 ok"):
            self._receivers.append(text.partition("<")[2].rstrip(">"))

    def _data(self, _):
        if not self._answer("DATA", "354 go on"):
            return
        lines = []
        while (line := self._file.readline()) != b".\r\n":
            if not line:
                raise _DroppedError
            lines.append(line.removeprefix(b"."))
        self.content = b"".join(lines)
        mail = email.message_from_bytes(self.content, policy=email.policy.default)
        mail.raw = self.content
        if self._server.replies.get("TAKEN"):  # taken, and the answer is lost
            self._server.mails.append((tuple(self._receivers), mail))
            self._answer("TAKEN", "")
        elif self._answer("DATA-END", "250 taken"):
            self._server.mails.append((tuple(self._receivers), mail))

    def _rset(self, _):
        self._receivers = []
        self._answer("RSET", "250 ok")

    def _quit(self, _):
        self._answer("QUIT", "221 bye")

    def _unknown(self, _):
        self._answer("OTHER", "502 what?")


def certificate(folder, name="mail.test"):
    """A context for a server with a certificate of a name, 127.0.0.1 and localhost that it signs itself, and its file."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    names = f"subjectAltName=DNS:{name},IP:127.0.0.1,DNS:localhost"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command = ["openssl", "req", "-x509", *kind, "-subj", f"/CN={name}", "-addext", names, "-keyout", key, "-out", cert]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert


def nobody_listens():
    """A port of loopback that refuses connections."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        return server.server_address[1]
