"""Parquet and CSV in an object store that speaks S3's protocol: every read is of all files of one listing."""

from __future__ import annotations

import hashlib
import io
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from tinymlops.connectors.connector import Read, ReadFile, Server
from tinymlops.connectors.queries import files_of
from tinymlops.errors import AccessError, DataError, DefinitionError, NotFoundError, UnavailableError, near
from tinymlops.secrets import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from tinymlops.connectors.addresses import Address
    from tinymlops.connectors.connector import Asked
    from tinymlops.errors import TinyMLOpsError

__all__ = ["Objects"]

_ATTEMPTS = 3
_CONNECT, _ANSWER = 10, 60
"""Seconds."""


class _Found(NamedTuple):
    """One object of a listing; another one under its name differs in one of these."""

    path: str
    size: int
    changed: int
    """Nanoseconds, as the store says."""


class Objects:
    """One prefix of a bucket.

    Args:
        address: Where it is.
    """

    def __init__(self, address: Address) -> None:
        parts = urlsplit(address.url.reveal())
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._name, self._place = address.name, address.place
        self._base = f"{parts.netloc.rpartition('@')[2]}/{unquote(parts.path).strip('/')}".rstrip("/")
        self._options: dict[str, Any] = {"connect_timeout": _CONNECT, "request_timeout": _ANSWER}
        self._options |= {"region": query.get("region", "us-east-1")}
        if "endpoint" in query:
            self._options["endpoint_override"] = query["endpoint"]
        if parts.username:
            self._options["access_key"] = unquote(parts.username)
            self._options["secret_key"] = unquote(parts.password or "")

    def read(self, asked: Asked) -> Read:
        """Read all files; see `Connector`."""
        import polars as pl

        if asked.cursor is not None:
            raise DefinitionError(
                f"connection {self._name!r} is an object store, whose files are read whole each time",
                hint="leave cursor and overlap out; what is known already is not stored again",
            )
        pattern = self._pattern(asked.text)
        with self._store() as store:
            for _ in range(_ATTEMPTS):
                found = self._list(store, pattern)
                read = [self._table(store, one.path, hashes=asked.hashes) for one in found]
                if self._list(store, pattern) == found:
                    break
            else:
                raise UnavailableError(
                    f"connection {self._name!r}: {asked.text.strip()!r} changes while it is read",
                    hint="ingest when its writer is done, or let it write new files instead of writing them anew",
                )
        frame = pl.concat([table for table, _ in read], how="diagonal_relaxed")
        if asked.ids is not None and asked.ids not in frame.columns:
            raise DefinitionError(
                f"{asked.text.strip()!r} of connection {self._name!r} has no column {asked.ids!r}",
                hint=near(asked.ids, frame.columns),
            )
        files = tuple(
            ReadFile(one.path.removeprefix(f"{self._base}/"), one.size, one.changed, digest)
            for one, (_, digest) in zip(found, read, strict=True)
        )
        return Read(frame, None if asked.ids is None else frame[asked.ids], None, files=files if asked.hashes else ())

    def columns(self, text: str, times: Sequence[str] = ()) -> Mapping[str, pl.DataType | None]:
        """Return the columns of the first file; see `Connector`."""
        import polars as pl

        del times  # Parquet has types for them, and CSV's are read from its values
        with self._store() as store:
            first = self._list(store, self._pattern(text))[0].path
            if not first.endswith(".parquet"):
                return dict.fromkeys(self._table(store, first)[0].columns)
            with store.open_input_file(first) as file:
                import pyarrow.parquet as pq

                empty = pl.from_arrow(pq.read_schema(file).empty_table())
        assert isinstance(empty, pl.DataFrame), "a table"
        return dict(empty.schema)

    def server(self) -> Server:
        """List the prefix; see `Connector`."""
        with self._store() as store:
            self._require_bucket(store)
        return Server("S3")

    def _require_bucket(self, store: Any) -> None:
        from pyarrow.fs import FileType

        if store.get_file_info(self._base.partition("/")[0]).type == FileType.NotFound:
            raise NotFoundError(
                f"connection {self._name!r}: there is no bucket at {self._place}", hint="correct it in its URL"
            )

    def _pattern(self, text: str) -> str:
        if files_of(text) is None:
            raise DefinitionError(
                f"connection {self._name!r} is an object store, and {text.strip()[:80]!r} names no files",
                hint='return "orders/*.parquet", or a file that ends in .parquet or .csv',
            )
        return text.strip()

    def _list(self, store: Any, pattern: str) -> list[_Found]:
        """Return the objects that match, by name."""
        from pyarrow.fs import FileSelector, FileType

        fixed = re.split(r"[*?]", pattern, maxsplit=1)[0].rpartition("/")[0]
        folder = f"{self._base}/{fixed}".rstrip("/")
        infos = store.get_file_info(FileSelector(folder, recursive=True, allow_not_found=True))
        files = {one.path.removeprefix(f"{self._base}/"): one for one in infos if one.type == FileType.File}
        wanted = re.compile(_regular(pattern))
        found = [_Found(one.path, one.size, one.mtime_ns or 0) for name, one in files.items() if wanted.fullmatch(name)]
        if not found:
            self._require_bucket(store)
            raise DefinitionError(
                f"connection {self._name!r} has no file {pattern!r} below {self._place}",
                hint=near(pattern, files, otherwise="correct the path, which begins at the prefix of its url"),
            )
        return sorted(found)

    def _table(self, store: Any, path: str, *, hashes: bool = False) -> tuple[pl.DataFrame, str]:
        """Return what a file holds, and the SHA-256 of its bytes if that is asked for."""
        import polars as pl

        with store.open_input_stream(path) as stream:
            content = io.BytesIO(stream.read())
        digest = hashlib.sha256(content.getbuffer()).hexdigest() if hashes else ""
        try:
            if path.endswith(".parquet"):
                return pl.read_parquet(content), digest
            return pl.read_csv(content, try_parse_dates=True, infer_schema_length=None), digest
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"connection {self._name!r}: {path!r} cannot be read: {error}", hint="see that the file is whole"
            ) from error

    @contextmanager
    def _store(self) -> Iterator[Any]:
        """Give the store, and turn its errors into ours."""
        from pyarrow.fs import S3FileSystem

        said = ""
        try:
            yield S3FileSystem(**self._options)
        except OSError as error:
            said = without_secrets(str(error))
        if said:
            raise self._refused(said)

    def _refused(self, said: str) -> TinyMLOpsError:
        where, kind = f"connection {self._name!r}", re.search(r"AWS Error (\w+)", said)
        code = "" if kind is None else kind[1]
        if code in ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID"):
            return AccessError(
                f"{where}: {self._place} refuses the login ({code})", hint="correct key and secret in its URL"
            )
        return UnavailableError(
            f"{where}: {self._place} cannot be read: {said.splitlines()[0]}", hint="nothing is stored: try again"
        )


def _regular(pattern: str) -> str:
    """Return a pattern of paths as a regular expression: `*` stays in a folder, `**/` does not."""
    parts = re.split(r"(\*\*/|\*|\?)", pattern)
    meant = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(meant.get(part, re.escape(part)) for part in parts)
