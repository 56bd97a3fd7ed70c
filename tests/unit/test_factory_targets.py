"""A TARGET may be a function that makes agents."""

from __future__ import annotations

from pathlib import Path

import pytest

from playhead.runtime.agent.factory import AgentFactory
from playhead.runtime.core.errors import BadTargetError
from playhead.runtime.targets import load_agents

__all__: list[str] = []

FILE = """
from __future__ import annotations
from playhead.runtime import Agent, AgentFactory, RunContext

fixed = Agent("demo", name="fixed")

def support(ctx: RunContext) -> Agent:
    return fixed

async def later(ctx: RunContext) -> Agent:
    return fixed

def _hidden(ctx: RunContext) -> Agent:
    return fixed

def prompt_of(ctx: RunContext) -> str:
    return ctx.run_id

def plain(ctx):
    return fixed

def two(ctx, more):
    return fixed

def of_text(text: str):
    return fixed

desk = AgentFactory(lambda ctx: fixed, name="help-desk")
named = AgentFactory(_hidden, name="other-desk")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "factories.py"
    path.write_text(FILE)
    return path


def test_without_an_attribute_the_annotated_functions_are_factories(file: Path):
    assert list(load_agents([str(file)])) == ["fixed", "support", "later", "help-desk", "other-desk"]


def test_a_function_that_a_factory_calls_under_another_name_is_not_served_twice(file: Path):
    file.write_text(FILE + "\nsales = AgentFactory(support, name='sales')\n")
    assert "support" not in load_agents([str(file)])
    assert "sales" in load_agents([str(file)])


@pytest.mark.parametrize(("attribute", "name"), [("support", "support"), ("plain", "plain"), ("desk", "help-desk")])
def test_an_attribute_may_be_a_function_without_annotations(file: Path, attribute: str, name: str):
    (made,) = load_agents([f"{file}:{attribute}", f"{file}:{attribute}"]).values()
    assert isinstance(made, AgentFactory)
    assert made.name == name


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("two", r"two is not an Agent \(a factory takes one argument, the RunContext, and two takes \(ctx, more\)\)"),
        ("of_text", "of_text takes text: 'str'"),
        ("Agent", r"Agent is not an Agent \(it is a type\)"),
        ("nothing", r"no such attribute\). Agents there: fixed, support, later, desk, named"),
    ],
)
def test_another_function_is_refused_with_what_a_factory_takes(file: Path, attribute: str, says: str):
    with pytest.raises(BadTargetError, match=says):
        load_agents([f"{file}:{attribute}"])


def test_a_factory_and_an_agent_of_one_name_are_refused(file: Path, tmp_path: Path):
    other = tmp_path / "another.py"
    other.write_text("from playhead.runtime import Agent\nsupport = Agent('demo', name='support')\n")
    with pytest.raises(BadTargetError, match="two agents are named 'support'"):
        load_agents([str(file), str(other)])


def test_an_argument_that_playhead_refuses_is_told_with_the_line_of_the_agents_file(tmp_path: Path):
    file = tmp_path / "misspelt.py"
    file.write_text('from playhead.runtime import Agent\n\nagent = Agent(label="agent")\n')
    with pytest.raises(BadTargetError, match=r"no argument 'label'.* \(.*misspelt\.py, line 3\)$"):
        load_agents([str(file)])
