"""Makes new run ids and fencing tokens."""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final

__all__ = ["derived_run_id", "made_at", "new_run_id", "new_token"]

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford base 32: no i, l, o, u to misread
_DIGITS: Final = 19
_RANDOM_BITS: Final = 50
_DERIVED_DIGITS: Final = 26  # other than _DIGITS: such an id has no time


def new_run_id(*, shard: int = 0) -> str:
    """A new run id: its shard, then a time-ordered unguessable part, e.g. `0-0d1m5x8p4k2v9r7w3t6y`."""
    number = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return f"{shard:x}-{_digits(number, _DIGITS)}"


def derived_run_id(key: str, *, beside: str) -> str:
    """The id that `key` gives, on the shard of the run `beside`: the same for the same key, and unguessable if the key is."""
    number = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())
    return f"{beside.partition('-')[0]}-{_digits(number, _DERIVED_DIGITS)}"


def _digits(number: int, count: int) -> str:
    """The last `count` digits of a number, to the base 32."""
    digits: list[str] = []
    for _ in range(count):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def made_at(run_id: str) -> int | None:
    """When `new_run_id` made an id, in unix milliseconds by the clock of the process that did; None for another id."""
    shard, _, digits = run_id.partition("-")
    if not shard or len(digits) != _DIGITS or set(digits) - set(_ALPHABET):
        return None
    number = 0
    for digit in digits:
        number = number * 32 + _ALPHABET.index(digit)
    return number >> _RANDOM_BITS


def new_token() -> str:
    """A new fencing token. It is random, because a failover can assign one epoch twice."""
    return secrets.token_hex(8)
