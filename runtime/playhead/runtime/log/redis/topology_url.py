"""Reads URLs that name sentinels or the nodes of a cluster: `redis+sentinel://`, `redis+cluster://` and their TLS forms."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlunsplit

from playhead.runtime.log.redis.finders import ClusterFinder, Finder, Node, SentinelFinder

__all__ = ["read_topology"]

_SENTINEL_PORT: Final = 26379


_CLUSTER_PORT: Final = 6379


_URL: Final = re.compile(r"([^:/?#]+)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?")


def read_topology(url: str) -> tuple[str, Finder] | None:
    """Read `redis+sentinel://`, `redis+cluster://` and their `rediss+` forms.

    Returns:
        The URL of the first node, with the options of the connections, and the finder. None for every other URL.

    Raises:
        ValueError: If the URL is malformed; the message says which part.
    """
    parts = _URL.fullmatch(url)  # not `urlsplit`, which cannot read more than one host
    scheme, plus, kind = parts[1].partition("+") if parts else ("", "", "")
    if parts is None or not plus:
        return None
    if scheme not in ("redis", "rediss") or kind not in ("sentinel", "cluster"):
        raise ValueError(f"{parts[1]}:// is none of redis[s]://, redis[s]+sentinel:// and redis[s]+cluster://")
    userinfo, at, hosts = parts[2].rpartition("@")
    nodes = _nodes(hosts, _SENTINEL_PORT if kind == "sentinel" else _CLUSTER_PORT)
    query = dict(parse_qsl(parts[4] or "", keep_blank_values=True))
    path = [unquote(part) for part in parts[3].split("/") if part]
    if kind == "sentinel":
        service, database = _service(path)
        own = {name: query.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in query}
        finder: Finder = SentinelFinder(nodes, service, own)
    else:
        if path not in ([], ["0"]):
            raise ValueError(f"a cluster has database 0 only, not {'/'.join(path)!r}")
        database, finder = "", ClusterFinder(nodes)
    plain = (scheme, f"{userinfo}{at}{nodes[0]}", f"/{database}", urlencode(query), "")
    return urlunsplit(plain), finder


def _service(path: list[str]) -> tuple[str, str]:
    if not path:
        raise ValueError("the name of the service is missing: redis+sentinel://host:port/SERVICE")
    service, *rest = path
    if rest and (len(rest) > 1 or not rest[0].isdigit()):
        raise ValueError(f"{'/'.join(rest)!r} after the service {service!r} is not a database number")
    return service, rest[0] if rest else ""


def _nodes(hosts: str, default_port: int) -> list[Node]:
    nodes: list[Node] = []
    for one in hosts.split(","):
        found = re.fullmatch(r"\s*(?:\[([0-9a-fA-F:.%]+)\]|([^\s:\[\]]+))(?::(\d+))?\s*", one)
        if found is None or not 0 < int(found[3] or default_port) < 65536:
            raise ValueError(f"{one!r} is not host:port")
        nodes.append(Node(found[1] or found[2], int(found[3] or default_port)))
    return nodes
