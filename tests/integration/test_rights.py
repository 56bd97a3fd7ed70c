"""Redis users: the documented rights suffice, and one right less is told at the start, by name, before anything is changed."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from playhead.client import Client
from playhead.runtime import Agent
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.errors import PlayheadError, RedisAuthError
from playhead.runtime.core.ids import new_run_id, new_token
from playhead.runtime.core.records import CycleStarted, RunClaimed, RunCompleted, RunSubmitted
from playhead.runtime.core.signals import Signal
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog
from playhead.runtime.log.redis.rights import ROLES, Role, acl_rules, commands_for
from playhead.runtime.log.redis.script import Script
from playhead.runtime.log.values import Batch, NewRun, RunEnd
from playhead.runtime.models import ScriptedModel
from playhead.workers import Worker

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

__all__: list[str] = []

pytestmark = pytest.mark.anyio

CLAIMED = {"agent": encode_record(RunClaimed(at=1, worker="w"))}
FACT = encode_record(CycleStarted(at=2, cycle=1))
END = encode_record(RunCompleted(at=3, result={}))


def agent() -> Agent:
    return Agent(ScriptedModel(["Done."], repeat=True), name="agent", callback_handler=None)


@asynccontextmanager
async def user(fleet: Fleet, *rules: str) -> AsyncGenerator[Fleet]:
    """The fleet as a user with these rules sees it."""
    await fleet.ask("ACL", "SETUSER", "app", "reset", "on", ">pw", *rules)
    try:
        yield fleet.at(fleet.url.replace("redis://", "redis://app:pw@"))
    finally:
        await fleet.ask("ACL", "DELUSER", "app")


def rules_of(fleet: Fleet, role: Role) -> list[str]:
    return acl_rules(role, prefix=fleet.prefix).split()


@asynccontextmanager
async def log_of(there: Fleet) -> AsyncGenerator[RedisLog]:
    log = RedisLog(connect(there.url), prefix=there.prefix)
    try:
        yield log
    finally:
        await log.aclose()


def test_the_rights_are_those_of_the_commands_that_the_scripts_make() -> None:
    client = {
        name
        for script in (
            "submit",
            "signal",
            "reap",
            "import_part",
            "import",
            "delete_run",
            "cut_session",
            "store_session",
        )
        for name in Script(script).commands
    }
    names = ("claim", "append", "renew", "finish", "release", "pause", "reap", "announce", "submit", "signal")
    names += ("adopt", "bury", "give_up", "got_on", "should_empty")
    worker = {name for script in names for name in Script(script).commands}
    assert client <= {*commands_for("client")}
    assert worker <= {*commands_for("worker")}


async def test_a_worker_a_client_and_a_viewer_with_the_documented_rights_do_all_they_have_to(
    fleet: Fleet, tmp_path: Path
) -> None:
    async with user(fleet, *rules_of(fleet, "worker")) as workers, log_of(workers) as log:
        await fleet.ask("ACL", "SETUSER", "client", "reset", "on", ">pw", *rules_of(fleet, "client"))
        await fleet.ask("ACL", "SETUSER", "viewer", "reset", "on", ">pw", *rules_of(fleet, "viewer"))
        clients, viewers = (fleet.url.replace("redis://", f"redis://{name}:pw@") for name in ("client", "viewer"))
        async with (
            fleet.worker(agent(), log=log, archive=tmp_path / "kept") as worker,
            Client(clients, prefix=fleet.prefix) as client,
            Client(viewers, prefix=fleet.prefix) as viewer,
        ):
            run = await client.start("agent", "Hi", session_id="ada")
            assert str(await run.result()) == "Done.\n"
            assert [event async for event in viewer.run(run.id).stream_async()]
            assert len(await client.workers()) == len(await viewer.workers()) == 1
            assert [info.run_id for info in await viewer.runs()] == [run.id]
            assert len(await viewer.runs(agent="agent", state="completed", session="ada", since=1)) == 1
            assert (await viewer.find_run(run.id[:-1])).id == run.id
            await (await client.start("unserved", "Hi")).cancel()
            unwanted = await client.start("unserved", "Hi", metadata={"customer": "ada"})
            await unwanted.cancel()
            await unwanted.delete()
            assert len([one async for one in viewer.archive_runs(tmp_path / "copied")]) == 2
            await fleet.ended(worker, completed=1)
        assert worker.statistics().archived
        await fleet.ask("ACL", "DELUSER", "client", "viewer")
        denied = [entry for entry in await fleet.ask("ACL", "LOG") if b"toplevel" in entry or b"lua" in entry]
        assert denied == []


async def test_a_viewer_can_neither_change_a_run_nor_see_another_prefix(fleet: Fleet) -> None:
    async with (
        fleet.client() as owner,
        user(fleet, *rules_of(fleet, "viewer")) as there,
        Client(there.url, prefix=there.prefix) as viewer,
    ):
        run = await owner.start("agent", "Hi")
        for change in (lambda: viewer.start("agent", "Hi"), viewer.run(run.id).cancel):
            with pytest.raises(RedisAuthError, match="lacks rights that a client needs"):
                await change()
        assert (await run.info()).state == "queued"
        with pytest.raises(RedisAuthError, match=re.escape("~{other:0}:")):
            async with Client(there.url, prefix="other"):
                pass


def less(fleet: Fleet, role: Role) -> list[tuple[str, str]]:
    """Every right of a role: the rule that takes it away, and the one that its error must name."""
    root = f"{{{fleet.prefix}:0}}:"
    each = [(f"-{name.lower()}", f"+{name.lower()}") for name in commands_for(role)]
    return [*each, ("resetchannels", f"&{root}log:*"), ("resetkeys", f"~{root}")]


@pytest.mark.parametrize("role", ROLES)
async def test_one_right_less_is_told_at_the_start_by_its_name(fleet: Fleet, role: Role) -> None:
    for taken, named in less(fleet, role):
        async with user(fleet, *rules_of(fleet, role), taken) as there, log_of(there) as log:
            with pytest.raises(RedisAuthError, match=f"ACL SETUSER app .*{re.escape(named)}"):
                await log.check_rights(role)
    assert await fleet.ask("KEYS", "*") == [], "asking changes nothing"


@pytest.mark.parametrize(
    "kind",
    [
        "leases",
        "run:",
        "log:",
        "ready:",
        "suspects:",
        "emptying",
        "runs",
        "workers",
        "claimed:",
        "messages:",
        "serving:",
        "queues",
    ],
)
async def test_a_kind_of_key_that_the_user_has_no_right_to_is_told(fleet: Fleet, kind: str) -> None:
    kinds = ("run:", "log:", "inbox:", "ready:", "notify_agent:", "notify_worker:", "session:", "waiting:", "messages:")
    kinds += ("leases", "deadlines", "queue_position", "claimed:", "worker:", "workers", "runs", "shards")
    kinds += ("suspects:", "emptying", "ids", "index:", "expiring", "about:", "sessions", "steers:", "steered:")
    kinds += ("serving:", "queues")
    root = f"{{{fleet.prefix}:0}}:"
    keys = [f"~{root}{one}*" if one.endswith(":") else f"~{root}{one}" for one in kinds if one != kind]
    role: Role = "client" if kind == "runs" else "worker"
    async with user(fleet, *rules_of(fleet, role), "resetkeys", *keys) as there, log_of(there) as log:
        assert await log.missing_rights(role) == [f"~{root}{kind}*" if kind.endswith(":") else f"~{root}{kind}"]


@pytest.mark.parametrize("taken", ["resetchannels", "-zadd", "-blpop"])
async def test_a_worker_that_lacks_a_right_ends_at_its_start_and_leaves_the_run_alone(fleet: Fleet, taken: str) -> None:
    async with fleet.client() as client:
        run = await client.start("agent", "Hi")
        async with user(fleet, "~*", "&*", "+@all", taken) as there, log_of(there) as log:
            with pytest.raises(RedisAuthError, match="the user 'app' lacks rights that a worker needs"):
                await Worker([agent()], log=log).run()
        info = await run.info()
        assert (info.state, info.epoch) == ("queued", 0)
        async with fleet.worker(agent()):
            assert str(await run.result()) == "Done.\n"


async def test_a_user_without_dangerous_commands_works_and_is_told_what_was_not_checked(fleet: Fleet) -> None:
    async with user(fleet, "~*", "&*", "+@all", "-@dangerous") as there, log_of(there) as log:
        assert any("+info" in warning for warning in await log.check())
        async with there.worker(agent()), there.client() as client:
            assert str(await client.invoke_async("agent", "Hi")) == "Done.\n"


async def everything(log: RedisLog) -> list[Any]:
    """All keys and what they hold."""
    return [(key, await log.client.execute_command("DUMP", key)) for key in sorted(await log.client.keys())]


@pytest.mark.parametrize("call", ["submit", "claim", "append", "finish", "release", "pause", "signal", "reap"])
async def test_a_right_taken_away_while_the_log_is_used_stops_no_call_half_way(fleet: Fleet, call: str) -> None:
    """Whichever command is refused: the call either does all of it, or nothing."""
    async with log_of(fleet) as admin, user(fleet, "~*", "&*", "+@all") as there, log_of(there) as log:
        await log.missing_rights("worker")  # connected before a right is taken away
        for command in [*Script(call).commands, "PUBLISH"]:
            await admin.client.flushall()
            act = await prepared(admin, log, call)
            before = await everything(admin)
            await admin.client.execute_command("ACL", "SETUSER", "app", f"-{command.lower()}")
            try:
                await act()
                refused = False
            except PlayheadError:
                refused = True
            after = await everything(admin)
            assert (after == before) is refused, f"{call} without {command}"
            await admin.client.execute_command("ACL", "SETUSER", "app", f"+{command.lower()}")


async def prepared(admin: RedisLog, log: RedisLog, call: str) -> Callable[[], Awaitable[Any]]:
    """A call that changes something, of a run that is ready for it."""
    run_id, token = new_run_id(), new_token()
    new = NewRun(run_id, "agent", RunSubmitted(at=1, agent="agent"), "ada", 60_000)
    if call == "submit":
        return lambda: log.submit(new)
    await admin.submit(new)
    lease_ms = 1 if call == "reap" else 60_000
    if call == "claim":
        return lambda: log.claim(CLAIMED, worker="w", token=token, lease_ms=lease_ms)
    await admin.claim(CLAIMED, worker="w", token=token, lease_ms=lease_ms)
    await admin.signal(run_id, Signal("s0", "steer", "Hi"))
    await anyio.sleep(0.005 if call == "reap" else 0)  # past the lease
    batch = Batch(run_id, token, 2, [FACT], 1)
    end = RunEnd(Batch(run_id, token, 2, [END], 1), "completed", "ada", [{"role": "user", "content": []}])
    return {
        "append": lambda: log.append([batch]),
        "finish": lambda: log.finish(end),
        "release": lambda: log.release(batch),
        "pause": lambda: log.pause(batch, interrupts=["i1"]),
        "signal": lambda: log.signal(run_id, Signal("s1", "cancel")),
        "reap": log.reap,
    }[call]


async def test_many_first_submissions_at_once_share_one_check_of_the_rights_and_its_failure(fleet: Fleet) -> None:
    runs: list[str] = []
    refused: list[RedisAuthError] = []

    async def submit(client: Client) -> None:
        try:
            runs.append((await client.start("agent", "Hi")).id)
        except RedisAuthError as error:
            refused.append(error)

    async with fleet.client() as client, anyio.create_task_group() as tasks:
        for _ in range(300):  # more than the connections that a client may have
            tasks.start_soon(submit, client)
    assert (len(set(runs)), refused) == (300, [])
    async with (
        user(fleet, *rules_of(fleet, "viewer")) as there,
        Client(there.url, prefix=there.prefix) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(300):
            tasks.start_soon(submit, client)
    assert (len(runs), len({id(error) for error in refused}), len(refused)) == (300, 1, 300)
