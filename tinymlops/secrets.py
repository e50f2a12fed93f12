"""Secrets: taken from the environment or from a private file, and told to nobody by accident."""

from __future__ import annotations

import hmac
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError
from tinymlops.owners import own_users

__all__ = [
    "Secret",
    "hide",
    "is_secret_name",
    "read_secret",
    "read_secret_file",
    "secret_url",
    "without_credentials",
    "without_secrets",
]

_HIDDEN = "<secret>"
_LARGEST = 65_536
"""Bytes of a file that holds a secret."""
_SHORTEST = 6
"""Characters of a variable's value that is taken for a secret: a shorter one is found in many words."""
_NAMES = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|PGPASS", re.IGNORECASE
)
_NAMED = re.compile(
    r"secret|password|passwd|passphrase|credential|(api|access|private)[_-]?key|(?<![a-z])(token|pwd)(?![a-z])",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TOKEN = re.compile(r"(?<![A-Za-z0-9])(tm_[A-Za-z0-9]+_)[A-Za-z0-9_-]{8,}")
# Bounded, because strangers choose texts that errors quote: without it, a text of 60 kB takes minutes.
_URL = re.compile(r"([a-z][a-z0-9+.-]{0,30}://[^\s:/@]{0,1000}:)[^\s@]{1,2000}+(?=@)", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"((?:(?:access|api|auth|bearer|refresh|session|bot)[_-]?token|secret|password|passwd|passphrase|credential|api_?key|access_?key|private_?key)[\w-]{0,30}[\"']?"
    r"\s{0,10}[:=]\s{0,10}[\"'])[^\"'\s]{6,500}(?=[\"'])",
    re.IGNORECASE,
)
"""A text in quotes that code gives a name such as `api_key`."""
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9])(gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|sk-|hf_|AKIA|ASIA|AIza|npm_|pypi-)[A-Za-z0-9_-]{16,}"
)
"""Credentials of well-known services, by how they begin."""
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----)[^-]{0,20000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
)
_from_files: set[str] = set()


class Secret:
    """A text that no repr, message, log, JSON document, pickle or copy shows; only `reveal` does.

    Args:
        value: The text.

    Example:
        >>> token = Secret("tm_7_hunter2")
        >>> print(token, repr(token), f"{token:>20}", [token])
        <secret> <secret> <secret> [<secret>]
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the text, for whoever must send or compare it."""
        return self._value

    def __repr__(self) -> str:
        return _HIDDEN

    def __format__(self, _: str) -> str:
        return _HIDDEN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_encoded(self._value), _encoded(other._value))

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def read_secret(name: str, environment: Mapping[str, str] = os.environ) -> Secret | None:
    """Return a secret from the environment: from the variable NAME, or from the private file that NAME_FILE names.

    Args:
        name: Such as "TINYMLOPS_TOKEN".
        environment: Name to value.

    Returns:
        None if neither variable is set.

    Raises:
        DefinitionError: If both are set.
        AccessError: If others may read the file.
        DataError: If the secret is empty or not one line of text.
    """
    value, file = environment.get(name), environment.get(f"{name}_FILE")
    if value is not None and file is not None:
        raise DefinitionError(f"both {name} and {name}_FILE are set", hint="unset one of them")
    if file is not None:
        return read_secret_file(Path(file))
    return None if value is None else _checked(value, name)


