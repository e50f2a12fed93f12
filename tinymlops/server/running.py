"""`serve`: the application on uvicorn until it is told to stop, on loopback or, with a token, on any address."""

from __future__ import annotations

import errno
import gc
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinymlops.errors import AccessError, ConflictError, DataError, TinyMLOpsError
from tinymlops.server.certificates import secure_context
from tinymlops.server.hosts import Address, Hosts
from tinymlops.server.proxies import Forwarded, Proxies

if TYPE_CHECKING:
    import ssl
    from types import FrameType

    import uvicorn
    from litestar import Litestar
    from litestar.types import ASGIApp

    from tinymlops.workspace import Workspace

__all__ = ["OptionError", "serve"]

_GRACE = 30
"""Seconds that running requests have to finish."""
_BACKLOG = 2048
_TURN = 0.0005
"""Seconds that a thread keeps the interpreter while another one waits."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class OptionError(AccessError):
    """An option of `serve` that cannot be.

    Args:
        option: Its name, such as "certfile".
        error: What is wrong with it.
    """

    def __init__(self, option: str, error: AccessError) -> None:
        super().__init__(error.message, hint=error.hint)
        self.option = option


def serve(
    ws: Workspace,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    certfile: str | Path | None = None,
    keyfile: str | Path | None = None,
    proxy_headers: Iterable[str] = (),
    origins: Iterable[str] = (),
    allowed_hosts: Iterable[str] = (),
    pages: bool = True,
    ready: Callable[[str], object] | None = None,
) -> None:
    """Serve a workspace over HTTP until SIGINT or SIGTERM; running requests are answered first.

    Args:
        ws: The workspace; it stays the caller's to close it.
        host: An address of this machine, "0.0.0.0" or "::" for all. One that is not of the loopback interface needs a
            token, so that no stranger reads features and pushes rows.
        port: 0 takes any free one.
        certfile: A certificate, and those that it stands on, as PEM: the server speaks HTTPS.
        keyfile: Its private key, if that is not in `certfile`; no others may read it.
        proxy_headers: Addresses or networks of reverse proxies: what they say in X-Forwarded-For and X-Forwarded-Proto is
            believed. X-Forwarded-Host is never read.
        origins: Origins whose pages may read and write, such as "https://app.example.com".
        allowed_hosts: Names that the server is reached by, such as "ml.example.com".
        pages: Whether browsers are shown pages at "/" as well.
        ready: Is called with the server's address once it takes connections.

    Raises:
        AccessError: If the host needs a token and none was issued, an option cannot be, or the port is the system's.
        ConflictError: If the port is taken.
    """
    with _naming("host"):
        address = _address(host)
        _require_token(ws, address)
    context = _context(certfile, keyfile)
    with _naming("proxy_headers"):
        proxies = Proxies(proxy_headers)
    app = _application(ws, origins, allowed_hosts, pages=pages)
    _warm_up(ws)
    with _listen(address, port) as listener:
        port = listener.getsockname()[1]
        name = f"[{address}]" if address.version == 6 else str(address)
        server = _server(Forwarded(app, proxies), proxies, context)
        if pages:
            app.state.streams.is_ending = lambda: server.should_exit
        with _returning_on_signals(server), _answering(), app.state.warming.beside() if pages else nullcontext():
            scheme = "http" if context is None else "https"
            print(f"serving on {scheme}://{name}:{port} until Ctrl+C", file=sys.stderr, flush=True)
            if ready is not None:
                ready(f"{scheme}://{name}:{port}/")
            server.run(sockets=[listener])


@contextmanager
def _naming(option: str) -> Iterator[None]:
    try:
        yield
    except AccessError as error:
        raise OptionError(option, error) from error


def _context(certfile: str | Path | None, keyfile: str | Path | None) -> ssl.SSLContext | None:
    if certfile is None and keyfile is None:
        return None
    with _naming("keyfile" if certfile is None else "certfile"):
        if certfile is None:
            raise AccessError("a key needs its certificate", hint="name that too: certfile=, --certfile")
        return secure_context(certfile, keyfile)


def _application(ws: Workspace, origins: Iterable[str], allowed_hosts: Iterable[str], *, pages: bool) -> Litestar:
    from tinymlops.server.app import create_app

    with _naming("allowed_hosts"):
        hosts = list(allowed_hosts)
        Hosts(hosts)
    with _naming("origins"):
        return create_app(ws, allowed_hosts=hosts, origins=list(origins), pages=pages)


def _server(app: ASGIApp, proxies: Proxies, context: ssl.SSLContext | None) -> uvicorn.Server:
    import uvicorn

    from tinymlops.server.connections import PatientProtocol
    from tinymlops.server.crowd import Crowd
    from tinymlops.server.handshakes import Handshake

    crowd = Crowd(proxies)
    protocol: Any = (
        partial(PatientProtocol, crowd=crowd) if context is None else partial(Handshake, crowd=crowd, context=context)
    )
    config = uvicorn.Config(
        cast("Any", app),
        http=protocol,
        ws="none",
        log_level="error",  # at the next one, whoever sends nonsense fills the log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
    return uvicorn.Server(config)


def _require_token(ws: Workspace, address: Address) -> None:
    if address.is_loopback or ws.tokens.any():
        return
    raise AccessError(
        f"{address} is not of the loopback interface, and no token was issued: whoever reaches the server could read "
        "features and push rows",
        hint="make one first: tinymlops token create NAME --role ROLE; or serve on 127.0.0.1",
    )


def _warm_up(ws: Workspace) -> None:
    """Compile or load what every answer needs, so that the first is as fast as the next."""
    from tinymlops.features.online.kernel_calls import warm_up
    from tinymlops.server.readiness import require_ready

    warm_up()
    ws.vectors.warm_up()
    try:
        require_ready(ws)
    except TinyMLOpsError as error:
        print(f"not ready: {error}", file=sys.stderr, flush=True)


@contextmanager
def _answering() -> Iterator[None]:
    """Set the interpreter up for short answers from several threads.

    They take turns sooner, so that the event loop does not wait for the thread that predicts; and what is loaded by now is
    left out of every search for garbage, which otherwise stops all of them for a tenth of a second.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_TURN)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)


def _address(host: str) -> Address:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        raise AccessError(
            f"{host!r} is not an address",
            hint="use 127.0.0.1, an address of this machine, or 0.0.0.0 for all of them; names are for allowed_hosts",
        ) from None


def _listen(address: Address, port: int) -> socket.socket:
    """Take the port, before anything else says that it is served."""
    if not 0 <= port <= 65535:
        raise DataError(f"port {port} does not exist", hint="use one from 1024 to 65535, such as 8000")
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer waits 40 ms.
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(address), port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(
                f"port {port} of {address} is taken: another server is running there",
                hint=f"stop it, or choose another port: tinymlops serve --port {port + 1}",
            ) from error
        is_ours = error.errno != errno.EADDRNOTAVAIL
        raise AccessError(
            f"the server cannot listen on port {port} of {address}: {error.strerror}",
            hint="use a port from 1024 on: tinymlops serve --port 8000"
            if is_ours
            else "use an address of this machine, or 0.0.0.0 for all of them",
        ) from error
    return listener


@contextmanager
def _returning_on_signals(server: uvicorn.Server) -> Iterator[None]:
    """Let the server stop, and `serve` return, on a signal.

    uvicorn has handlers of its own while it runs and raises the signal once more when it is done, which by default
    would end the process before the caller has closed the workspace.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
