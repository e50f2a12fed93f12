"""The certificate and the key that a server shows, read before the port is taken."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from tinymlops.errors import AccessError

__all__ = ["secure_context"]


def secure_context(certfile: str | Path, keyfile: str | Path | None = None) -> ssl.SSLContext:
    """Make the context of connections: TLS 1.2 or later, HTTP/1.1.

    Args:
        certfile: The certificate, and after it those that it stands on, as PEM.
        keyfile: Its private key without a passphrase, as PEM; None if it is in `certfile`.

    Raises:
        AccessError: If a file is not there or is not what it should be, or others may read the key.
    """
    _require_files(certfile, keyfile)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    asked = False

    def passphrase() -> str:  # without it OpenSSL asks at the terminal
        nonlocal asked
        asked = True
        return ""

    try:
        context.load_cert_chain(certfile, keyfile, password=passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise _unusable(error, certfile, keyfile, is_encrypted=asked) from error
    return context


def _unusable(
    error: ssl.SSLError | ValueError, certfile: str | Path, keyfile: str | Path | None, *, is_encrypted: bool
) -> AccessError:
    key = keyfile or certfile
    if is_encrypted:
        return AccessError(
            f"the key in {key} has a passphrase", hint=f"write one without: openssl pkey -in {key} -out plain.pem"
        )
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return AccessError(
            f"the key in {key} is not the key of the certificate in {certfile}",
            hint="give the pair that was made together; the server's own certificate stands first in its file",
        )
    return AccessError(
        f"{certfile} and {key} are not a certificate and its key, as PEM",
        hint="PEM begins with -----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----",
    )


def _require_files(certfile: str | Path, keyfile: str | Path | None) -> None:
    for file in (certfile, keyfile or certfile):
        try:
            with Path(file).open("rb"):
                mode = Path(file).stat().st_mode
        except OSError as error:
            raise AccessError(f"{file} cannot be read: {error.strerror}", hint="name a PEM file") from error
    if mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise AccessError(
            f"others may read or change the private key in {keyfile or certfile} (mode {stat.S_IMODE(mode):04o})",
            hint=f"chmod 600 {keyfile or certfile}",
        )
