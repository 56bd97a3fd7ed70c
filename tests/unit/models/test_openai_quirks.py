"""The habits of OpenAI-compatible servers whose answers are understood: each comes out whole. See docs/providers.md."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.models.openai_streams import DONE, Answer, call, delta, event, read, sse

__all__: list[str] = []

STOP = event(finish="stop")
CALLED = event(finish="tool_calls")
HI = delta(content="Hi")
BERN, ROME = '{"city": "Bern"}', '{"city": "Rome"}'
LOOK: tuple[str, Any] = ("look", {"city": "Bern"})
LOOK_ROME: tuple[str, Any] = ("look", {"city": "Rome"})


def whole(**fields: Any) -> dict[str, Any]:
    """An event with a `message` beside an empty delta."""
    return {"choices": [{"delta": {}, "message": {"role": "assistant", **fields}}]}


TEXT: dict[str, list[Any]] = {
    "a str": [delta(content="He"), delta(content="llo")],
    "a part": [delta(content=[{"type": "text", "text": "Hello"}])],
    "parts": [delta(content=[{"type": "text", "text": "He"}, {"type": "output_text", "text": "llo"}])],
    "a part that is not in a list": [delta(content={"type": "text", "text": "Hello"})],
    "a part that is a str": [delta(content=["Hello"])],
    "a part with a value": [delta(content=[{"type": "text", "text": {"value": "Hello"}}])],
    "a part and a reference": [delta(content=[{"type": "text", "text": "Hello"}, {"type": "reference", "ids": [1]}])],
    "a refusal": [delta(refusal="Hello")],
    "a part that is a refusal": [delta(content=[{"type": "refusal", "refusal": "Hello"}])],
    "message instead of delta": [{"choices": [{"message": {"role": "assistant", "content": "Hello"}}]}],
    "message instead of delta, in pieces": [{"choices": [{"message": {"content": piece}}]} for piece in ("Hel", "lo")],
    "message beside an empty delta": [{"choices": [{"delta": {"role": "assistant"}, "message": {"content": "Hello"}}]}],
    "message beside a delta that says the same": [
        {"choices": [{"delta": {"content": piece}, "message": {"content": piece}}]} for piece in ("Hel", "lo")
    ],
    "a whole message after its deltas": [
        delta(content="Hello"),
        {"object": "chat.completion", "choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]},
    ],
    "the message so far beside each delta": [
        {"choices": [{"delta": {"content": "Hel"}, "message": {"content": "Hel"}}]},
        {"choices": [{"delta": {"content": "lo"}, "message": {"content": "Hello"}}]},
        {"choices": [{"delta": {"role": "assistant", "content": ""}, "message": {"content": "Hello"}}]},
    ],
    "a whole message that says more than its deltas": [delta(content="Hel"), whole(content="Hello")],
    "a whole message without the white space at its end": [delta(content="Hello\n"), whole(content="Hello")],
    "a whole message without its text": [delta(content="Hello"), whole(content=None)],
    "a whole message, twice": [delta(content="Hello"), whole(content="Hello"), whole(content="Hello")],
    "a whole message with its text in parts": [
        delta(content="Hello"),
        whole(content=[{"type": "text", "text": "Hello"}]),
    ],
    "a whole message that refuses, too": [delta(refusal="Hello"), whole(content=None, refusal="Hello")],
    "text of the older API": [{"choices": [{"text": "Hello", "index": 0}]}],
    "a choice that is not in a list": [{"choices": {"delta": {"content": "Hello"}}}],
    "the only choice has another number": [{"choices": [{"index": 1, "delta": {"content": "Hello"}}]}],
    "Ollama's own form": [{"model": "m", "message": {"role": "assistant", "content": "Hello"}, "done": False}],
}


@pytest.mark.parametrize("name", TEXT)
def test_text_in_any_form_arrives_whole(name: str) -> None:
    answer = read(*TEXT[name], *([] if "number" in name else [STOP]), DONE)
    assert (answer.text.rstrip(), answer.reasoning, answer.calls, answer.stop_reason) == ("Hello", "", [], "end_turn")


REASONING: dict[str, list[Any]] = {
    "reasoning_content": [delta(reasoning_content="h"), delta(reasoning_content="m")],
    "reasoning": [delta(reasoning="hm")],
    "both, with the same text": [delta(reasoning="hm", reasoning_content="hm")],
    "an object": [delta(reasoning={"content": "hm"})],
    "thinking": [delta(thinking="hm")],
    "a part with parts": [delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])],
    "a part with text": [delta(content=[{"type": "reasoning", "text": "hm"}])],
    "details": [delta(reasoning_details=[{"type": "reasoning.text", "text": "hm", "index": 0}])],
    "details beside the text": [delta(reasoning="hm", reasoning_details=[{"type": "reasoning.text", "text": "hm"}])],
    "and again in a whole message": [delta(reasoning="hm"), HI, whole(content="Hi", reasoning="hm")],
    "and again under another name": [delta(reasoning="hm"), HI, whole(content="Hi", reasoning_content="hm")],
    "in a whole message alone": [whole(reasoning_content="hm", content="Hi")],
    "in a whole message after the text": [HI, whole(content="Hi", reasoning_content="hm")],
    "a summary": [delta(reasoning_details=[{"type": "reasoning.summary", "summary": "hm"}])],
}


@pytest.mark.parametrize("name", REASONING)
def test_reasoning_under_any_name_arrives_once(name: str) -> None:
    answer = read(*REASONING[name], *([] if "whole" in name or "again" in name else [HI]), STOP, DONE)
    assert (answer.reasoning, answer.text, sorted(answer.kinds)) == ("hm", "Hi", ["reasoningContent", "text"])


def test_encrypted_reasoning_between_two_pieces_does_not_cut_the_text() -> None:
    sealed = delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}])
    answer = read(delta(content="He"), sealed, delta(content="llo"), STOP, DONE)
    assert answer.kinds == ["text", "reasoningContent"]
    assert answer.message.get("content", [])[0] == {"text": "Hello"}


def whole_call(arguments: Any, **more: Any) -> dict[str, Any]:
    """An event with a `message` that holds one call."""
    return whole(tool_calls=[{"function": {"name": "look", "arguments": arguments}, **more}])


ARGUMENTS: dict[str, list[Any]] = {
    "pieces": [call("look", "", id="a"), call(None, '{"city"'), call(None, ': "Bern"}')],
    "an object": [call("look", {"city": "Bern"}, id="a")],
    "an empty object first": [call("look", "{}", id="a"), call(None, BERN)],
    "an empty object first, then pieces": [call("look", "{}", id="a"), call(None, '{"city"'), call(None, ': "Bern"}')],
    "an object first, then text": [call("look", {}, id="a"), call(None, BERN)],
    "an empty object last": [call("look", BERN, id="a"), call(None, "{}")],
    "null first": [call("look", "null", id="a"), call(None, BERN)],
    "sent twice": [call("look", BERN, id="a"), call(None, BERN)],
    "sent twice in pieces": [call("look", BERN, id="a"), call(None, '{"city"'), call(None, ':"Bern"}')],
    "sent twice with everything": [call("look", BERN, id="a"), call("look", BERN, id="a")],
    "a JSON string": [call("look", json.dumps(BERN), id="a")],
    "in the call itself": [delta(tool_calls=[{"index": 0, "id": "a", "name": "look", "arguments": BERN}])],
    "a call that is not in a list": [delta(tool_calls={"id": "a", "function": {"name": "look", "arguments": BERN}})],
    "the older function_call": [delta(function_call={"name": "look"}), delta(function_call={"arguments": BERN})],
    "arguments before the name": [call(None, BERN, id="a"), call("look", "")],
    "and again in a whole message": [
        call("look", '{"city"', id="a"),
        call(None, ': "Bern"}'),
        whole_call(BERN, id="a"),
    ],
    "and again, as an object": [call("look", BERN, id="a"), whole_call({"city": "Bern"})],
    "and an empty object in a whole message": [call("look", BERN, id="a"), whole_call("{}", id="a")],
    "in a whole message, after an empty object": [call("look", "{}", id="a"), whole_call(BERN)],
    "in a whole message, after the name": [call("look", "", id="a"), whole_call(BERN)],
    "in a whole message, after a fragment of the name": [call("lo", "", id="a"), whole_call(BERN)],
    "in a whole message alone": [whole_call(BERN, id="a")],
    "a line break in a text": [call("look", BERN.replace("Bern", "Be\nrn"), id="a")],
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_in_any_form_are_read(name: str) -> None:
    answer = read(*ARGUMENTS[name], CALLED, DONE)
    city = "Be\nrn" if "line break" in name else "Bern"
    assert (answer.calls, answer.stop_reason) == ([("look", {"city": city})], "tool_use")


UNREAD: dict[str, list[Any]] = {
    '{"city": "Be': [call("look", '{"city": "Be', id="a")],
    BERN + ROME: [call("look", BERN, id="a"), call(None, ROME)],
    "city=Bern": [call("look", "city=Bern", id="a")],
    '{"n": NaN}': [call("look", '{"n": NaN}', id="a")],
    '{"city": ' + BERN: [call("look", '{"city": ', id="a"), call("look", BERN)],
}


@pytest.mark.parametrize("text", UNREAD)
@pytest.mark.parametrize("finish", [CALLED, STOP])
def test_arguments_that_cannot_be_read_are_kept_as_they_came(text: str, finish: Any) -> None:
    answer = read(*UNREAD[text], finish, DONE)
    assert answer.calls == [("look", text)]


ONE_CALL: dict[str, list[Any]] = {
    "no id": [call("look", BERN)],
    "an empty id": [call("look", BERN, id="")],
    "an id that is a number": [call("look", BERN, id=7)],
    "an id after the name": [call("look", ""), call(None, BERN, id="a")],
    "another id in each delta": [call("look", "", id="a"), call(None, '{"city": ', id="b"), call(None, '"Bern"}', id="c")],
    "the same id in each delta": [call("look", "", id="a"), call(None, '{"city": ', id="a"), call(None, '"Bern"}', id="a")],
    "another id and the name in each delta": [call("look", "", id="a"), call("look", '{"city": ', id="b"), call("look", '"Bern"}', id="c")],
    "the name in each delta": [call("look", ""), call("look", '{"city": '), call("look", '"Bern"}')],
    "the name again at the end": [call("look", BERN), call("look", "")],
    "an index that counts deltas": [call("look", "", id="a"), call(None, '{"city": ', index=1, id="a"), call(None, '"Bern"}', index=2, id="a")],
    "no index": [call("look", "", index=None, id="a"), call(None, BERN, index=None)],
    "an index only at first": [call("look", "", id="a"), call(None, BERN, index=None)],
    "an index that is text": [call("look", "", index="0", id="a"), call(None, BERN, index="0")],
    "the name in fragments": [call("lo", "", id="a"), call("ok", ""), call(None, BERN)],
    "the name so far": [call("lo", "", id="a"), call("look", ""), call(None, BERN)],
    "a name in fragments with other ids": [call("lo", "", id="a"), call("ok", "", id="b"), call(None, BERN, id="c")],
    "an empty delta of another index": [call("look", BERN, id="a"), call(None, "", index=1)],
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_CALL)
def test_one_call_stays_one_call(name: str) -> None:
    answer = read(*ONE_CALL[name], CALLED, DONE)
    assert answer.calls == [LOOK]
    assert answer.ids[0]


@pytest.mark.parametrize(
    "name", ["another id in each delta", "the name in each delta", "no index", "the same id in each delta"]
)
def test_one_call_stays_one_call_if_the_tools_are_not_known(name: str) -> None:
    assert read(*ONE_CALL[name], CALLED, DONE, tools=()).calls == [LOOK]


TWO_CALLS: dict[str, list[Any]] = {
    "two indexes": [call("look", BERN, id="a"), call("look", ROME, index=1, id="b")],
    "one index, two ids": [call("look", BERN, id="a"), call("look", ROME, id="b")],
    "one index, no id": [call("look", BERN), call("look", ROME)],
    "one index, empty ids": [call("look", BERN, id=""), call("look", ROME, id="")],
    "one index, one id": [call("look", BERN, id="a"), call("look", ROME, id="a")],
    "two indexes, one id": [call("look", BERN, id="a"), call("look", ROME, index=1, id="a")],
    "no index, no id": [call("look", BERN, index=None), call("look", ROME, index=None)],
    "no index, two ids": [call("look", BERN, index=None, id="a"), call("look", ROME, index=None, id="b")],
    "one index, no id, in pieces": [call("look", '{"city": '), call(None, '"Bern"}'), call("look", '{"city": '), call(None, '"Rome"}')],
    "one index, no id, the name alone": [call("look", ""), call(None, BERN), call("look", ""), call(None, ROME)],
    "one index, two ids, mixed": [call("look", '{"city": ', id="a"), call("look", '{"city": ', index=1, id="b"), call(None, '"Bern"}', id="a"), call(None, '"Rome"}', index=1, id="b")],
    "no index, two ids, mixed": [call("look", '{"city": ', index=None, id="a"), call("look", '{"city": ', index=None, id="b"), call(None, '"Bern"}', index=None, id="a"), call(None, '"Rome"}', index=None, id="b")],
    "both in one delta": [delta(tool_calls=[{"function": {"name": "look", "arguments": text}} for text in (BERN, ROME)])],
    "text between them": [call("look", BERN, id="a"), delta(content="\n"), call("look", ROME, id="b")],
    "the second sent after an empty object": [call("look", BERN, id="a"), call("look", "{}", index=1, id="b"), call(None, ROME, index=1)],
}  # fmt: skip


@pytest.mark.parametrize("name", TWO_CALLS)
def test_two_calls_stay_two_calls(name: str) -> None:
    answer = read(*TWO_CALLS[name], CALLED, DONE)
    assert answer.calls == [LOOK, LOOK_ROME]
    assert len(set(answer.ids)) == 2


def test_a_call_that_only_the_whole_message_has_is_taken_and_its_fields_go_back() -> None:
    calls = [
        {"id": id_, "function": {"name": "look", "arguments": text}, "sig": id_}
        for id_, text in (("a", BERN), ("b", ROME))
    ]
    answer = read(HI, call("look", BERN, id="a"), whole(content="Hi", tool_calls=calls), CALLED, DONE)
    assert (answer.text, answer.calls, answer.ids) == ("Hi", [LOOK, LOOK_ROME], ["a", "b"])
    uses = [block["toolUse"] for block in answer.message.get("content", []) if "toolUse" in block]
    assert [use["providerFields"]["fields"] for use in uses] == [{"sig": "a"}, {"sig": "b"}]


def test_two_calls_without_arguments_are_told_apart_by_their_names() -> None:
    answer = read(call("look", ""), call("add", ""), CALLED, DONE)
    assert answer.calls == [("look", {}), ("add", {})]


FINISH: dict[str, tuple[list[Any], str]] = {
    "stop": ([STOP], "end_turn"),
    "STOP": ([event(finish="STOP")], "end_turn"),
    "eos": ([event(finish="eos")], "end_turn"),
    "stop sequence": ([event(finish="stop_sequence")], "stop_sequence"),
    "length": ([event(finish="length")], "max_tokens"),
    "MAX_TOKENS": ([event(finish="MAX_TOKENS")], "max_tokens"),
    "length, then stop": ([event(finish="length"), STOP], "max_tokens"),
    "content_filter": ([event(finish="content_filter")], "content_filtered"),
    "SAFETY": ([event(finish="SAFETY")], "content_filtered"),
    "unknown": ([event(finish="because")], "because"),
    "an empty one, then stop": ([event(finish=""), STOP], "end_turn"),
    "tool_calls without a call": ([CALLED], "end_turn"),
}


@pytest.mark.parametrize("name", FINISH)
def test_the_finish_reason_says_how_the_message_ended(name: str) -> None:
    events, reason = FINISH[name]
    assert read(HI, *events, DONE).stop_reason == reason


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call", "because"])
def test_a_call_is_a_tool_use_whatever_the_finish_reason(finish: str) -> None:
    assert read(call("look", BERN), event(finish=finish), DONE).stop_reason == "tool_use"


@pytest.mark.parametrize("early", [[delta(finish="stop", content="H")], [STOP, delta(content="H")]])
def test_what_comes_after_an_early_finish_reason_is_not_lost(early: list[Any]) -> None:
    answer = read(*early, delta(finish="stop", content="i"), call("look", BERN), CALLED, DONE)
    assert (answer.text, answer.calls, answer.stop_reason) == ("Hi", [LOOK], "tool_use")


def test_done_without_a_finish_reason_is_accepted_with_a_note() -> None:
    answer = read(HI, event(), DONE)
    assert (answer.text, answer.stop_reason) == ("Hi", "end_turn")
    (stop,) = [chunk["messageStop"] for chunk in answer.chunks if "messageStop" in chunk]
    assert "without a finish reason" in stop["additionalModelResponseFields"]["note"]


USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
COUNTED: dict[str, list[Any]] = {
    "an event without choices": [STOP, {"choices": [], "usage": USAGE}],
    "choices null": [STOP, {"choices": None, "usage": USAGE}],
    "no choices": [STOP, {"usage": USAGE}],
    "the last choice": [event(finish="stop", usage=USAGE)],
    "in the choice": [{"choices": [{"delta": {}, "finish_reason": "stop", "usage": USAGE}]}],
    "in the delta": [delta(finish="stop", usage=USAGE, content=None)],
    "Groq": [event(finish="stop", x_groq={"id": "r", "usage": USAGE})],
    "every event": [delta(content="", usage={**USAGE, "completion_tokens": 1}), event(finish="stop", usage=USAGE)],
    "zeros at the end": [event(finish="stop", usage=USAGE), {"choices": [], "usage": dict.fromkeys(USAGE, 0)}],
    "other names": [event(finish="stop", usage={"input_tokens": 3, "output_tokens": 4})],
}


@pytest.mark.parametrize("name", COUNTED)
def test_usage_is_found_in_any_place(name: str) -> None:
    usage = read(HI, *COUNTED[name], DONE).message.get("metadata", {})["usage"]
    assert usage == {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}


@pytest.mark.parametrize(
    "usage", [None, {}, [], "many", {"prompt_tokens": "3"}, {"prompt_tokens": None}, {"prompt_tokens": -1}]
)
def test_usage_that_makes_no_sense_counts_as_none(usage: Any) -> None:
    assert read(HI, event(finish="stop", usage=usage), DONE).message.get("metadata", {})["usage"]["inputTokens"] == 0


NO_OPS: dict[str, bytes] = {
    "retry": b"retry: 3000\n\n",
    "id": b"id: 1\n\n",
    "id and a comment": b"id: 1\n: ping\n\n",
    "event": b"event: ping\n\n",
    "comment": b": OPENROUTER PROCESSING\n\n",
    "empty data": b"data:\n\n",
    "blank data": b"data: \n\n",
    "unknown field": b"foo: bar\n\n",
    "blank lines": b"\n\n\n",
    "null": b"data: null\n\n",
    "ping": b'event: ping\ndata: {"type": "ping"}\n\n',
    "an event without choices": sse({"choices": None}),
    "an event without anything": sse({}),
    "no error": sse({"choices": [], "error": None}),
    "a delta that is null": sse({"choices": [{"delta": None}]}),
    "a role alone": sse(delta(role="assistant", content=None, tool_calls=None, refusal=None)),
}


@pytest.mark.parametrize("name", NO_OPS)
@pytest.mark.parametrize("place", range(3))
def test_events_that_say_nothing_are_passed_over(name: str, place: int) -> None:
    items: list[Any] = [delta(content="H"), delta(content="i"), STOP, DONE]
    items.insert(place, NO_OPS[name])
    assert read(*items).text == "Hi"


FRAMES: dict[str, bytes] = {
    "line feeds": sse(HI, STOP, DONE),
    "carriage returns": sse(HI, STOP, DONE).replace(b"\n", b"\r"),
    "both": sse(HI, STOP, DONE).replace(b"\n", b"\r\n"),
    "no space": sse(HI, STOP, DONE).replace(b"data: ", b"data:"),
    "a byte order mark": b"\xef\xbb\xbf" + sse(HI, STOP, DONE),
    "no blank line at the end": sse(HI, STOP, DONE).rstrip(b"\n"),
    "no blank lines": sse(HI, STOP, DONE).replace(b"\n\n", b"\n"),
    "named events": sse(HI, STOP, DONE).replace(b"data: {", b"event: completion\ndata: {"),
    "an id in each event": sse(HI, STOP, DONE).replace(b"data: {", b"id: 7\ndata: {"),
    "JSON over two lines": sse(HI, STOP, DONE).replace(b'"choices"', b'\ndata: "choices"'),
    "an event in each line": b"".join(json.dumps(each).encode() + b"\n" for each in (HI, STOP)),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_the_stream_may_be_framed_in_any_way(name: str, size: int) -> None:
    assert read(FRAMES[name], size=size).text == "Hi"


WHOLE = {
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "reasoning_content": "hm",
                "content": "Hi",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "look", "arguments": BERN}}],
            },
        }
    ],
    "usage": USAGE,
}


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "text/plain", ""])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_body_in_reply_to_a_stream_request_is_the_message(content_type: str, indent: int | None) -> None:
    answer: Answer = read(json.dumps(WHOLE, indent=indent).encode(), content_type=content_type)
    assert (answer.reasoning, answer.text, answer.calls, answer.stop_reason) == ("hm", "Hi", [LOOK], "tool_use")
    assert answer.message.get("metadata", {})["usage"]["totalTokens"] == 7


def test_a_call_without_arguments_after_one_of_the_same_tool_is_not_lost() -> None:
    answer = read(call("look", BERN), call("look", "{}"), CALLED, DONE)
    assert answer.calls == [LOOK, ("look", {})]


def test_halves_of_characters_in_calls_are_joined_or_replaced() -> None:
    halves = [call("look", '{"city": "\ud83d', id="\ud83d", sig="\ud83d"), call(None, '\ude00"}')]
    answer = read(*halves, CALLED, DONE)
    assert answer.calls == [("look", {"city": "\U0001f600"})]
    assert answer.ids == ["\ufffd"]
    assert read(call("look", '{"city": "\ud83d'), CALLED, DONE).calls == [("look", '{"city": "\ufffd')]


@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_character_that_was_cut_in_two_is_joined(size: int) -> None:
    halves = [b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % half for half in (rb"a\ud83d", rb"\ude00b")]
    assert read(*halves, STOP, DONE, size=size).text == "a\U0001f600b"
    assert read(halves[0], HI, STOP, DONE, size=size).text == "a\ufffdHi"
    assert read(halves[0], STOP, DONE, size=size).text == "a\ufffd"
    assert read(halves[1], STOP, DONE, size=size).text == "\ufffdb"
