"""How a body is read: straight into its Struct, strictly, so that "007" stays text and 2**63 is refused."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException

from tinymlops.errors import DataError, near
from tinymlops.server.large_bodies import SMALL, decode_large

__all__ = ["StrictRequest"]

_ONE = ThreadPoolExecutor(1, thread_name_prefix="tinymlops-body")
"""Large bodies are read one after the other, so that together they hold up others no more than one does."""


class StrictRequest(Request[Any, Any, Any]):
    """Decodes JSON by the type that the handler declares for `data`.

    Litestar alone decodes to plain objects and converts those leniently, so that the text "7" would pass as a number.
    """

    async def body(self) -> bytes:
        """Return the body, which must not be empty."""
        content = await super().body()
        if not content:
            raise ClientException("the request has no body; send a JSON object")
        return content

    async def json(self) -> Any:
        """Return the body as the handler's Struct.

        Raises:
            ClientException: If it is not JSON.
            DataError: If it is JSON of another shape.
        """
        field = self.route_handler.parsed_data_field
        assert field is not None, "only a handler with a body reads it"
        content = await self.body()
        try:
            if len(content) <= SMALL:
                return _decoder(field.annotation).decode(content)
            work = partial(decode_large, field.annotation, content)
            return await asyncio.get_running_loop().run_in_executor(_ONE, work)
        except msgspec.ValidationError as error:
            raise DataError(
                f"the body cannot be accepted: {str(error)[:_LONGEST]}",
                hint=_hint(str(error)[:_LONGEST], field.annotation),
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ClientException(f"the body is not JSON: {error}") from error


_LONGEST = 3_000
"""Characters of a message that quotes what the client sent; the answer has fewer."""


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _hint(message: str, kind: Any) -> str:
    unknown = message.partition("unknown field `")[2].partition("`")[0]
    return near(unknown, kind.__struct_fields__) if unknown and "$" not in message else ""
