"""A TARGET may be a guest, or a function that runs runs itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from playhead.runtime.core.errors import BadTargetError
from playhead.runtime.host.function import FunctionGuest
from playhead.runtime.targets import load_agents, load_served

__all__: list[str] = []

FILE = """
from __future__ import annotations
from playhead.runtime import Agent, FunctionGuest, GuestContext

agent = Agent("demo", name="agent")

async def told(ctx: GuestContext, prompt):
    yield {}

async def plain(ctx, prompt):
    yield {}

async def _hidden(ctx: GuestContext, prompt):
    yield {}

async def no_generator(ctx, prompt):
    return {}

async def one(ctx):
    yield {}

named = FunctionGuest(_hidden, name="by-name")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "guests.py"
    path.write_text(FILE)
    return path


def test_without_an_attribute_guests_and_annotated_functions_are_served(file: Path) -> None:
    assert list(load_served([str(file)])) == ["agent", "told", "by-name"]


def test_an_attribute_may_be_a_function_without_annotations(file: Path) -> None:
    (guest,) = load_served([f"{file}:plain", f"{file}:plain"]).values()
    assert isinstance(guest, FunctionGuest)
    assert guest.name == "plain"


@pytest.mark.parametrize("attribute", ["no_generator", "one"])
def test_another_function_is_refused_with_what_is_wanted(file: Path, attribute: str) -> None:
    with pytest.raises(BadTargetError, match=f"{attribute} is not an Agent"):
        load_served([f"{file}:{attribute}"])


def test_where_an_agent_is_needed_a_guest_is_refused_and_left_out_beside_agents(file: Path) -> None:
    assert list(load_agents([str(file)])) == ["agent"]
    with pytest.raises(BadTargetError, match="told runs its runs by code of its own"):
        load_agents([f"{file}:told"])


def test_a_guest_is_made_of_an_async_generator_function_only() -> None:
    async def run(ctx: object, prompt: object) -> None: ...

    with pytest.raises(TypeError, match="yields its events"):
        FunctionGuest(run)  # pyright: ignore[reportArgumentType]
