"""The chat example in an empty folder: the service under uvicorn, a worker, and a server of their own."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from playhead.runtime.embedded.server import EmbeddedServer
from tests.support.commands import Commands, Running

__all__ = ["Chat", "running_chat"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "chat"


@dataclass(frozen=True)
class Chat:
    """The example, copied to where `commands` run, on a server."""

    commands: Commands
    url: str
    address: str = ""

    def start_service(self) -> tuple[Running, str]:
        """Start the service; returns it with its address."""
        service = self.commands.python("-m", "uvicorn", "chat:app", "--port", "0", env={"PLAYHEAD_URL": self.url})
        return service, service.until(r"running on (http://127\.0\.0\.1:\d+)").group(1)


@contextmanager
def running_chat(folder: Path) -> Generator[Chat]:
    """Copy the example into `folder` and run it there: the service and a worker."""
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    server = EmbeddedServer.start_sync(durable=False)
    try:
        with Commands(folder) as commands:
            worker = commands.python("-m", "playhead.workers", "chat.py", env={"PLAYHEAD_URL": server.url})
            chat = Chat(commands, server.url)
            service, address = chat.start_service()
            worker.until("serves chat")
            yield replace(chat, address=address)
            service.stop()
            assert worker.stop() == 0
    finally:
        server.stop_sync()
