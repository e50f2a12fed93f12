"""`serve`: the application on uvicorn, on the loopback interface, until it is told to stop."""

from __future__ import annotations

import errno
import gc
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import AccessError, ConflictError, DataError, TinyMLOpsError

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn

    from tinymlops.workspace import Workspace

__all__ = ["serve"]

_GRACE = 30
"""Seconds that running requests have to finish."""
_BACKLOG = 2048
_TURN = 0.0005
"""Seconds that a thread keeps the interpreter while another one waits."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(ws: Workspace, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve a workspace over HTTP until SIGINT or SIGTERM; running requests are answered first.

    Args:
        ws: The workspace; it stays the caller's to close it.
        host: An address of the loopback interface.
        port: 0 takes any free one.

    Raises:
        AccessError: If the host is not of the loopback interface, or the port is the system's.
        ConflictError: If the port is taken.
    """
    address = _loopback(host)
    _warm_up(ws)
    with _listen(address, port) as listener:
        import uvicorn

        from tinymlops.server.app import create_app
        from tinymlops.server.connections import PatientProtocol

        port = listener.getsockname()[1]
        name = f"[{address}]" if address.version == 6 else str(address)
        app = create_app(ws, allowed_hosts=[name])
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        server = uvicorn.Server(config)
        with _returning_on_signals(server), _answering():
            print(f"serving on http://{name}:{port} until Ctrl+C", file=sys.stderr, flush=True)
            server.run(sockets=[listener])


def _warm_up(ws: Workspace) -> None:
    """Compile or load what every answer needs, so that the first is as fast as the next."""
    from tinymlops.features.online.kernel_calls import warm_up
    from tinymlops.server.readiness import require_ready

    warm_up()
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


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _loopback(host: str) -> Address:
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise AccessError(
            f"the server listens on the loopback interface alone, not on {host!r}: it has no accounts, so whoever "
            "reaches it could read features and push rows",
            hint="serve on 127.0.0.1, and let a proxy that knows your users stand before it",
        )
    return address


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
        raise AccessError(
            f"the server cannot listen on port {port} of {address}: {error.strerror}",
            hint="use a port from 1024 on: tinymlops serve --port 8000",
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
