"""URLs: which servers they name, which part of one is wrong, and no password in any text."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from redis.asyncio.connection import Connection, SSLConnection

from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.log.redis.connection import connect, redact
from playhead.runtime.log.redis.located_connection import finder_of

__all__: list[str] = []

SECRET = "s3cret"


def options(url: str) -> dict[str, Any]:
    return connect(url).connection_pool.connection_kwargs


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis+sentinel://a:1,b:2/main", "service 'main' of the sentinels a:1, b:2"),
        ("redis+sentinel://a,b/main/3", "service 'main' of the sentinels a:26379, b:26379"),
        ("rediss+sentinel://user:pw@[::1]:1,b/my%20main", "service 'my main' of the sentinels [::1]:1, b:26379"),
        ("redis+cluster://a:7000,b:7001", "the cluster of a:7000, b:7001"),
        ("redis+cluster://:pw@a/0?client_name=me", "the cluster of a:6379"),
        ("rediss+cluster://10.0.0.1:7000/", "the cluster of 10.0.0.1:7000"),
    ],
)
def test_urls_of_several_servers(url: str, named: str):
    client = connect(url)
    assert str(finder_of(client)) == named
    assert issubclass(client.connection_pool.connection_class, SSLConnection if "rediss" in url else Connection)


def test_the_options_of_a_url_are_those_of_its_connections():
    found = options("redis+sentinel://user:p%40w@a,b/main/3?client_name=me&sentinel_username=su&sentinel_password=spw")
    assert {name: found[name] for name in ("db", "username", "password", "client_name", "protocol")} == {
        "db": 3,
        "username": "user",
        "password": "p@w",
        "client_name": "me",
        "protocol": 2,
    }
    assert "sentinel_password" not in found


def test_one_server_needs_no_finder():
    assert finder_of(connect("redis://a:1")) is None


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("redis+sentinel://a:1", "the name of the service is missing"),
        ("redis+sentinel://a:1/main/second", "'second' after the service 'main' is not a database number"),
        ("redis+sentinel://a:1/main/1/2", "'1/2' after the service 'main' is not a database number"),
        ("redis+sentinel://a:1,,b:2/main", "'' is not host:port"),
        ("redis+cluster://", "'' is not host:port"),
        ("redis+cluster://a:0", "'a:0' is not host:port"),
        ("redis+cluster://a:65536", "'a:65536' is not host:port"),
        ("redis+cluster://a:port,b", "'a:port' is not host:port"),
        ("redis+cluster://::1:7000", "'::1:7000' is not host:port"),
        ("redis+cluster://a:1/2", "a cluster has database 0 only, not '2'"),
        ("redis+shard://a:1", r"redis\+shard:// is none of"),
        ("http+cluster://a:1", r"http\+cluster:// is none of"),
        ("redis://a:1?colour=red", "it has no option 'colour'"),
        ("redis+cluster://a:1?colour=red", "it has no option 'colour'"),
        ("redis://a:1?socket_timeout=long", "Invalid value for 'socket_timeout'"),
        ("redis://[::1", "Invalid IPv6"),
        ("", "is not a Redis URL"),
        ("localhost:6379", r"is not a Redis URL \(it does not begin with such a scheme as redis://\); use redis://"),
    ],
)
def test_a_bad_url_says_which_part_is_wrong_and_what_to_use(url: str, wrong: str):
    with pytest.raises(LogUnavailableError, match=wrong) as raised:
        connect(url)
    for form in ("redis://[user:password@]host:port", "redis+sentinel://", "redis+cluster://"):
        assert form in str(raised.value)


@pytest.mark.parametrize("escaped", ["/", "?", "#", "@/", "/@", ":/", "%"])
@pytest.mark.parametrize(
    "form", ["redis://{}a:1", "redis+sentinel://{}a:1/main", "redis+cluster://{}a:1,b", "x://{}a", "{}a:1"]
)
def test_no_password_is_shown_however_badly_it_is_written(form: str, escaped: str):
    url = form.format(f"user:{SECRET}{escaped}{SECRET}@")
    assert SECRET not in redact(url)
    try:
        assert SECRET not in repr(connect(url))
        assert SECRET not in repr(connect(url).connection_pool)
    except LogUnavailableError as error:
        assert SECRET not in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://a:1/0", "redis://a:1/0"),
        ("redis://user@a:1", "redis://user@a:1"),
        (f"redis://:{SECRET}@a:1", "redis://:***@a:1"),
        (f"redis+sentinel://u:{SECRET}@a:1,b:2/main/1?x=y", "redis+sentinel://u:***@a:1,b:2/main/1?x=y"),
        (f"redis+sentinel://a/m?sentinel_password={SECRET}&x=y", "redis+sentinel://a/m?sentinel_password=***&x=y"),
        (f"redis://a?password={SECRET}", "redis://a?password=***"),
        (f"rediss+cluster://u:{SECRET}@[::1]:1,b", "rediss+cluster://u:***@[::1]:1,b"),
    ],
)
def test_a_url_is_shown_without_its_passwords(url: str, shown: str):
    assert redact(url) == shown


def test_a_copy_of_a_finder_looks_for_itself():
    finder = finder_of(connect("redis+cluster://a:1,b:2"))
    assert finder is not None
    other = copy.copy(finder)
    other.lost(other.generation)
    assert (finder.generation, other.generation) == (0, 1)


def test_connections_to_a_cluster_serve_one_prefix():
    finder = finder_of(connect("redis+cluster://a:1"))
    assert finder is not None
    finder.point("{one:0}:")
    finder.point("{one:0}:")
    with pytest.raises(ValueError, match=r"these connections are for the keys \{one:0\}"):
        finder.point("{two:0}:")
