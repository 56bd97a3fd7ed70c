"""A real Chromium, driven over the pipe of its DevTools protocol: opens pages of this machine and presses keys."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

__all__ = ["WHY_NOT", "Browser", "Page", "browser", "found"]

LIMIT_S: Final = 30.0
WHY_NOT: Final = "no Chromium is installed here; `apt-get install chromium` brings one"
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",  # a sandbox needs rights that a container may not have; the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
_AS_3_AND_4: Final = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads its protocol from file descriptor 3 and writes to 4."""

_CODES: Final = {
    "ArrowRight": 39,
    "ArrowLeft": 37,
    "ArrowDown": 40,
    "ArrowUp": 38,
    "PageDown": 34,
    "PageUp": 33,
    "Home": 36,
    "Enter": 13,
}


def found() -> str | None:
    """The path of a Chromium, if there is one."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """One Chromium. Its protocol: messages of JSON that end with a NUL."""

    def __init__(self, to: int, back: int) -> None:
        self._to = to
        self._back = back
        self._numbers = count(1)
        self._rest = b""
        self.errors: list[str] = []

    def call(self, method: str, *, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (told := self._next()).get("id") != number:
            if told.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(told["params"]["exceptionDetails"]))
        assert "error" not in told, told
        return told["result"]

    def open(self, file: Path) -> Page:
        """Open a file of this machine as a page."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        self.call("Runtime.enable", session=session)
        self.call("Page.enable", session=session)
        self.call("Page.navigate", session=session, url=file.as_uri())
        page.evaluate(
            "new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        )
        return page

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._back], [], [], LIMIT_S)
            assert ready, "the browser does not answer"
            data = os.read(self._back, 1 << 16)
            assert data, "the browser has ended"
            self._rest += data
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Page:
    """A page that is open."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def evaluate(self, script: str) -> Any:
        """The value of an expression of JavaScript; a promise is awaited."""
        told = self._browser.call(
            "Runtime.evaluate", session=self._session, expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, and wait until the page is drawn."""
        for key in keys:
            code = _CODES.get(key) or ord(key.upper())
            text = {"text": key} if len(key) == 1 else {}
            for kind in ("keyDown", "keyUp"):
                self._browser.call(
                    "Input.dispatchKeyEvent",
                    session=self._session,
                    type=kind,
                    key=key,
                    windowsVirtualKeyCode=code,
                    **(text if kind == "keyDown" else {}),
                )
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@contextmanager
def browser(profile: Path) -> Generator[Browser]:
    """A Chromium with a fresh profile, which is ended at the end of the block."""
    binary = found()
    assert binary is not None, WHY_NOT
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]  # not 3 or 4, which are set below
    command = [sys.executable, "-c", _AS_3_AND_4, *map(str, ends), binary, *_FLAGS, f"--user-data-dir={profile}"]
    with subprocess.Popen(command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        try:
            made = Browser(ours_out, ours_in)
            yield made
            made.call("Browser.close")
        finally:
            os.close(ours_out)
            os.close(ours_in)
            try:
                process.wait(LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
