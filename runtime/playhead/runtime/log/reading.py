"""Reads the records of a run page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from playhead.runtime.core.errors import GapError
from playhead.runtime.core.records import Entry
from playhead.runtime.log.interface import LogReader
from playhead.runtime.log.values import EncodedEntry

__all__ = ["PAGE", "encoded_pages", "pages", "read_all"]

PAGE: Final = 1000

Numbered = TypeVar("Numbered", Entry, EncodedEntry)


async def read_all(log: LogReader, run_id: str, *, head: int) -> list[Entry]:
    """Read records 1 to `head` of a run.

    Raises:
        GapError: If one of them is missing.
    """
    return [entry async for page in pages(log, run_id, head=head) for entry in page]


def pages(log: LogReader, run_id: str, *, head: int) -> AsyncGenerator[list[Entry], None]:
    """Read records 1 to `head` of a run, page by page.

    Raises:
        GapError: If one of them is missing.
    """
    return _pages(partial(log.read, run_id), run_id, head=head, size=PAGE)


def encoded_pages(
    log: LogReader, run_id: str, *, head: int, page: int = PAGE
) -> AsyncGenerator[list[EncodedEntry], None]:
    """Read records 1 to `head` of a run as stored, in pages of `page` records.

    Raises:
        GapError: If one of them is missing.
    """
    return _pages(partial(log.read_encoded, run_id), run_id, head=head, size=page)


async def _pages(
    read: Callable[..., Awaitable[list[Numbered]]], run_id: str, *, head: int, size: int
) -> AsyncGenerator[list[Numbered], None]:
    seq = 0
    while seq < head:
        page = await read(after=seq, limit=min(size, head - seq))
        for entry in page:
            if entry.seq != seq + 1:
                raise GapError(run_id, expected=seq + 1, found=entry.seq)
            seq = entry.seq
        if not page:
            raise GapError(run_id, expected=seq + 1, found=None)
        yield page
