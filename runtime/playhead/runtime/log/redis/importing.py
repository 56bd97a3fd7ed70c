"""Imports a run that ended elsewhere, or a fork: it is stored in parts that no reader sees, and one last call makes it a run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from playhead.runtime.core.agent_state import packed_state
from playhead.runtime.core.codec import pack
from playhead.runtime.core.ids import new_token
from playhead.runtime.core.metadata import Metadata, tags_of
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.values import DEFAULT_CRASH_LIMIT, EncodedEntry, ImportedRun

__all__ = ["import_run", "index_arguments"]

_PART, _IMPORT = Script("import_part"), Script("import")

_PART_ENTRIES: Final = 500
_PART_BYTES: Final = 1 << 20
"""A script blocks the server: a part that reaches one of these limits is sent."""


Write = Callable[[Script, Sequence[str], Sequence[Any]], Awaitable[Any]]
"""Runs a script with its keys and arguments and returns its answer."""


async def import_run(
    write: Write, keys: Keys, run: ImportedRun, records: AsyncIterable[Sequence[EncodedEntry]]
) -> bool:
    """See `Log.import_run`. Raises what `write` and `records` raise."""
    run_id, token = run.info.run_id, new_token()
    messages = keys.messages(run.info.session) if run.info.session is not None else keys.log(run_id)
    part_keys = [keys.importing(run_id), keys.run(run_id), keys.log(run_id), messages]
    stored = said = 0
    for part in _parts([pack(message) for message in run.messages]):
        if not await write(_PART, part_keys, [token, stored, said, 0, len(part), *part]):
            return False
        said += len(part)
    async for part in _record_parts(records):
        places = [item for entry in part for item in (entry.epoch, entry.data)]
        if not await write(_PART, part_keys, [token, stored, said, len(part), *places, 0]):
            return False
        stored += len(part)
    whole = [keys.run(run_id), keys.log(run_id), keys.importing(run_id), messages]
    return bool(await write(_IMPORT, whole, [keys.root, run_id, token, stored, said, *_rest(run)]))


def _rest(run: ImportedRun) -> list[Any]:
    """The values for the run's hash, its definitions, and the state of the agent in its session."""
    info = run.info
    facts = (info.state, info.agent, info.session or "", info.epoch, info.crashes, info.handovers, info.errors)
    times = (info.created, info.updated, info.worker or "", "" if info.deadline is None else info.deadline)
    defined = [item for one in run.definitions for item in (one.digest, one.data)]
    more = (DEFAULT_CRASH_LIMIT, *index_arguments(info.metadata), run.session_cut, len(run.definitions))
    return [run.retention_ms, *facts, *times, *more, *defined, packed_state(run.agent_state) or b""]


def index_arguments(metadata: Metadata) -> tuple[str, str]:
    """A run's metadata as JSON, empty if there is none, and its tags, one a line."""
    return (json.dumps(metadata) if metadata else ""), "\n".join(tags_of(metadata))


def _parts(items: Sequence[bytes]) -> Iterator[list[bytes]]:
    part: list[bytes] = []
    size = 0
    for item in items:
        part.append(item)
        size += len(item)
        if len(part) >= _PART_ENTRIES or size >= _PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


async def _record_parts(pages: AsyncIterable[Sequence[EncodedEntry]]) -> AsyncIterator[list[EncodedEntry]]:
    part: list[EncodedEntry] = []
    size = 0
    async for page in pages:
        for entry in page:
            part.append(entry)
            size += len(entry.data)
            if len(part) >= _PART_ENTRIES or size >= _PART_BYTES:
                yield part
                part, size = [], 0
    if part:
        yield part
