"""What a file that is handed on may say: never a secret, a place on this machine, or a value that somebody's row may have held.

A name, a number that was counted or measured, and what people wrote to describe something may be told. A text that a program
was given may be a value of somebody, unless it is one plain word, as names of methods are.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.secrets import is_secret_name, without_credentials

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tinymlops.records import Scalar

__all__ = ["Cleaner", "class_of_error", "plain_setting", "plain_settings"]

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.:+=-]{0,31}")
_CODE = re.compile(r"(?=\S*[A-Za-z])(?=\S*[0-9])\S{16,}")
"""Letters and digits, so long: a key is like that, and no name of a method."""
_NUMBER = re.compile(r"-?[0-9]{0,9}(\.[0-9]{0,17})?(e[+-]?[0-9]{1,3})?", re.IGNORECASE)
_NUMBERS = re.compile(r"\([0-9., ]{1,60}\)|\[[0-9., ]{1,60}\]")
_ERROR = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,80}(?=:|$)")
_SHORTEST_HOST = 4
"""Characters of a name of a machine: a shorter one is found in many words."""
_END = r"[^\s/\\\"'<>|:,;()\[\]{}]"
# Bounded, and each part begins with its own sign, so that a long text of strangers takes no more than its length.
_PLACES = (
    re.compile(rf"(?:[A-Za-z]:)?[\\/](?:home|Users)[\\/]{_END}{{1,255}}(?:[\\/](?:{_END}{{1,255}}[\\/]){{0,64}})?"),
    re.compile(rf"\b(?:file:/{{1,3}}|[a-z][a-z0-9+.-]{{0,20}}:/{{3,4}})(?:{_END}{{1,255}}/){{0,64}}"),
    re.compile(rf"(?<![\w/.~-])(?:~[\w-]{{0,32}})?/(?!/)(?:{_END}{{1,255}}/){{1,64}}"),
    re.compile(rf"(?<!\\)\\\\(?:{_END}{{1,255}}\\){{1,64}}"),
    re.compile(rf"(?<![\w/])[A-Za-z]:[\\/](?!/)(?:{_END}{{1,255}}[\\/]){{1,64}}"),
)
"""Directories: homes, URLs of files, absolute paths, and those of Windows."""
_GIVEN_AWAY = (
    re.compile(
        r"((?<![A-Za-z])(?:password|passwd|passphrase|pwd|pw|secret|api[_-]?key|account_?key|access[_-]?key|private[_-]?key|"
        r"[A-Za-z_-]{0,30}token)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)(?![<…])[^\s\"'&,;]{4,500}",
        re.IGNORECASE,
    ),
    re.compile(
        r"((?<![A-Za-z])(?:Bearer|Authorization:\s{0,3}Basic)\s{1,3})(?=[A-Za-z~+/-]{0,40}[0-9._=])[A-Za-z0-9._~+/=-]{8,2000}",
        re.IGNORECASE,
    ),
    re.compile(r"()(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{4,2000}\.[A-Za-z0-9_-]{4,4000}(?:\.[A-Za-z0-9_-]{0,2000})?"),
    re.compile(r"([?&;][A-Za-z0-9_-]{0,30}(?:sig|signature|credential|key|token)=)[^\s\"'&;]{4,2000}", re.IGNORECASE),
)
"""What people write beside a word for it, heads of HTTP, tokens of JSON, and signed URLs: better too much than too little."""
_FEW_PARTS = 2
"""Of a directory such as /root: it may be found inside of other paths, and is left out only where one begins."""


class Cleaner:
    """Leaves out of each text of a document what does not belong there.

    Args:
        hosts: Names of machines, beside this one.
        places: Directories of this machine, beside the home of who runs this.

    Example:
        >>> Cleaner()("read from /home/ana/orders.csv with postgresql://shop:hunter2@db/shop")
        'read from …/orders.csv with postgresql://shop:<secret>@db/shop'
    """

    def __init__(self, hosts: Iterable[str] = (), places: Iterable[Path] = ()) -> None:
        named = {one for one in (*hosts, socket.gethostname()) if len(one) >= _SHORTEST_HOST and one != "localhost"}
        known = {str(place) for place in (*places, *_home()) if len(place.parts) > 1}
        self._hosts = [re.compile(rf"(?<!\w){re.escape(one)}(?!\w)") for one in sorted(named, key=len, reverse=True)]
        self._known = [
            re.compile((r"(?<![\w/.~-])" if one.count("/") < _FEW_PARTS else "") + rf"{re.escape(one)}(?![\w-])")
            for one in sorted(known, key=len, reverse=True)
        ]

    def __call__(self, text: str) -> str:
        """Return a text without secrets, names of machines, and directories; the name of a file in one stays."""
        cleaned = without_credentials(text)
        for pattern in _GIVEN_AWAY:
            cleaned = pattern.sub(r"\1<secret>", cleaned)
        for place in self._known:
            cleaned = place.sub("…", cleaned)
        for pattern in _PLACES:
            cleaned = pattern.sub(_shortened, cleaned)
        for host in self._hosts:
            cleaned = host.sub("<host>", cleaned)
        return cleaned


def plain_setting(name: str, value: Scalar, *, rows: bool) -> str | None:
    """Return a parameter or a tag as it may be told; None where it may not.

    Args:
        name: What it is called.
        value: A number, a truth value, or a text.
        rows: Whether texts that somebody's row may have held are told too.

    Example:
        >>> [plain_setting("solver", value, rows=False) for value in ("lbfgs", "(100, 50)", "0.1", "Ana Sanz", "a@b.c")]
        ['lbfgs', '(100, 50)', '0.1', None, None]
    """
    if is_secret_name(name):
        return "<secret>"
    if not isinstance(value, str):
        return str(value)
    is_plain = not _CODE.fullmatch(value) and any(one.fullmatch(value) for one in (_WORD, _NUMBER, _NUMBERS))
    return value if rows or is_plain else None


def plain_settings(values: Mapping[str, Scalar], *, rows: bool) -> list[tuple[str, str | None]]:
    """Return parameters or tags as they may be told, by name.

    Args:
        values: Name to value.
        rows: As for `plain_setting`.
    """
    return [(name, plain_setting(name, values[name], rows=rows)) for name in sorted(values)]


def class_of_error(error: str) -> str:
    """Return the kind of an error: its message may quote values.

    Example:
        >>> class_of_error("ValueError: could not convert 'Ana'"), class_of_error("Ana is not here")
        ('ValueError', 'an error')
    """
    found = _ERROR.match(error)
    return (
        found[0] if found is not None and found[0].lower().endswith(("error", "exception", "interrupt")) else "an error"
    )


def _shortened(place: re.Match[str]) -> str:
    return "…/" if place[0].endswith(("/", "\\")) else "…"


def _home() -> list[Path]:
    try:
        return [Path.home()]
    except RuntimeError:  # a user without an entry
        return []
