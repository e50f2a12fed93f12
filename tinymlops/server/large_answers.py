"""Large answers, encoded piece by piece in a thread, so that no one of them keeps the event loop from all others.

An encoder written in C gives the interpreter back when it is done, and two million values take it a fifth of a second.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.serialization import encode_json, get_serializer

if TYPE_CHECKING:
    from litestar import Response

__all__ = ["encode_large"]

_SMALL = 2_000
"""Values: up to here an answer is encoded at once. Also what is encoded at a time of a larger one."""
_ONE = ThreadPoolExecutor(1, thread_name_prefix="tinymlops-answer")
"""One after the other, so that together they hold up others no more than one does."""


async def encode_large(response: Response[Any]) -> Response[Any]:
    """Encode the content of a response if that takes long; Litestar sends bytes as they are.

    Args:
        response: Of a handler; its content is a Struct, or encoded already.
    """
    field, count = _longest(response.content)
    if count > _SMALL:
        work = asyncio.get_running_loop().run_in_executor(_ONE, _encoded, response, field, count)
        response.content = await work
    return response


def _longest(content: object) -> tuple[str, int]:
    """Return the field with the most values, which is a list of rows or records, and about how many they are."""
    found = ("", 0)
    for name in getattr(content, "__struct_fields__", ()):
        rows = getattr(content, name)
        if isinstance(rows, list) and rows:
            first = rows[0]
            width = len(first) if isinstance(first, dict | list) else len(getattr(first, "__struct_fields__", " "))
            found = max(found, (name, len(rows) * max(1, width)), key=lambda one: one[1])
    return found


def _encoded(response: Response[Any], field: str, count: int) -> bytes:
    content = response.content
    rows = getattr(content, field)
    serializer = get_serializer(response.response_type_encoders)
    each = max(1, len(rows) * _SMALL // count)
    left, out = iter(rows), bytearray(b"[")
    while piece := list(islice(left, each)):
        out += encode_json(piece, serializer)[1:-1]
        out += b","
    out[-1:] = b"]"
    return encode_json(msgspec.structs.replace(content, **{field: msgspec.Raw(out)}), serializer)
