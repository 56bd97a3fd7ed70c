"""Shells complete `playhead`: bash itself is asked, of the others what their scripts ask for."""

from __future__ import annotations

import shutil

import pytest

from tests.support.commands import PLAYHEAD, Commands

__all__: list[str] = []

IN_BASH = """
playhead() { "$PLAYHEAD" "$@"; }
eval "$(playhead completion bash)"
COMP_WORDS=(playhead) COMP_CWORD=1
for line in "re" "replay x --on" "replay x --only " ; do
    read -r -a words <<< "$line"
    [[ "$line" == *" " ]] && words+=("")
    COMP_WORDS=(playhead "${words[@]}") COMP_CWORD=${#words[@]}
    _playhead_completion "$PLAYHEAD"
    echo "${COMPREPLY[@]}"
done
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_and_values(commands: Commands):
    told = commands.spawn(["bash", "-c", IN_BASH], env={"PLAYHEAD": PLAYHEAD}).wait()
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines() == ["replay respond", "--only", "tools model messages text"]


@pytest.mark.parametrize(("shell", "action"), [("zsh", ""), ("fish", "get-args")])
def test_other_shells_are_told_the_same_by_what_their_scripts_ask_for(shell: str, action: str, commands: Commands):
    script = commands.run("completion", shell)
    asks = {"_PLAYHEAD_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "playhead re"}
    assert all(f"{name}=" in script.out for name in asks)
    assert asks["_PLAYHEAD_COMPLETE"] in script.out
    told = commands.start(env={**asks, "_TYPER_COMPLETE_FISH_ACTION": action}).wait()
    assert (told.code, told.err) == (0, "")
    assert [name for name in ("replay", "respond", "runs") if name in told.out] == ["replay", "respond"]
