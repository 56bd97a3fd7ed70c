"""The fake provider of the chaos, asked by an agent in this process: each of its faults is the fault that it claims to be."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import count, islice
from pathlib import Path

import pytest

from chaos.agents import TRACES
from chaos.answers import FATAL, Task, answer_of, differs
from chaos.check_answers import said_in
from chaos.provider import Provider
from chaos.provider_agents import provider_agents
from playhead.runtime import Agent

__all__: list[str] = []

pytestmark = pytest.mark.anyio


@pytest.fixture
async def provider(no_proxy: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncGenerator[Provider]:
    monkeypatch.setattr(TRACES, "folder", tmp_path)
    async with Provider().running() as provider:
        yield provider
    assert provider.violations == []


@pytest.fixture
def agent(provider: Provider) -> Agent:
    return provider_agents(provider.url)[0]


def tasks(wanted: Callable[[Task], bool]) -> Iterator[Task]:
    return filter(wanted, (Task(f"t-{number}", 2) for number in count()))


@pytest.mark.parametrize("kind", sorted(FATAL))
async def test_a_fatal_fault_fails_the_call_with_its_error_and_its_words(provider: Provider, agent: Agent, kind: str):
    task = next(tasks(lambda one: answer_of(one, 0).fatal == kind))
    with pytest.raises(Exception) as raised:
        await agent.invoke_async(task.prompt)
    assert type(raised.value).__name__ == FATAL[kind]
    if kind not in ("away for good", "token limit"):
        assert answer_of(task, 0).words in str(raised.value)
    assert provider.served[kind] > 0
    plain = Task("next", 2, is_plain=True)
    assert str(await agent.invoke_async(plain.prompt)) == f"{answer_of(plain, plain.rounds).text}\n"


async def test_every_transient_fault_is_survived_and_every_answer_arrives_whole(provider: Provider, agent: Agent):
    def is_certain(task: Task) -> bool:
        answers = [answer_of(task, turn) for turn in range(task.rounds + 1)]
        return all(answer.is_certain and not answer.fatal for answer in answers)

    asked = list(islice(tasks(is_certain), 8))
    for task in asked:
        before = len(agent.messages)
        await agent.invoke_async(task.prompt)
        added = [message for message in agent.messages[before:] if message.get("role") == "assistant"]
        assert len(added) == task.rounds + 1
        for turn, message in enumerate(added):
            assert differs(said_in(message), answer_of(task, turn)) == "", (task, turn)
    assert provider.served.keys() > {"whole answers"}, "it failed in between"
