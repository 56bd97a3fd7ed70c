"""The exceptions of a process that imports Strands after playhead, or not at all."""

from __future__ import annotations

import subprocess
import sys

__all__: list[str] = []

PROGRAM = """
import sys
from playhead.runtime import AgentBusyError, MaxTokensReachedException, PlayheadError

try:
    raise MaxTokensReachedException("cut")
except PlayheadError as error:
    early = error
assert not [name for name in sys.modules if name.split(".")[0] == "strands"], "playhead has imported Strands"

from strands.types.exceptions import ConcurrencyException, MaxTokensReachedException as Theirs

try:
    raise MaxTokensReachedException("cut")
except Theirs as error:
    print("caught", error)
try:
    raise early
except Theirs as error:
    print("caught the early one", error)
try:
    raise AgentBusyError("busy")
except Theirs:
    print("caught as another")
except ConcurrencyException as error:
    print("caught", error)
"""


def test_playhead_does_not_import_strands_and_finds_it_when_the_program_does() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("caught cut\ncaught the early one cut\ncaught busy\n", "")
