"""A model that plays a script: deterministic and offline, for the tests of applications that use playhead."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import anyio
import anyio.lowlevel

from playhead.runtime.core.arguments import check_flag, check_items, check_number
from playhead.runtime.core.converse import Chunk, Messages, ToolChoice, ToolSpec
from playhead.runtime.core.model_input import ModelRequest
from playhead.runtime.core.records import Entry
from playhead.runtime.core.system_prompt import beside_text
from playhead.runtime.models import chunks as c
from playhead.runtime.models.recorded import HasEntries, ScriptedCall, recorded_calls

__all__ = ["Script", "ScriptedCall", "ScriptedModel", "text_call", "tool_call"]


Answer = str | Sequence[Chunk] | ScriptedCall
Script = Answer | Callable[[Messages], Answer]
"""One model call: text, chunks, a `ScriptedCall`, or a function from the history to one of these."""


def text_call(text: str, *, stop_reason: str = "end_turn") -> list[Chunk]:
    """The chunks of a text message, one delta per word; joined, the deltas are exactly `text`.

    The usage is 10 input tokens and one output token per word, so that tests have fixed numbers.
    """
    words = _words(text)
    return [*_opening(), *_text_block(words), *_closing(stop_reason, output_tokens=len(words))]


def tool_call(name: str, tool_input: dict[str, Any], tool_use_id: str = "t1", text: str | None = None) -> list[Chunk]:
    """The chunks of a message with one tool call, after `text` if given; the input's JSON comes in two pieces."""
    words = _words(text or "")
    json_text = json.dumps(tool_input)
    middle = len(json_text) // 2
    call = [
        c.tool_start(tool_use_id, name),
        c.tool_delta(json_text[:middle]),
        c.tool_delta(json_text[middle:]),
        c.block_stop(),
    ]
    said = _text_block(words) if words else []
    return [*_opening(), *said, *call, *_closing("tool_use", output_tokens=len(words) + 2)]


@dataclass(eq=False)
class ScriptedModel:
    """A `Model` whose n-th call plays the n-th script.

    Args:
        calls: One script per model call. A script is text (streamed word by word), a list of chunks, a `ScriptedCall`
            (chunks, then an error), or a function that gets the messages and returns one of these.
        delay: Seconds between chunks. At 0 the model yields to the event loop exactly once per call.
        repeat: Start over after the last script instead of failing.
        continues_partial: Whether the model can continue a partial message. A text script is then played from the end
            of the assistant message at the end of the history, if the script begins with that message.

    Attributes:
        requests: Deep copies of what each call received, in order.

    `stream` raises ValueError when no script is left, and `ScriptedCall.error` if one is scripted. Chunks are yielded
    as scripted, not copied: changing one changes the script. The position belongs to this object: a model built in
    another process starts at the first script.
    """

    calls: Sequence[Script]
    delay: float = field(default=0.0, kw_only=True)
    repeat: bool = field(default=False, kw_only=True)
    continues_partial: bool = field(default=False, kw_only=True)
    requests: list[ModelRequest] = field(default_factory=list[ModelRequest], init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.calls, str) or any(isinstance(script, dict) for script in self.calls):
            raise TypeError(
                f"ScriptedModel takes a list with one script per model call, not {self.calls!r:.80}; "
                "for a single call wrap it: ScriptedModel([script])."
            )
        check_items("calls", self.calls, object, each="a script")
        for number, script in enumerate(self.calls):
            if not (isinstance(script, Sequence | ScriptedCall) or callable(script)):
                raise TypeError(
                    f"calls[{number}] must be a text, a list of chunks, a ScriptedCall or a function, not {script!r:.80}"
                )
        check_number("delay", self.delay)
        check_flag("repeat", self.repeat)
        check_flag("continues_partial", self.continues_partial)

    @classmethod
    def from_run(cls, run: Iterable[Entry] | HasEntries, *, delay: float = 0.0) -> Self:
        """Make a model that repeats a recorded run's messages, call by call, and fails where its model failed.

        A call that broke off and was made again, as after a takeover, is left out; one that broke off and was continued
        is one message. The messages do not depend on the requests.

        Args:
            run: The entries of the run from record 1 on, or an object with them in its attribute `entries`.
            delay: Seconds between chunks.
        """
        entries = run.entries if isinstance(run, HasEntries) else run
        return cls(recorded_calls(entries), delay=delay)

    def with_params(self, params: Mapping[str, Any]) -> Self:
        """This model: a script does not depend on parameters."""
        del params
        return self

    async def stream(
        self,
        messages: Messages,
        tool_specs: list[ToolSpec] | None = None,
        system_prompt: str | None = None,
        *,
        tool_choice: ToolChoice | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[Chunk, None]:
        """Play the next script; see the class."""
        number = len(self.requests)
        content = beside_text(system_prompt, kwargs.get("system_prompt_content"))
        self.requests.append(copy.deepcopy(ModelRequest(messages, tool_specs, system_prompt, tool_choice, content)))
        call = self._call(number, messages)
        await anyio.lowlevel.checkpoint()
        for chunk in call.chunks:
            if self.delay > 0:
                await anyio.sleep(self.delay)
            yield chunk
        if call.error is not None:
            raise call.error

    def _call(self, number: int, messages: Messages) -> ScriptedCall:
        if not self.calls or (number >= len(self.calls) and not self.repeat):
            raise ValueError(
                f"model call {number + 1} has no script: {len(self.calls)} were given. "
                "Add a script, or pass repeat=True to start over."
            )
        script = self.calls[number % len(self.calls)]
        played = script(copy.deepcopy(messages)) if callable(script) else script
        if isinstance(played, ScriptedCall):
            return played
        if isinstance(played, str) and self.continues_partial:
            played = played.removeprefix(_partial_message(messages))
        return ScriptedCall(text_call(played) if isinstance(played, str) else played)


def _partial_message(messages: Messages) -> str:
    if not messages or messages[-1].get("role") != "assistant":
        return ""
    return "".join(block.get("text", "") for block in messages[-1].get("content", []))


def _words(text: str) -> list[str]:
    """Split `text` before each gap, so that the joined pieces equal it."""
    return re.findall(r"\s*\S+|\s+", text)


def _opening() -> list[Chunk]:
    return [c.message_start()]


def _text_block(words: list[str]) -> list[Chunk]:
    return [c.block_start(), *(c.text_delta(word) for word in words), c.block_stop()]


def _closing(stop_reason: str, *, output_tokens: int) -> list[Chunk]:
    return [c.message_stop(stop_reason), c.metadata(input_tokens=10, output_tokens=output_tokens, latency_ms=0)]
