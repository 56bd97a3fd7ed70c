"""A Redis server that is started and stopped with the program that uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playhead.runtime.lazy import import_at_first_use

if TYPE_CHECKING:
    from playhead.runtime.embedded.server import EmbeddedServer
    from playhead.runtime.embedded.topology import EmbeddedCluster, EmbeddedSentinels

__all__ = ["EmbeddedCluster", "EmbeddedSentinels", "EmbeddedServer"]

# At first use, so that one server loads no topology.
import_at_first_use(
    __name__,
    {
        "EmbeddedServer": "playhead.runtime.embedded.server",
        "EmbeddedCluster": "playhead.runtime.embedded.topology",
        "EmbeddedSentinels": "playhead.runtime.embedded.topology",
    },
)
