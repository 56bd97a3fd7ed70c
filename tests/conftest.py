"""Fixtures every test may use."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
import redis
import redis.utils
from hypothesis import HealthCheck, settings

from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.embedded.topology import EmbeddedCluster, EmbeddedSentinels
from tests.support.commands import Commands
from tests.support.models import HeldModel, Steps
from tests.support.sweeps import WHOLE

EXEMPT = {
    "runs": "all runs in order; an entry goes when its run has",
    "ids": "all runs by id; an entry goes when its run has",
    "index": "the runs of an agent, a state, a session or a tag; an entry goes when its run has",
    "expiring": "when entries of indexes go; submissions remove what is due",
    "session": "which run holds a conversation; it goes with the last one",
    "messages": "the messages of a conversation while a run holds it; else they have a TTL",
    "about": "what else is known of a conversation while a run holds it; else it has the TTL of the messages",
    "sessions": "the index of conversations; an entry goes with its conversation, or when others are used",
    "waiting": "runs that wait for their conversation; the last one to leave removes it",
    "ready": "runs that wait for a worker",
    "suspects": "runs that wait for a worker that holds no other",
    "queues": "the queues of frameworks that runs wait in; a reaper removes one without runs",
    "queue_position": "the last position in the queue that was given; one number",
    "shards": "how many shards the deployment has; one number",
    "leases": "runs that a worker holds",
    "deadlines": "runs that have a deadline and have not ended; each leaves it with its end",
    "workers": "the index of workers; each that announces itself removes the silent ones",
}
"""Kinds of keys that may live without a TTL, and why. A key is `{prefix:shard}:kind` or `{prefix:shard}:kind:id`."""

RUN_KINDS = {"run", "log", "inbox"}
PLACES = {"waiting": "LRANGE", "ready": "ZRANGE", "suspects": "ZRANGE", "leases": "ZRANGE", "deadlines": "ZRANGE"}
"""Kinds of `EXEMPT` that hold runs which have not ended, and nothing else; how to read them."""

FINISHED_STATES = {b"completed", b"failed", b"cancelled"}

# The time of an example depends on how busy the machine is; in a fresh clone the first one builds hypothesis' tables.
EXAMPLES = 100 if WHOLE else 50
settings.register_profile(
    "any machine", max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("quick", settings.get_profile("any machine"), max_examples=10)  # for `make quick`
settings.load_profile("any machine")

# redis-py reads its version from its metadata anew for each connection, of which the suite opens thousands: 0.6 ms each.
redis.utils.get_lib_version = cache(redis.utils.get_lib_version)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what the collection made out of every later garbage collection, which would look through all of it."""
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()  # see the root's conftest.py


@pytest.fixture
def anyio_backend() -> str:
    """The only backend: redis-py's asyncio client runs on asyncio."""
    return "asyncio"


@pytest.fixture
def held_model() -> Callable[..., HeldModel]:
    """Makes models that wait in the middle of their message; see `HeldModel`."""
    return HeldModel


@pytest.fixture
def make_steps() -> Callable[..., Steps]:
    """Makes agents of three steps; see `Steps`."""
    return Steps


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    """Runs commands in an empty folder; what still runs at the end of the test is killed."""
    with Commands(tmp_path) as here:
        yield here


@pytest.fixture(scope="session")
def redis_server() -> Iterator[EmbeddedServer]:
    """One real server for all tests, without persistence. Tests that stop or kill a server start their own."""
    server = EmbeddedServer.start_sync(durable=False)
    try:
        yield server
    finally:
        server.stop_sync()


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """The URL of the shared server, emptied before the test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def sentinels() -> Iterator[EmbeddedSentinels]:
    """A primary, a replica and a sentinel for all tests. Tests that stop one of them start their own."""
    with EmbeddedSentinels() as servers:
        yield servers


@pytest.fixture
def sentinel_url(sentinels: EmbeddedSentinels) -> str:
    """The URL of the shared sentinel. Its server is not emptied: a test has its `prefix`."""
    return sentinels.url


@pytest.fixture(scope="session")
def cluster() -> Iterator[EmbeddedCluster]:
    """A cluster of three nodes for all tests. Tests that stop one of them start their own."""
    with EmbeddedCluster() as servers:
        yield servers


@pytest.fixture
def cluster_url(cluster: EmbeddedCluster) -> str:
    """The URL of the shared cluster. It is not emptied: a test has its `prefix`, and so its slot."""
    return cluster.url


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test uses."""
    return f"t{uuid4().hex[:8]}"


@pytest.fixture
def no_key_leaks(redis_url: str, prefix: str) -> Iterator[Callable[[], list[str]]]:
    """Fail the test if keys under its `prefix` would stay for ever.

    That is every key without a TTL, except the kinds in `EXEMPT` and those of runs that are not finished; the kinds in
    `PLACES` are exempt only while they hold no other run. The value is the check itself, which returns the leaked keys.
    """
    with redis.Redis.from_url(redis_url) as client:

        def check() -> list[str]:
            return sorted(key.decode() for key in client.scan_iter(f"*{prefix}*", 1000) if leaked(client, key))

        yield check
        assert check() == [], "these keys have neither a TTL nor an exemption"


@pytest.fixture
def exempt_kinds() -> Collection[str]:
    """The kinds of keys that may live without a TTL although they belong to no run."""
    return EXEMPT.keys()


def leaked(client: redis.Redis, key: bytes) -> bool:
    """Whether nothing will ever remove the key."""
    if client.ttl(key) != -1:
        return False
    tag, _, rest = key.decode().partition("}:")
    kind, _, identifier = rest.partition(":")
    if kind in RUN_KINDS:
        return not unfinished(client, f"{tag}}}:", identifier)
    if kind in PLACES:
        names: Any = client.execute_command(PLACES[kind], key, 0, -1)
        return not all(unfinished(client, f"{tag}}}:", name.decode()) for name in names)
    if kind == "definition":
        runs = client.scan_iter(f"*{tag.removeprefix('{')}}}:run:*", 1000)
        naming = [run for run in runs if identifier.encode() in cast("bytes", client.hget(run, "definitions") or b"")]
        return not any(unfinished(client, f"{tag}}}:", run.decode().rpartition("run:")[2]) for run in naming)
    return kind not in EXEMPT


def unfinished(client: redis.Redis, root: str, run_id: str) -> bool:
    """Whether there is such a run and it has not ended."""
    state = client.hget(f"{root}run:{run_id}", "state")
    return state is not None and state not in FINISHED_STATES
