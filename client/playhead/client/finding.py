"""Finds the server that a program means when it names none."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from playhead.runtime.core.errors import LogUnavailableError
from playhead.runtime.log.redis.connection import DEFAULT_URL, redact

__all__ = ["DATA_DIRECTORY", "data_folder", "find_url", "folder_named", "listening", "running_in", "with_places"]

DATA_DIRECTORY: Final = Path(".playhead")
"""Where `demo` and `dev` keep their server's data, in the current folder."""

_CONNECT_TIMEOUT_S: Final = 0.5


def find_url() -> str | None:
    """`PLAYHEAD_URL`, else the server of the `playhead dev` or `demo` of the nearest `.playhead/`; None if there is neither.

    Blocks for up to half a second. `PLAYHEAD_URL` may name a folder of `playhead dev`, too.

    Raises:
        LogUnavailableError: If `PLAYHEAD_URL` names a folder, and no server runs on it; or if it is neither a URL nor a folder.
    """
    named = os.environ.get("PLAYHEAD_URL")
    if not named:
        folder = data_folder()
        return None if folder is None else running_in(folder)
    if (folder := folder_named(named)) is None:
        return named
    if (url := running_in(folder)) is None:
        raise LogUnavailableError(f"no server runs on {named}/, which PLAYHEAD_URL names")
    return url


def folder_named(url: str) -> Path | None:
    """The folder of `playhead dev` that is given in place of a URL; None if it is a URL.

    Raises:
        LogUnavailableError: If it is neither.
    """
    if "://" in url:
        return None
    if (folder := Path(url)).is_dir():
        return folder
    where = "PLAYHEAD_URL" if os.environ.get("PLAYHEAD_URL") == url else "the URL"
    raise LogUnavailableError(
        f"{where} is {redact(url)!r}, which is neither a URL, such as {DEFAULT_URL}, nor a folder that exists: give one of "
        f"the two, or nothing to use the nearest {DATA_DIRECTORY}/"
    )


def with_places(error: LogUnavailableError) -> LogUnavailableError:
    """The error of a default URL that cannot be reached, with the places where another URL was looked for."""
    if type(error) is not LogUnavailableError:  # the server answered, so the user may well mean it
        return error
    return LogUnavailableError(
        error.reason,
        advice=f"{error.advice} That address is the default, because no URL was given, PLAYHEAD_URL is not set, and no server of "
        f"`playhead dev` runs on a .playhead/ in {Path.cwd()} or above it.",
    )


def data_folder() -> Path | None:
    """The `.playhead/` in the current folder, or in the nearest folder above it; None if there is none.

    Only one of this user: the folder names the server to use, and another user could put one into a shared folder.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        found = folder / DATA_DIRECTORY
        if _is_ours(found):
            return DATA_DIRECTORY if folder == here else found
    return None


def _is_ours(folder: Path) -> bool:
    try:
        return folder.is_dir() and (os.name != "posix" or folder.stat().st_uid == os.getuid())
    except OSError:
        return False


def running_in(folder: Path) -> str | None:
    """The URL of the server that runs on a folder of `playhead dev`; None if none does."""
    try:
        info = json.loads((folder / "server.json").read_text(encoding="utf-8"))
        url = str(info["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url if listening(url) else None  # a killed owner leaves the file


def listening(url: str) -> bool:
    """Whether something accepts connections at a URL of one server."""
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "localhost", parts.port or 6379)
        with socket.create_connection(address, timeout=_CONNECT_TIMEOUT_S):
            return True
    except OSError:
        return False
