"""Runs are found: by what they are, page by page, over shards and archives, by the beginnings of their ids; and deleted."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest

from playhead.client import Client, Redaction, open_log
from playhead.runtime import Agent
from playhead.runtime.core.errors import RunConflictError, RunNotEndedError, RunNotFoundError
from playhead.runtime.core.records import RunSubmitted
from playhead.runtime.models import ScriptedModel

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio


def agent(name: str = "agent") -> Agent:
    return Agent(ScriptedModel(["Done."], repeat=True), name=name, callback_handler=None)


async def paged(client: Client, *, limit: int, **filters: Any) -> list[str]:
    """The ids of all runs that fit, read page by page."""
    found: list[str] = []
    page = await client.runs(limit=limit, **filters)
    while page.cursor is not None:
        found += [info.run_id for info in page]
        page = await client.runs(limit=limit, cursor=page.cursor, **filters)
    return [*found, *(info.run_id for info in page)]


async def started(client: Client, **options: Any) -> str:
    """The id of a run that no later run shares its millisecond with: over shards such runs have no order.

    The server's clock is that of this machine.
    """
    run = await client.start("agent", "Hi", **options)
    created = (await run.info()).created
    while time.time_ns() // 1_000_000 <= created:
        await anyio.lowlevel.checkpoint()
    return run.id


async def test_a_client_finds_runs_by_what_they_are(fleet: Fleet) -> None:
    async with fleet.client() as client:
        ada = await client.start("agent", "Hi", session_id="s", metadata={"customer": "ada", "nightly": True})
        bob = await client.start("other", "Hi", metadata={"customer": "bob", "nightly": True})
        await bob.cancel()
        now = datetime.now(UTC)
        asked: dict[str, dict[str, Any]] = {
            "agent": {"agent": "other"},
            "state": {"state": "queued"},
            "session": {"session": "s"},
            "tag": {"tag": "customer=ada"},
            "tags": {"tag": ["nightly", "customer=bob"]},
            "a dict": {"tag": {"nightly": True, "customer": "bob"}},
            "since": {"since": now - timedelta(hours=1)},
            "until": {"until": now - timedelta(hours=1)},
        }
        found = {name: [info.run_id for info in await client.runs(**one)] for name, one in asked.items()}
        assert found == {
            "agent": [bob.id],
            "state": [ada.id],
            "session": [ada.id],
            "tag": [ada.id],
            "tags": [bob.id],
            "a dict": [bob.id],
            "since": [bob.id, ada.id],
            "until": [],
        }


@pytest.mark.parametrize(
    ("filters", "told"),
    [
        ({"state": "done"}, "state must be 'queued' or"),
        ({"since": "yesterday"}, "since must be a datetime, or a whole number of unix milliseconds, not 'yesterday'"),
        ({"until": 1.5}, "until must be a datetime"),
        ({"tag": 7}, "tag must be a text such as"),
        ({"tag": {"key": None}}, "must be a text, a number or a bool"),
        ({"limit": "3"}, "limit must be a whole number"),
        ({"limit": 0}, "limit must be at least 1, not 0"),
        ({"cursor": "x"}, "cursor 'x' is not one of a page of runs: give the one that the page before ended with"),
        ({"since": 2, "until": 1}, "is not before until"),
    ],
)
async def test_a_filter_that_no_run_can_fit_is_one_clear_error(
    fleet: Fleet, filters: dict[str, Any], told: str
) -> None:
    async with fleet.client() as client:
        with pytest.raises((ValueError, TypeError), match=told):
            await client.runs(**filters)


async def test_the_runs_of_a_session_have_pages_of_at_least_one(fleet: Fleet) -> None:
    async with fleet.client() as client:
        with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
            await client.session("s").runs(limit=0)


async def test_pages_over_shards_have_every_run_once_and_in_order(fleet: Fleet) -> None:
    async with Client(fleet.url, prefix=fleet.prefix, shards=3) as client:
        runs = [await started(client, metadata={"even": number % 2 == 0}) for number in range(14)]
        assert len({run_id.partition("-")[0] for run_id in runs}) > 1
        first = await client.runs(limit=5)
        await client.start("agent", "one more")
        rest = await paged(client, limit=5, until=first[-1].created + 1)
        assert [info.run_id for info in first] == runs[:8:-1]
        assert await paged(client, limit=4, agent="agent", until=(await client.runs(limit=1))[0].created) == runs[::-1]
        assert set(rest) >= set(runs[:9])
        assert sorted(await paged(client, limit=3, tag="even")) == sorted(runs[::2])


async def test_an_archive_is_listed_with_the_same_filters_and_cursors(fleet: Fleet, tmp_path: Path) -> None:
    async with fleet.worker(agent()), fleet.client() as client:
        runs = [await client.start("agent", "Hi", metadata={"even": number % 2 == 0}) for number in range(6)]
        for run in runs:
            await run.result()
        assert len([one async for one in client.archive_runs(tmp_path)]) == 6
        for run in runs[:4]:
            await run.delete()
    async with Client(fleet.url, prefix=fleet.prefix, archive=tmp_path) as client:
        ids = [run.id for run in runs]
        # An archive knows the order of submission to a millisecond.
        assert sorted(await paged(client, limit=2)) == sorted(ids)
        times = [info.created for info in await client.runs(limit=6)]
        assert times == sorted(times, reverse=True)
        assert sorted(await paged(client, limit=2, tag="even")) == sorted(ids[::2])
        assert await paged(client, limit=4, state="failed") == []
        assert (await client.runs(tag="even=false", limit=1))[0].metadata == {"even": False}
        assert (await client.find_run(ids[0])).id == ids[0]


async def test_forks_and_imported_runs_keep_their_metadata(fleet: Fleet, tmp_path: Path) -> None:
    noted = {"customer": "ada", "share": 0.25, "nightly": True}
    async with fleet.worker(agent()), fleet.client() as client:
        run = await client.start("agent", "Hi", metadata=noted)
        await run.result()
        fork = await run.fork(at=2)
        await fork.result()
        await run.export(tmp_path / "run.jsonl")
        (imported,) = await client.import_runs(tmp_path / "run.jsonl", as_id="imported")
        assert [(await one.info()).metadata for one in (fork, imported)] == [noted, noted]
        assert set(await paged(client, limit=9, tag="share=0.25")) == {fork.id, imported.id, run.id}
        with open_log(tmp_path / "run.jsonl") as file:
            assert (await file.run().info()).metadata == noted


@pytest.mark.parametrize(
    "redaction",
    [
        Redaction(paths=["run.submitted:metadata.customer"]),
        Redaction(paths=["*:metadata.customer"]),
        Redaction(patterns=["zoe"]),
    ],
    ids=["path", "every kind", "pattern"],
)
async def test_metadata_that_is_taken_out_of_a_file_is_nowhere_in_it(
    fleet: Fleet, tmp_path: Path, redaction: Redaction
) -> None:
    async with fleet.client() as client:
        run = await client.start("agent", "Hi", metadata={"customer": "zoe", "attempt": 2})
        await run.export(tmp_path / "run.jsonl", redaction=redaction)
    assert "zoe" not in (tmp_path / "run.jsonl").read_text()
    with open_log(tmp_path / "run.jsonl") as file:
        assert (await file.run().info()).metadata == {"customer": "xxx", "attempt": 2}


async def test_metadata_is_part_of_what_was_submitted(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("agent", "Hi", metadata={"customer": "ada"})
        (first,) = await run.log.read(run.id)
        assert isinstance(first.record, RunSubmitted)
        assert first.record.metadata == {"customer": "ada"}
        assert (await client.start("agent", "Hi", run_id=run.id, metadata={"customer": "ada"})).id == run.id
        with pytest.raises(RunConflictError, match="another metadata"):
            await client.start("agent", "Hi", run_id=run.id)


async def test_a_remote_agent_submits_metadata(fleet: Fleet) -> None:
    async with fleet.worker(agent()), fleet.client() as client:
        await client.agent("agent", session_id="ada").invoke_async("Hi", metadata={"customer": "ada"})
        assert len(await client.runs(tag="customer=ada", session="ada")) == 1


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({f"key{number}": 1 for number in range(17)}, "metadata has 17 items, and a run can have 16"),
        ({"key": "x" * 257}, r"metadata\['key'\] must be at most 256 printable characters, and has 257"),
        ({"key": "a\nb"}, r"metadata\['key'\] must be printable characters, and has '\\n'"),
        ({"": 1}, "a key of metadata must be 1 to 64 letters"),
        ({"key": None}, r"metadata\['key'\] must be a text, a number or a bool, not None"),
        ({"key": [1]}, "must be a text, a number or a bool"),
        ({"key": 2**60}, "between -2"),
        (["a"], "metadata must be a dict"),
    ],
)
async def test_metadata_that_cannot_be_indexed_is_refused_and_nothing_is_stored(
    fleet: Fleet, metadata: Any, told: str
) -> None:
    async with fleet.client() as client:
        with pytest.raises((ValueError, TypeError), match=told):
            await client.start("agent", "Hi", metadata=metadata)
        assert await client.runs() == []


async def test_a_run_is_found_by_the_beginning_of_its_id(fleet: Fleet) -> None:
    async with fleet.client() as client:
        for run_id in ("order-1", "order-12", "invoice-7"):
            await client.start("agent", "Hi", run_id=run_id)
        assert (await client.find_run("inv")).id == "invoice-7"
        assert (await client.find_run("order-1")).id == "order-1", "an id is itself, though another begins so"
        with pytest.raises(ValueError, match="several runs have an id that begins with 'order': order-1, order-12"):
            await client.find_run("order")
        with pytest.raises(RunNotFoundError):
            await client.find_run("x")


async def test_a_deleted_run_is_gone_for_its_readers_and_its_session_goes_on(fleet: Fleet) -> None:
    async with fleet.worker(agent()), fleet.client() as client, fleet.client() as reader:
        run = await client.start("agent", "Hi", session_id="ada")
        await run.result()
        async with reader.tail(run.id, after=2) as tail:
            assert await tail.next() is not None
        assert await run.delete() == "completed"
        for read in (run.info, run.result, run.delete, reader.run(run.id).result):
            with pytest.raises(RunNotFoundError, match="it was deleted"):
                await read()
        again = await client.start("agent", "And now?", session_id="ada")
        await again.result()
        said = [message.get("content", [])[0] for message in await client.reader.messages("ada")]
        assert said == [{"text": "Hi"}, {"text": "Done."}, {"text": "And now?"}, {"text": "Done."}]


async def test_a_run_that_has_not_ended_cannot_be_deleted(fleet: Fleet) -> None:
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        with pytest.raises(RunNotEndedError, match=f"run {run.id} is queued, .*playhead cancel {run.id}"):
            await run.delete()
        await run.cancel()
        assert await run.delete() == "cancelled"
        assert await client.runs() == []
