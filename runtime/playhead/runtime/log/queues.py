"""The queues in which runs wait for an owner, by name. Pure.

A run enters the queue of its agent. One that an owner has run by a framework, such as the Strands Agents SDK, enters the queue
of that framework in that version while a live worker has it, because another version may do something else over its log.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["own_queue", "queues_of"]


def own_queue(agent: str, framework: str) -> str:
    """The queue for the runs of an agent that workers with this framework began. No agent's name has a colon in it."""
    return f"{agent}:{framework}"


def queues_of(agents: Iterable[str], frameworks: Mapping[str, str]) -> dict[str, str]:
    """The queues from which a worker claims, each with its agent; `frameworks` has those of the agents that have one."""
    found: dict[str, str] = {}
    for agent in agents:
        found[agent] = agent
        if agent in frameworks:
            found[own_queue(agent, frameworks[agent])] = agent
    return found
