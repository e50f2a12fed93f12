"""What the audit log keeps of people and of free text: nothing that can be read back, and the same for the same input.

The audit log cannot be changed, so what is in it cannot be erased. Free text from callers (a batch id, a message) is kept
as a hash keyed by the workspace. A person, that is the key of an entity, is kept as a pseudonym that needs a salt of that
person as well: once the salt is deleted, nothing links the pseudonym to the person, even for who has the key.

The key and the salts are in `meta.db`, and so in every backup: who can read them can read the rows themselves. They are in
no export, page, report or table of `ws.sql`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any, Protocol

import msgspec

from tinymlops.records import Salt

__all__ = ["FreeText", "Person", "forget", "names_of", "pseudonymous"]

_WORKSPACE = "workspace"
_BYTES = 32
_SHOWN = 32
"""Hexadecimal digits: 128 bits."""


class FreeText(msgspec.Struct, frozen=True):
    """A text that a caller chose: a detail of an entry in the audit log that keeps its keyed hash alone."""

    text: str


class Person(msgspec.Struct, frozen=True):
    """One key of an entity: subject or detail of an entry in the audit log that keeps its pseudonym alone.

    Args:
        entity: Its name, such as "customer".
        key: The values of its key; 7 and "7" are the same person.
    """

    entity: str
    key: tuple[object, ...]

    def __str__(self) -> str:
        if len(self.key) == 1:
            return f"{self.entity}:{self.key[0]}"
        return f"{self.entity}:{msgspec.json.encode([str(part) for part in self.key]).decode()}"


class _Reads(Protocol):
    """A database, or a transaction in it."""

    def get(self, cls: type[Salt], **key: object) -> Salt | None: ...


class _Writes(_Reads, Protocol):
    """A transaction."""

    def insert(self, record: Salt) -> Salt: ...
    def delete(self, cls: type[Salt], **key: object) -> int: ...


def pseudonymous(tx: _Writes, value: Any) -> Any:
    """Return what the audit log keeps of a subject or detail: of free text and of a person no more than that.

    Args:
        tx: Where a missing key or salt is made.
        value: Anything; what is neither stays as it is.
    """
    if isinstance(value, FreeText):
        return _of_text(_salt(tx, _WORKSPACE), value.text)
    if isinstance(value, Person):
        key = _salt(tx, _WORKSPACE)
        return _of_person(key, _salt(tx, _handle(key, str(value))), str(value))
    return value


def names_of(database: _Reads, text: str) -> list[str]:
    """Return what the audit log calls a text: as free text, as a person if it ever named one; itself if it is a pseudonym.

    Args:
        database: Of the workspace.
        text: Such as a batch id, or "customer:7".
    """
    key = database.get(Salt, name=_WORKSPACE)
    if key is None:
        return []
    salt = database.get(Salt, name=_handle(key.value, text))
    if text.startswith(("text:", "person:")):
        return [text]
    return [_of_text(key.value, text), *([_of_person(key.value, salt.value, text)] if salt is not None else [])]


def forget(tx: _Writes, person: Person) -> bool:
    """Delete the salt of a person: nothing links the entries about the person with the person any more.

    Returns:
        Whether there was one. A new entry about the same person gets a new pseudonym.
    """
    key = tx.get(Salt, name=_WORKSPACE)
    return key is not None and tx.delete(Salt, name=_handle(key.value, str(person))) > 0


def _salt(tx: _Writes, name: str) -> bytes:
    salt = tx.get(Salt, name=name)
    if salt is None:
        salt = tx.insert(Salt(name=name, value=secrets.token_bytes(_BYTES)))
    return salt.value


def _handle(key: bytes, person: str) -> str:
    """Return the name of a person's salt, so that the table lists no people."""
    return _keyed(key, b"salt of ", person)


def _of_text(key: bytes, text: str) -> str:
    return f"text:{_keyed(key, b'text ', text)[:_SHOWN]}"


def _of_person(key: bytes, salt: bytes, person: str) -> str:
    return f"person:{_keyed(key, b'person ' + salt, person)[:_SHOWN]}"


def _keyed(key: bytes, what: bytes, text: str) -> str:
    return hmac.new(key, what + text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
