"""What a text must be to have a vector, and the key that its vector is kept by."""

from __future__ import annotations

import hashlib

from tinymlops.errors import DataError

__all__ = ["flaw_of", "text_key"]


def text_key(text: str) -> bytes:
    """Return the key of a text: two texts have the same key if and only if they are the same characters.

    Nothing is normalised: "é" as one character and as two, or a space at the end, give other keys.

    Args:
        text: Any text, also an empty one.

    Returns:
        32 bytes: the SHA-256 of the text in UTF-8.

    Raises:
        DataError: If the text is not one of Unicode, as it holds one half of a surrogate pair.

    Example:
        >>> text_key("candles").hex()[:16]
        'afc6d50c5e5bfa4e'
    """
    try:
        return hashlib.sha256(text.encode()).digest()
    except UnicodeEncodeError:
        raise DataError("the text has no key: it holds a lone surrogate", hint=_SURROGATE) from None


def flaw_of(text: object, index: int) -> DataError | None:
    """Return why a text has no vector, or None if it can have one.

    Args:
        text: What was given as a text.
        index: Its place among those given, for the message.

    Example:
        >>> print(flaw_of("  ", 3).message)
        text 3 has no vector: it is empty
    """
    if not isinstance(text, str):
        return DataError(f"text {index} has no vector: it is of type {type(text).__name__}", hint="give texts (str)")
    if not text or text.isspace():
        return DataError(f"text {index} has no vector: it is empty", hint="leave empty texts out")
    try:
        text.encode()
    except UnicodeEncodeError:
        return DataError(f"text {index} has no vector: it holds a lone surrogate", hint=_SURROGATE)
    return None


_SURROGATE = "read the file as UTF-8; text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace') replaces it"
