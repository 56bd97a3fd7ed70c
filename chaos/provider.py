"""The fake provider: it answers each request as its task says, and fails in between in every known way.

Its answer is drawn from the task and the turn (see `answers`), its failures also from the number of requests: at each
turn a few transient faults precede the whole answer.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio

from chaos.answers import FATAL, Answer, answer_of
from chaos.check_request import read_request
from chaos.evidence import Violation
from testkit.provider.habits import (
    BROKEN,
    NOTHING,
    PLAIN,
    CallSaid,
    arguments_of,
    delta,
    ending,
    event,
    framed,
    message_of,
    spoken,
)
from testkit.provider.server import Exchange, serving

__all__ = ["FAULTS_PER_TURN", "Provider"]

FAULTS_PER_TURN: Final = 4
_FAULT_SHARE: Final = 0.4
_PAUSE_S: Final = 0.02


class Provider:
    """Serves one fleet.

    Attributes:
        url: The base URL, while it is running.
        served: How often it responded in which way.
        violations: Requests that a strict provider refuses, or whose history differs from the earlier answers.
    """

    def __init__(self) -> None:
        self.url = ""
        self.served: Counter[str] = Counter()
        self.violations: list[Violation] = []
        self._asked: Counter[tuple[str, int]] = Counter()
        self._failed: Counter[tuple[str, int]] = Counter()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Provider]:
        """Serve during the block."""
        async with serving(self._respond) as self.url:
            yield self

    async def _respond(self, exchange: Exchange) -> None:
        task, turn, flaws = read_request(exchange.body)
        if task is None or flaws:
            name = "none" if task is None else task.name
            self.violations += [Violation("request", name, None, f"of turn {turn}: {what}") for what in flaws]
            self.served["refused for a flaw"] += 1
            await exchange.reply(json.dumps({"error": {"message": "; ".join(flaws)}}).encode(), status=400)
            return
        key = task.name, turn
        self._asked[key] += 1
        dice = random.Random(f"{task.seed} {key} {self._asked[key]}")
        reply = _Reply(exchange, answer_of(task, turn), dice, is_quick=task.is_plain)
        kind = reply.answer.fatal or self._fault(key, dice, may_fail=not task.is_plain)
        self.served[kind or "whole answers"] += 1
        await _RESPONSES[kind](reply)

    def _fault(self, key: tuple[str, int], dice: random.Random, *, may_fail: bool) -> str:
        if not may_fail or self._failed[key] >= FAULTS_PER_TURN or dice.random() >= _FAULT_SHARE:
            return ""
        self._failed[key] += 1
        return dice.choice(_TRANSIENT)


class _Reply:
    """The response to one request, to be sent whole or in part."""

    def __init__(self, exchange: Exchange, answer: Answer, dice: random.Random, *, is_quick: bool = False) -> None:
        self.exchange = exchange
        self.answer = answer
        self.dice = dice
        self._pause_s = 0.0 if is_quick else dice.uniform(0, _PAUSE_S)

    async def send(self, *items: Any) -> None:
        """Send events, one by one."""
        for item in items:
            await anyio.sleep(self._pause_s)
            data = framed(self.answer.habits, item)
            place = self.dice.randrange(len(data))
            await self.exchange.send(data[:place])
            await self.exchange.send(data[place:])

    def spoken(self) -> list[Any]:
        """The events of the answer without its end, with some that say nothing."""
        answer = self.answer
        calls = [self._call(number) for number in range(len(answer.calls))]
        items: list[Any] = [*spoken(answer.habits, thoughts=answer.thoughts, texts=answer.texts, calls=calls)]
        for _ in range(self.dice.choice([0, 0, 1, 2])):
            items.insert(self.dice.randint(0, len(items)), self.dice.choice(NOTHING))
        return items

    def ending(self) -> list[Any]:
        """The events that end the answer."""
        answer = self.answer
        calls = [(call.name, call.input) for call in answer.calls]
        whole = message_of(answer.habits, thoughts=answer.thoughts, texts=answer.texts, calls=calls)
        return ending(answer.habits, whole)

    def _call(self, number: int) -> CallSaid:
        name, given, signature = self.answer.calls[number]
        pieces = arguments_of(self.answer.habits, given, cut=self.cut)
        if self.answer.is_torn and number == len(self.answer.calls) - 1:
            pieces = self.cut(json.dumps(given)[:-3])
        return CallSaid(name, pieces, signed(signature))

    def cut(self, text: str) -> list[str]:
        """The text in up to four pieces."""
        places = sorted(self.dice.randint(0, len(text)) for _ in range(self.dice.randint(0, 3)))
        return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def signed(signature: str) -> dict[str, Any]:
    """The field of a call with a thought signature."""
    return {"extra_content": {"google": {"thought_signature": signature}}}


async def _whole(reply: _Reply) -> None:
    if reply.answer.is_body:
        await reply.exchange.reply(json.dumps(_body(reply)).encode())
        return
    await reply.exchange.begin()
    await reply.send(*reply.spoken(), *reply.ending())
    await reply.exchange.end()


def _body(reply: _Reply) -> dict[str, Any]:
    answer, calls = reply.answer, list[dict[str, Any]]()
    for number, (name, given, signature) in enumerate(answer.calls):
        function = {"name": name, "arguments": given if reply.dice.random() < 0.5 else json.dumps(given)}
        calls.append({"id": f"c{number}", "type": "function", "function": function, **signed(signature)})
    message = {"role": "assistant", "content": "".join(answer.texts), "tool_calls": calls}
    message |= {"reasoning_content": "".join(answer.thoughts)} if answer.thoughts else {}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return {"object": "chat.completion", "choices": [choice]}


async def _cut_off(reply: _Reply) -> None:
    """The connection is lost anywhere before the last byte."""
    await reply.exchange.begin()
    data = b"".join(framed(reply.answer.habits, item) for item in [*reply.spoken(), *reply.ending()])
    await reply.exchange.send(data[: reply.dice.randrange(len(data))])


async def _ended_early(reply: _Reply) -> None:
    """The stream ends in order, but before the answer says that it is whole."""
    if reply.answer.habits.finish == "early":  # every event says that it is the last
        await _cut_off(reply)
        return
    await reply.exchange.begin()
    items = reply.spoken()
    data = b"".join(framed(reply.answer.habits, item) for item in items[: reply.dice.randint(0, len(items))])
    await reply.exchange.send(data[: reply.dice.choice([len(data), reply.dice.randint(0, len(data))])])
    await reply.exchange.end()


async def _gone(reply: _Reply) -> None:
    """The connection is closed without a response."""


async def _page(reply: _Reply) -> None:
    body = f"<html>{reply.answer.words}</html>".encode()
    await reply.exchange.reply(body, status=reply.dice.choice([200, 502]), content_type="text/html")


def _refusal(status: int, *, code: str | None = None, waits: tuple[str, ...] = ("",)) -> _Response:
    """A response with this status; `waits` are the choices for its `Retry-After`, empty for none."""

    async def respond(reply: _Reply) -> None:
        wait = reply.dice.choice(waits)
        body = {"error": {"message": reply.answer.words, "code": code}}
        headers = {"retry-after": wait} if wait else {}
        await reply.exchange.reply(json.dumps(body).encode(), status=status, headers=headers)

    return respond


def _saying(*events: Any) -> _Response:
    """A stream that says one of these in the middle of the answer."""

    async def respond(reply: _Reply) -> None:
        await reply.exchange.begin()
        items = [*reply.spoken(), *reply.ending()]
        told = reply.dice.choice(events)
        items.insert(reply.dice.randrange(len(items)), told(reply.answer.words) if callable(told) else told)
        await reply.send(*items)
        await reply.exchange.end()

    return respond


async def _at_the_limit(reply: _Reply) -> None:
    """The whole text, which ends at the token limit."""
    await reply.exchange.begin()
    await reply.send(*reply.spoken(), event(finish="length"), ending(PLAIN)[-1])
    await reply.exchange.end()


def _throttled(code: Any) -> dict[str, Any]:
    return {"error": {"message": "slow down", "code": code}}


_Response = Callable[[_Reply], Awaitable[None]]

_RESPONSES: Final[Mapping[str, _Response]] = {
    "": _whole,
    "connection closed": _gone,
    "connection cut": _cut_off,
    "stream ended early": _ended_early,
    "web page": _page,
    "408": _refusal(408),
    "409": _refusal(409),
    "429": _refusal(429, waits=("", "0", "0.02")),
    "500": _refusal(500),
    "503": _refusal(503, waits=("", "0")),
    "529": _refusal(529),
    "error in the stream": _saying(*BROKEN),
    "429 in the stream": _saying(_throttled(429), _throttled("429"), _throttled("rate_limit_exceeded")),
    "finish reason error": _saying(event(finish="error"), event(finish="malformed_function_call")),
    "400": _refusal(400),
    "401": _refusal(401),
    "403": _refusal(403),
    "404": _refusal(404),
    "context overflow": _refusal(400, code="context_length_exceeded"),
    "quota": _refusal(429, code="insufficient_quota"),
    "down for good": _refusal(503),
    "away for good": _gone,
    "asks to wait an hour": _refusal(429, waits=("3600",)),
    "lasting error in the stream": _saying(
        lambda words: {"error": {"message": words, "code": "invalid_request_error"}}
    ),
    "an image": _saying(lambda words: delta(images=[{"url": words}])),
    "finish reason error for good": _saying(lambda words: event(finish="error", message=words)),
    "token limit": _at_the_limit,
}
_TRANSIENT: Final = [kind for kind in _RESPONSES if kind and kind not in FATAL]
