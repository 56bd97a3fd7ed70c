"""Makes new run ids and fencing tokens."""

from __future__ import annotations

import secrets
import time
from typing import Final

__all__ = ["new_run_id", "new_token"]

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u to misread


def new_run_id(*, shard: int = 0) -> str:
    """A new run id: its shard, then a time-ordered unguessable part, e.g. `0-0d1m5x8p4k2v9r7w3t6y`."""
    number = (time.time_ns() // 1_000_000) << 50 | secrets.randbits(50)
    digits: list[str] = []
    for _ in range(19):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{shard:x}-{''.join(reversed(digits))}"


def new_token() -> str:
    """A new fencing token. It is random, because a failover can assign one epoch twice."""
    return secrets.token_hex(8)
