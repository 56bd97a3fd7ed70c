"""The assembler: raw chunks of any provider become the message and the events that Strands makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from playhead.runtime.core.converse import Chunk
from playhead.runtime.core.message_assembler import MessageAssembler

__all__: list[str] = []

STOP: Chunk = {"contentBlockStop": {}}
ADD = {"toolUseId": "t1", "name": "add"}


def delta(**kind: Any) -> Chunk:
    return {"contentBlockDelta": {"delta": kind}}


def start(**tool_use: Any) -> Chunk:
    return {"contentBlockStart": {"start": {"toolUse": tool_use}}}


def end(stop_reason: str) -> Chunk:
    return {"messageStop": {"stopReason": stop_reason}}


def fed(*chunks: Chunk) -> MessageAssembler:
    assembler = MessageAssembler()
    for chunk in chunks:
        assembler.feed(chunk)
    return assembler


def content(*chunks: Chunk) -> list[dict[str, Any]]:
    return fed(*chunks).message().get("content", [])


def tool_use(value: Any) -> list[dict[str, Any]]:
    return [{"toolUse": {**ADD, "input": value}}]


def test_text_blocks_are_joined() -> None:
    assembler = fed(
        {"messageStart": {"role": "assistant"}},
        {"contentBlockStart": {"start": {}}},
        delta(text="It "),
        delta(text="is 3"),
        STOP,
        delta(text="!"),
        STOP,
        end("end_turn"),
        {"metadata": {"usage": {"inputTokens": 7, "cacheReadInputTokens": 2}, "metrics": {"latencyMs": 9}}},
    )
    assert assembler.message() == {
        "role": "assistant",
        "content": [{"text": "It is 3"}, {"text": "!"}],
        "metadata": {
            "usage": {"inputTokens": 7, "outputTokens": 0, "totalTokens": 0, "cacheReadInputTokens": 2},
            "metrics": {"latencyMs": 9},
        },
    }
    assert (assembler.text, assembler.stop_reason) == ("It is 3!", "end_turn")


@pytest.mark.parametrize(
    ("parts", "value"),
    [
        (['{"a": ', "1}"], {"a": 1}),
        (["[1]"], [1]),
        ([], {}),
        ([""], {}),
        ([" \n"], {}),
        (['{"a": '], {}),
        (["nonsense"], {}),
        (["[" * 100_000], {}),
        (['{"half": "\\ud83d"}'], {"half": "\ud83d"}),
    ],
)
def test_tool_input_is_parsed_and_nonsense_is_empty(parts: list[str], value: Any) -> None:
    deltas = [delta(toolUse={"input": part}) for part in parts]
    assert content(start(**ADD), *deltas, STOP, end("tool_use")) == tool_use(value)


def test_a_call_may_be_named_in_its_deltas() -> None:
    named = delta(toolUse={**ADD, "input": "{"})
    renamed = delta(toolUse={"toolUseId": "other", "name": "other", "input": "}"})
    assert content(named, renamed, STOP) == tool_use({})


@pytest.mark.parametrize("given", [{}, {"toolUseId": "t1"}, {"name": "add"}, {"toolUseId": "", "name": "add"}])
def test_a_call_without_id_or_name_is_dropped(given: dict[str, Any]) -> None:
    assembler = fed(start(**given), delta(toolUse={"input": "{}"}), STOP, delta(text="x"), STOP, end("end_turn"))
    assert assembler.message().get("content") == [{"text": "x"}]
    assert assembler.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("said", "meant"), [("end_turn", "tool_use"), ("tool_use", "tool_use"), ("max_tokens", "max_tokens")]
)
def test_end_turn_with_calls_means_tool_use(said: str, meant: str) -> None:
    assert fed(start(**ADD), STOP, end(said)).stop_reason == meant


def test_a_stream_without_an_end_counts_as_the_end_of_the_turn() -> None:
    assert fed(delta(text="x"), STOP).stop_reason == "end_turn"


def test_reasoning_keeps_its_own_signature() -> None:
    found = content(
        delta(reasoningContent={"text": "h"}),
        delta(reasoningContent={"text": "m"}),
        delta(reasoningContent={"signature": "si"}),
        delta(reasoningContent={"signature": "g"}),
        STOP,
        delta(reasoningContent={"text": "next"}),
        STOP,
        delta(reasoningContent={"redactedContent": b"\x00"}),
        delta(reasoningContent={"redactedContent": b"\x01"}),
        STOP,
        delta(text="x"),
        STOP,
    )
    assert found == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"reasoningText": {"text": "next"}}},
        {"reasoningContent": {"redactedContent": b"\x00\x01"}},
        {"text": "x"},
    ]


def test_a_call_keeps_its_reasoning_signature() -> None:
    (block,) = content(start(**ADD, reasoningSignature="sig"), STOP)
    assert block["toolUse"] == {**ADD, "input": {}, "reasoningSignature": "sig"}


@pytest.mark.parametrize("empty", [delta(text=""), delta(reasoningContent={"text": ""}), delta(), STOP])
def test_blocks_of_nothing_are_left_out(empty: Chunk) -> None:
    assert content(empty, STOP, delta(text="x"), STOP) == [{"text": "x"}]


def test_citations_go_with_their_text() -> None:
    cited = [delta(citation={"title": "a"}), delta(text="so"), delta(citation={"title": "b"}), STOP]
    assert content(*cited, delta(text="x"), STOP) == [
        {"citationsContent": {"citations": [{"title": "a"}, {"title": "b"}], "content": [{"text": "so"}]}},
        {"text": "x"},
    ]


REDACT: Chunk = {"redactContent": {"redactAssistantContentMessage": "[removed]"}}


@pytest.mark.parametrize(
    "chunks",
    [
        (delta(text="secret"), STOP, end("guardrail_intervened"), REDACT),
        (delta(text="secret"), STOP, REDACT, end("guardrail_intervened")),
        (delta(text="secret"), REDACT, STOP, end("guardrail_intervened")),
        (REDACT, delta(text="secret"), STOP, end("guardrail_intervened")),
    ],
)
def test_what_a_guardrail_withdraws_is_not_in_the_message(chunks: tuple[Chunk, ...]) -> None:
    assert content(*chunks) == [{"text": "[removed]"}]


@pytest.mark.parametrize("verdict", [{}, {"redactUserContentMessage": "[removed]"}])
def test_a_guardrail_that_withdraws_the_input_leaves_the_message(verdict: dict[str, Any]) -> None:
    assert content(delta(text="x"), STOP, {"redactContent": verdict}) == [{"text": "x"}]


@pytest.mark.parametrize(
    ("chunk", "derived"),
    [
        (delta(text="x"), {"data": "x", "delta": {"text": "x"}}),
        (
            delta(reasoningContent={"text": "hm"}),
            {"reasoningText": "hm", "delta": {"reasoningContent": {"text": "hm"}}, "reasoning": True},
        ),
        (
            delta(reasoningContent={"signature": "s"}),
            {"reasoning_signature": "s", "delta": {"reasoningContent": {"signature": "s"}}, "reasoning": True},
        ),
        (
            delta(reasoningContent={"redactedContent": b"r"}),
            {
                "reasoningRedactedContent": b"r",
                "delta": {"reasoningContent": {"redactedContent": b"r"}},
                "reasoning": True,
            },
        ),
        (delta(citation={"title": "t"}), {"citation": {"title": "t"}, "delta": {"citation": {"title": "t"}}}),
        (delta(image={"new": 1}), None),
        (delta(reasoningContent={"new": 1}), None),
        ({"messageStart": {"role": "assistant"}}, None),
        ({"contentBlockStart": {}}, None),
        (STOP, None),
        (end("end_turn"), None),
        ({"metadata": {}}, None),
        (REDACT, None),
        ({"new": {}}, None),
        ({}, None),
    ],
)
def test_what_a_chunk_derives(chunk: Chunk, derived: dict[str, Any] | None) -> None:
    assert MessageAssembler().feed(chunk) == derived


def test_events_of_a_call_do_not_share_what_grows() -> None:
    assembler = fed(start(**ADD))
    first, second = (assembler.feed(delta(toolUse={"input": part})) for part in ('{"a":', "1}"))
    assembler.feed(STOP)
    assert first is not None
    assert second is not None
    assert first["type"] == "tool_use_stream"
    assert (first["current_tool_use"], second["current_tool_use"]) == (
        {**ADD, "input": '{"a":'},
        {**ADD, "input": '{"a":1}'},
    )
