"""How a version of something is named, everywhere: `name[@version][:part]`.

`v<digits>` after the @ is a number: `delay@v3`, which is also written `delay:3`. Anything else is the name of a variant or
an alias: `spending@ana`, `delay@champion`. The part is a feature: `spending@v1:last`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tinymlops.errors import NotFoundError

__all__ = ["FORM", "Reference", "is_number"]

FORM = "name[@version][:part], such as spending, spending@v1, spending@ana:last or delay@champion"
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_NUMBER = re.compile(r"v?[0-9]+")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_SHOWN = 100
"""Characters of a reference that are shown: it may be a client's, and as long as a request."""


class Reference(NamedTuple):
    """What a text names.

    Example:
        >>> str(Reference.parse("delay:3")), str(Reference.parse("spending@v1:last"))
        ('delay@v3', 'spending@v1:last')
    """

    name: str
    version: int | None = None
    """The number after `@v`."""
    mark: str | None = None
    """Of a variant or an alias: what stands after the @ and is not a number."""
    part: str | None = None
    """A feature."""

    def __str__(self) -> str:
        version = f"@v{self.version}" if self.version is not None else f"@{self.mark}" if self.mark is not None else ""
        return f"{self.name}{version}" + (f":{self.part}" if self.part is not None else "")

    @property
    def chosen(self) -> int | str | None:
        """What stands after the @: a number or a name; None for a bare name."""
        return self.mark if self.version is None else self.version

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference.

        Raises:
            NotFoundError: If the text cannot be one, with the right form.
        """
        name, at, rest = text.partition("@")
        if ":" in name:
            return cls._with_colon(text, name, at + rest)
        if not _WORD.fullmatch(name):
            raise _odd(text)
        if not at:
            return cls(name)
        chosen, colon, part = rest.partition(":")
        if (colon and not _WORD.fullmatch(part)) or not chosen:
            # A number after a version is a second one.
            raise _odd(text, f"{name}@{chosen}" if part.isdigit() and _WORD.fullmatch(chosen) else "")
        feature = part if colon else None
        if is_number(chosen):
            number = _number(chosen)
            if chosen != f"v{number}":
                raise _odd(text, str(cls(name, number, part=feature)) if number else "")
            return cls(name, number, part=feature)
        if not _WORD.fullmatch(chosen):
            raise _odd(text)
        return cls(name, mark=chosen, part=feature)

    @classmethod
    def _with_colon(cls, text: str, before: str, after: str) -> Reference:
        """Read `delay:3` and `spending:last`; refuse a version after the part."""
        name, _, part = before.partition(":")
        if not _WORD.fullmatch(name):
            raise _odd(text)
        if after:
            turned = f"{name}{after}:{part}"
            raise _odd(text, turned if _reads(turned) else "")
        if part.isascii() and part.isdigit():
            number = _number(part)
            if number is None or part != str(number):
                raise _odd(text, str(cls(name, number)) if number else "")
            return cls(name, number)
        if not _WORD.fullmatch(part):
            raise _odd(text)
        return cls(name, part=part)


def is_number(text: str) -> bool:
    """Say whether a text stands for a version's number, so that it cannot be the name of a variant or an alias.

    Example:
        >>> is_number("v3"), is_number("3"), is_number("vintage")
        (True, True, False)
    """
    return _NUMBER.fullmatch(text) is not None


def _number(text: str) -> int | None:
    """Return the number that digits, after a v or not, stand for; None if no version has it."""
    digits = text.removeprefix("v")
    if digits.startswith("0"):
        digits = digits.lstrip("0")
    return int(digits) if _VERSION.fullmatch(digits) else None


def _reads(text: str) -> bool:
    try:
        Reference.parse(text)
    except NotFoundError:
        return False
    return True


def _odd(text: str, right: str = "") -> NotFoundError:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return NotFoundError(f"{shown!r} is not a reference", hint=f"write {right or FORM}")
