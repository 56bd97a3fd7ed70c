"""Commands that run agents end at once, with one line, when a model's key or file is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Commands

__all__: list[str] = []

AGENT = """
from playhead.runtime import Agent
keyless = Agent(name="keyless", model="{model}")
"""


@pytest.mark.parametrize(
    ("model", "says"),
    [("openai/gpt-5-mini", "Set OPENAI_API_KEY"), ("local/nowhere.gguf", "nowhere.gguf does not exist")],
)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_worker_ends_at_its_start(commands: Commands, tmp_path: Path, model: str, says: str, processes: str) -> None:
    (tmp_path / "keyless.py").write_text(AGENT.format(model=model))
    target = str(tmp_path / "keyless.py")
    ended = commands.run("worker", target, "--url", "redis://127.0.0.1:1", "--processes", processes)
    assert ended.code == 78
    assert says in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("model", "says"),
    [("openai/gpt-5-mini", "Set OPENAI_API_KEY"), ("local/nowhere.gguf", "nowhere.gguf does not exist")],
)
def test_the_demo_ends_at_its_start(commands: Commands, model: str, says: str) -> None:
    ended = commands.run("demo", "--model", model)
    assert ended.code == 78
    assert says in ended.err
    assert "Traceback" not in ended.err
