"""How a body is read: straight into its Struct, strictly, so that "007" stays text and 2**63 is refused."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from litestar import Request
from litestar.exceptions import ClientException

from tinymlops.errors import DataError, near

__all__ = ["StrictRequest"]


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
            return _decoder(field.annotation).decode(content)
        except msgspec.ValidationError as error:
            raise DataError(
                f"the body cannot be accepted: {error}", hint=_hint(str(error), field.annotation)
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ClientException(f"the body is not JSON: {error}") from error


@lru_cache
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _hint(message: str, kind: Any) -> str:
    unknown = message.partition("unknown field `")[2].partition("`")[0]
    return near(unknown, kind.__struct_fields__) if unknown and "$" not in message else ""