def read_secret_file(path: Path) -> Secret:
    """Return the secret in a file that only its owner may read; a line end after it is left out.

    Raises:
        NotFoundError: If there is no such file.
        AccessError: If it belongs to another user, others may read it, or this user may not.
        DataError: If it is not a regular file, or its content is not one line of text.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", hint="name the file that holds the secret") from None
    except OSError as error:
        raise AccessError(f"{path} cannot be read: {error.strerror}", hint="see that this user may read it") from None
    try:
        _require_private(path, os.fstat(descriptor))  # what is checked is what is read
        content = os.read(descriptor, _LARGEST + 1)
    finally:
        os.close(descriptor)
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = ""
    secret = _checked(text.removesuffix("\n").removesuffix("\r"), str(path))
    _from_files.add(secret.reveal())
    return secret


def secret_url(
    said: str, root: Path, *, of: str, write: str, example: str, environment: Mapping[str, str] = os.environ
) -> Secret:
    """Return the URL that a setting of `tinymlops.toml` names: "env:SHOP_URL", "file:secrets/shop", or the URL itself.

    Args:
        said: The setting.
        root: The directory where relative paths start.
        of: Whose URL it is, for errors, such as "connection 'shop'".
        write: The setting as it may be written, for errors, such as 'url = "env:SHOP_URL"'.
        example: How the URL begins, for errors, such as "postgresql://".
        environment: Name to value.

    Raises:
        NotFoundError: If there is no such variable or file.
        AccessError: If others may read the file.
        DefinitionError: If it names no variable.
        DataError: If the secret is empty or not one line of text.
    """
    source, _, rest = said.partition(":")
    if source == "file":
        return read_secret_file(root / rest)
    if source != "env":
        return Secret(said)
    if not _VARIABLE.fullmatch(rest):
        raise DefinitionError(f"the URL of {of} names no variable of the environment", hint=f"write {write}")
    found = read_secret(rest, environment)
    if found is None:
        raise NotFoundError(
            f"{of} takes its URL from {rest}, which is not set",
            hint=f"export {rest}={example}..., or {rest}_FILE with the path of a file of mode 0600",
        )
    return found


def hide(value: str) -> None:
    """Let `without_secrets` leave a text out from now on, such as the password in a URL; a short one stays in sight."""
    if len(value) >= _SHORTEST:
        _from_files.add(value)


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Write `<secret>` in place of what must not be told, in a text that the user's code or a library wrote.

    Left out are the values of variables with a name such as PGPASSWORD, API_KEY or SHOP_TOKEN and of secret files that were
    read, the secret part of tokens, and the password of an address.

    Args:
        text: Such as the message of an exception.
        environment: Name to value.

    Example:
        >>> without_secrets("cannot reach postgresql://shop:hunter2@db/shop as tm_7_c29tZXRoaW5n")
        'cannot reach postgresql://shop:<secret>@db/shop as tm_7_<secret>'
    """
    named = {value for name, value in environment.items() if _NAMES.search(name) and len(value) >= _SHORTEST}
    for value in sorted(named | _from_files, key=len, reverse=True):  # one may hold another
        if value in text:
            text = text.replace(value, _HIDDEN)
    return _URL.sub(rf"\1{_HIDDEN}", _TOKEN.sub(rf"\1{_HIDDEN}", text))


def without_credentials(text: str) -> str:
    """Write `<secret>` in place of what must not be told, in code or output that a run keeps.

    Beyond what `without_secrets` leaves out: texts that code names as a password or a key, tokens of well-known services, and
    private keys. More than secrets may be hidden: a run keeps these texts for years.

    Example:
        >>> without_credentials('api_key = "0123456789abcdef"')
        'api_key = "<secret>"'
    """
    text = _PRIVATE_KEY.sub(rf"\1{_HIDDEN}", without_secrets(text))
    return _ASSIGNED.sub(rf"\1{_HIDDEN}", _KNOWN.sub(rf"\1{_HIDDEN}", text))


def is_secret_name(name: str) -> bool:
    """Say whether a setting is named as one that holds a secret, so that its value is told to nobody.

    Example:
        >>> is_secret_name("db_password"), is_secret_name("HF_TOKEN"), is_secret_name("max_tokens")
        (True, True, False)
    """
    return _NAMED.search(name) is not None


def _require_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a regular file", hint="name a file that holds the secret alone")
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in own_users():
        raise AccessError(
            f"{path} is not used: it belongs to another user (uid {status.st_uid})",
            hint=f"make a copy of your own with mode 0600: install -m 600 {path} ...",
        )
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise AccessError(
            f"{path} is not used: its mode is {mode:04o}, so that others may read or change the secret",
            hint=f"chmod 600 {path}, and replace the secret if somebody may have read it",
        )


def _checked(value: str, where: str) -> Secret:
    if not value or len(value) > _LARGEST or not value.isprintable() or value != value.strip():
        raise DataError(
            f"{where} holds no secret that can be used",
            hint="it is one line of text, without spaces around it",
        )
    return Secret(value)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
