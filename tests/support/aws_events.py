"""Encodes messages in AWS' binary event-stream format, as a service sends them."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

__all__ = ["aws_event", "aws_events", "aws_exception"]


def aws_event(kind: str, payload: dict[str, Any]) -> bytes:
    """One event of `ConverseStream`."""
    return _message({":message-type": "event", ":event-type": kind, ":content-type": "application/json"}, payload)


def aws_events(*chunks: dict[str, Any]) -> list[bytes]:
    """The events of Converse chunks, one message each."""
    return [aws_event(kind, body) for chunk in chunks for kind, body in chunk.items()]


def aws_exception(kind: str, message: str) -> bytes:
    """An exception inside a stream."""
    headers = {":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}
    return _message(headers, {"message": message})


def _message(headers: dict[str, str], payload: dict[str, Any]) -> bytes:
    head = b"".join(
        struct.pack(f">B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value), value.encode())
        for name, value in headers.items()
    )
    body = json.dumps(payload, default=lambda data: base64.b64encode(data).decode()).encode()
    lengths = struct.pack(">II", len(head) + len(body) + 16, len(head))
    unsigned = lengths + struct.pack(">I", zlib.crc32(lengths)) + head + body
    return unsigned + struct.pack(">I", zlib.crc32(unsigned))
