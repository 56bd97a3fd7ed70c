"""A certificate for a proxy that terminates TLS, because the server may be built without it."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import trustme
from anyio import aclose_forcefully, get_cancelled_exc_class
from anyio.abc import AnyByteStream
from anyio.streams.tls import TLSListener

__all__ = ["Certificate", "Listener", "make_certificate"]


class Certificate(NamedTuple):
    """A proxy's TLS context, and the file of the authority that its clients trust."""

    context: ssl.SSLContext
    authority: Path


def make_certificate(authority: Path) -> Certificate:
    """A certificate for 127.0.0.1 by a new authority, whose certificate is written to that file."""
    made = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.issue_cert("127.0.0.1").configure_cert(context)
    made.cert_pem.write_to_path(authority)
    return Certificate(context, authority)


class Listener(TLSListener):
    """A listener whose clients may be killed during their handshake, which is not an error."""

    @staticmethod
    async def handle_handshake_error(exc: BaseException, stream: AnyByteStream) -> None:
        await aclose_forcefully(stream)
        if not isinstance(exc, Exception) or isinstance(exc, get_cancelled_exc_class()):
            raise exc
