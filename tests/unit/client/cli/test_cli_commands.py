"""The list of commands: complete, quick to show, and true of what is installed."""

from __future__ import annotations

import sys

import pytest

from playhead.client.cli.commands import COMMANDS, NotInstalledError, load
from playhead.client.main import main

__all__: list[str] = []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says_of_itself(name: str):
    command = load(name)
    assert command.name == name
    assert command.help.startswith(COMMANDS[name].help.removesuffix("."))


@pytest.mark.parametrize("name", ["demo", "dev", "worker", "health"])
def test_a_command_of_a_distribution_that_is_not_installed_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "playhead.workers", None)
    with pytest.raises(NotInstalledError, match="pip install playhead-workers"):
        load(name)
    for arguments in ([name, "agents.py"], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["playhead", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        if arguments == ["--help"]:
            assert told.out.count("Not installed: pip install playhead-workers") == 4
        else:
            assert (ended.value.code, told.out) == (78, "")
            assert told.err == (
                f"playhead: `playhead {name}` is a command of playhead-workers, which is not installed: "
                "pip install playhead-workers\n"
            )
