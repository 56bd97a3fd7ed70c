"""A worker in a process of its own that serves a scenario's agent and dies by `kill -9` at one of its records.

Its configuration: `url`, `prefix`, `scenario`, and `die_at` and `die_when` of `MortalLog`.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from typing import Any

import anyio

from playhead.runtime.core.converse import Chunk, Messages
from playhead.runtime.log.redis.connection import connect
from playhead.workers import Worker, WorkerOptions
from tests.conformance.conformance_agents import PlayedModel, build_agent
from tests.support.worker_program import CONFIG, MortalLog

__all__ = ["run"]


class _ModelOfAnyProcess(PlayedModel):
    """Knows by the history which of its calls this is, because the calls before may have been made in another process."""

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterator[Chunk]:
        self.made = sum(message.get("role") == "assistant" for message in messages)
        async for chunk in super().stream(messages, *args, **kwargs):
            yield chunk


async def _serve() -> None:
    agent = build_agent(CONFIG["scenario"], note=lambda _: None, model=_ModelOfAnyProcess)
    log = MortalLog(connect(CONFIG["url"]), prefix=CONFIG["prefix"])
    print(json.dumps({"said": "ready", "pid": os.getpid()}), flush=True)
    await Worker([agent], log=log, options=WorkerOptions(grace_s=0.0)).run()


def run(config: dict[str, Any]) -> None:
    """Be the worker until it is killed."""
    CONFIG.update(config)
    anyio.run(_serve)
