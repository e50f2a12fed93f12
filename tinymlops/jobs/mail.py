"""A message of the outbox as plain text by e-mail."""

from __future__ import annotations

import quopri
from email.header import Header
from email.utils import format_datetime
from typing import TYPE_CHECKING

from tinymlops.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.records import OutboxMessage

__all__ = ["mail_of"]

_LONGEST_NAME, _LONGEST_TEXT = 80, 4_000
"""Characters."""
_LONGEST_LINE = 78


def mail_of(message: OutboxMessage, sender: str, receivers: Sequence[str]) -> bytes:
    """Write a message as e-mail: the same bytes each time, with a Message-ID made of its id.

    The headers are written here: `EmailMessage` decodes what looks like an encoded word in a subject, line ends in it included.

    Args:
        message: Of the outbox. What others chose in it, such as a job's name, is cut and its control characters are written out.
        sender: An address, as `tinymlops.toml` may say it.
        receivers: Addresses.

    Returns:
        ASCII, with the line ends of SMTP.
    """
    headers = {
        "Date": format_datetime(message.created_at),
        "From": sender,
        "To": ",\n ".join(receivers),
        "Subject": _encoded(_subject(message)),
        "Message-ID": f"<{message.id}@{sender.rpartition('@')[2]}>",
        "Auto-Submitted": "auto-generated",  # so that nobody's notice of absence answers it
        "MIME-Version": "1.0",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "quoted-printable",
    }
    head = "".join(f"{name}: {value}\n" for name, value in headers.items())
    return (head.encode("ascii") + b"\n" + quopri.encodestring(_text(message).encode())).replace(b"\n", b"\r\n")


def _encoded(text: str) -> str:
    """Write a header's value: as it is where it means itself, else as encoded words."""
    is_plain = text.isascii() and "=?" not in text and len(text) < _LONGEST_LINE - len("Subject: ")
    return text if is_plain else Header(text, "utf-8", header_name="Subject").encode()


def _subject(message: OutboxMessage) -> str:
    job = message.detail.get("job")
    what = message.kind.rpartition(".")[2]
    said = message.text if job is None else f"job {_cut(str(job), _LONGEST_NAME)} {what}"
    return _cut(said, 2 * _LONGEST_NAME)


def _text(message: OutboxMessage) -> str:
    lines = [printable(message.text[:_LONGEST_TEXT]), ""]
    lines += [
        f"{name}: {_cut(str(value), _LONGEST_TEXT)}" for name, value in message.detail.items() if value is not None
    ]
    lines += [f"id: {message.id}"]
    if message.detail.get("job") is not None:
        lines += ["", "tinymlops jobs history and tinymlops jobs logs say more."]
    return "\n".join(lines) + "\n"


def _cut(text: str, most: int) -> str:
    """Write a text in one line of at most so many characters."""
    line = printable(text[: most + 1], line=True).strip()
    return line if len(line) <= most else f"{line[:most]}..."
