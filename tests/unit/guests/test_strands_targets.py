"""Strands agents as TARGETs, and what is refused at the start of a worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from strands.session import FileSessionManager

from playhead.runtime.agent.serving import served_of
from playhead.runtime.core.errors import BadTargetError
from playhead.runtime.guests.strands import StrandsGuest
from playhead.runtime.targets import load_served
from tests.support.strands_agents import World

__all__: list[str] = []

FILE = """
from __future__ import annotations
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
import strands
from strands.multiagent import Swarm
from tests.support.strands_agents import World, said

shop = World().agent(said("Hello."), name="Strands Agents")
named = World().agent(said("Hello."), name="by-name")
swarm = Swarm([World().agent(said("Hello."), name="node")])

def make_agent() -> strands.Agent:
    return World().agent(said("Hello."))

def plain():
    return World().agent(said("Hello."))

async def awaited() -> strands.Agent:
    return plain()

async def awaited_plain():
    return plain()

@asynccontextmanager
async def held() -> AsyncIterator[strands.Agent]:
    yield plain()

@contextmanager
def held_plain():
    yield plain()

@asynccontextmanager
async def holds_another() -> AsyncIterator[str]:
    yield "not an agent"

def runs_a_loop():
    coroutine = awaited()
    try:
        return asyncio.run(coroutine)
    finally:
        coroutine.close()

async def breaks_later():
    raise KeyError("no such key")

def breaks() -> strands.Agent:
    raise KeyError("no such key")

def other() -> str:
    return "not an agent"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "of_strands.py"
    path.write_text(FILE)
    return path


def test_agents_and_annotated_functions_of_a_module_are_served(file: Path) -> None:
    file.write_text(FILE.replace("def breaks", "def _breaks"))
    served = load_served([str(file)])
    assert list(served) == ["shop", "by-name", "make_agent", "awaited", "held"]
    assert all(isinstance(one, StrandsGuest) for one in served.values())


@pytest.mark.parametrize("attribute", ["plain", "awaited_plain", "held_plain"])
def test_an_attribute_may_be_a_function_without_annotations(file: Path, attribute: str) -> None:
    (guest,) = load_served([f"{file}:{attribute}"]).values()
    assert guest.name == attribute


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("breaks", "cannot make the agent: .*KeyError: 'no such key'"),
        ("breaks_later", "cannot make the agent: .*KeyError: 'no such key'"),
        ("holds_another", "holds_another returned 'not an agent' of type str, which is none of: a strands.Agent"),
        ("runs_a_loop", r"asyncio.run\(\) cannot be called .*: write `async def` and `await`"),
        ("swarm", "swarm is not an Agent .it is a Swarm, which keeps what a run did: write a function that makes one"),
        ("other", "other returned 'not an agent' of type str, which is none of: a strands.Agent, a Graph or a Swarm"),
    ],
)
def test_a_function_that_makes_none_is_refused(file: Path, attribute: str, says: str) -> None:
    with pytest.raises(BadTargetError, match=says):
        load_served([f"{file}:{attribute}"])


HEAD = """
from __future__ import annotations
from collections.abc import AsyncIterator
import strands
from strands.multiagent import Swarm
from playhead.runtime import GuestContext
from tests.support.strands_agents import World, said
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ('def make() -> strands.Agent: return "text"', "make returned 'text' of type str, not a strands.Agent"),
        (
            "async def make() -> AsyncIterator[strands.Agent]: yield 1",
            "make is a generator .*: put @asynccontextmanager",
        ),
        (
            "def make() -> strands.Agent: raise KeyError('no such')",
            r"agent: make raised KeyError: 'no such' \(.*line 8",
        ),
        ("def make(): pass", "if make makes one, annotate what it returns, or name it: .*:make"),
        ("team = Swarm([World().agent(said('Hello.'), name='node')])", "team is a Swarm, which .*: write a function"),
        ("class StateGraph: pass\ngraph = StateGraph()", r"graph is a StateGraph, which .*: graph.compile\(\)"),
        ("async def loop(ctx: GuestContext, prompt): pass", "loop takes a GuestContext, and is not .* that yields"),
        ("x = 1", "no Agent in it; define one at module level"),
    ],
)
def test_a_module_in_which_nothing_is_served_says_what_to_do(tmp_path: Path, code: str, says: str) -> None:
    path = tmp_path / "nearly.py"
    path.write_text(f"{HEAD}{code}\n")
    with pytest.raises(BadTargetError, match=says):
        load_served([str(path)])


def test_a_session_manager_is_refused_with_what_takes_its_place(tmp_path: Path) -> None:
    manager: Any = FileSessionManager(session_id="s", storage_dir=str(tmp_path))
    agent = World().agent(session_manager=manager)
    with pytest.raises(ValueError, match=r"session manager.*session_id="):
        StrandsGuest(agent, name="agent")


def test_background_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="background_tasks"):
        StrandsGuest(World().agent(background_tasks=True), name="agent")


def test_an_agent_has_a_name_that_clients_can_use() -> None:
    assert served_of(World().agent(name="Strands Agents"), name="here").name == "here"
    assert StrandsGuest(World().agent(name="Strands Agents", agent_id="helper")).name == "helper"


def test_a_strands_that_is_too_old_is_told_with_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old_shop.py"
    path.write_text(FILE)
    for name in [name for name in sys.modules if name.startswith("playhead.runtime.guests.strands")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "strands.middleware", None)
    with pytest.raises(BadTargetError, match=r"strands-agents \S+ cannot be hosted .*: pip install -U strands-agents"):
        load_served([f"{path}:shop"])
