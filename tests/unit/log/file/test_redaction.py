"""What is taken out of an export is in no field of it, and the rest keeps its form: it can be played, and looked into."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.converse import Message
from playhead.runtime.core.events import Projection
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.records import ModelChunk, ModelStarted, RunClaimed
from playhead.runtime.log.file.log import FileLog
from playhead.runtime.log.file.redaction import Redaction, Redactor
from playhead.runtime.log.file.search import find
from playhead.runtime.log.values import EncodedEntry
from playhead.runtime.models import chunks as c
from tests.support.told_runs import DEFINITION, PIECES, SAID

__all__: list[str] = []

pytestmark = pytest.mark.anyio

Exported = Callable[..., Awaitable[Path]]
KEY = "sk-12345"


def places(path: Path, pattern: str = KEY) -> list[str]:
    return [found.where for found in find(path, [re.compile(pattern)])]


def said_by(messages: Sequence[Message]) -> list[str]:
    return [str(block.get("text")) for message in messages for block in message.get("content", [])]


async def test_a_pattern_is_taken_out_of_every_field_also_of_what_was_streamed_in_pieces(exported: Exported) -> None:
    found = places(await exported("r"))
    assert found == [
        "message.content.0.text",
        "message.added.message.content.0.text",
        "model.chunk, over several records",
        "model.chunk, over several records",
        "tool.finished.result.content.0.json, in the name of a field",
        "tool.finished.result.content.0.json.*.0",
    ]
    path = await exported("r", redaction=Redaction(patterns=[KEY, "^12345$"]))
    assert places(path) == []
    assert "12345" not in path.read_text()
    with FileLog(path) as file:
        entries = await file.read("r")
        projection = Projection("r")
        events = [event for entry in entries for event in projection.feed(entry)]
        said = [event["data"] for event in events if "data" in event]
        assert [len(text) for text in said] == [len(text) for text in PIECES]
        assert "".join(said) == "Your key is xxxxxxxx, Ada."
        calls = [event["current_tool_use"]["input"] for event in events if "current_tool_use" in event]
        assert calls[-1] == '{"key": "xxxxxxxx"}'
        assert said_by(fold(entries).messages)[-1] == "Your key is xxxxxxxx, Ada."
        assert said_by(await file.messages("ada")) == ["My key is xxxxxxxx.", "I keep it."]


async def test_a_redacted_definition_has_its_own_digest_and_the_claims_name_it(exported: Exported) -> None:
    path = await exported("r", redaction=Redaction(paths=["definition:system_prompt"]))
    with FileLog(path) as file:
        claims = {entry.record.definition for entry in await file.read("r") if isinstance(entry.record, RunClaimed)}
        (digest,) = claims
        assert digest != DEFINITION.stored().digest
        definition = await file.definition("r", digest)
        assert definition is not None
        assert (definition.system_prompt, definition.agent) == ("xx xxxxxx xxxx", "teller")
        assert definition.stored().digest == digest


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("message:content.*.text", ["xx xxx xx xxxxxxxxx", "x xxxx xxx"]),
        ("message:content.0.text", ["xx xxx xx xxxxxxxxx", "x xxxx xxx"]),
        ("message:**.text", ["xx xxx xx xxxxxxxxx", "x xxxx xxx"]),
        ("message:content", ["xx xxx xx xxxxxxxxx", "x xxxx xxx"]),
        ("*:content.*.text", ["xx xxx xx xxxxxxxxx", "x xxxx xxx"]),
        ("message:content.1.text", said_by(SAID)),
        ("message:text", said_by(SAID)),
        ("run.submitted:prompt", said_by(SAID)),
    ],
)
async def test_a_path_names_what_is_taken_out(exported: Exported, path: str, expected: list[str]) -> None:
    with FileLog(await exported("r", redaction=Redaction(paths=[path]))) as file:
        assert said_by(await file.messages("ada")) == expected


async def test_every_text_can_be_taken_out_and_the_run_still_plays(exported: Exported) -> None:
    rules = ["*:**.text", "*:**.input", "*:prompt", "definition:system_prompt", "tool.finished:result.content"]
    path = await exported("r", redaction=Redaction(paths=rules))
    for secret in ("Ada", "What is it", "I keep it", "12345"):
        assert places(path, secret) == [
            "tool.finished.result.content.0.json, in the name of a field" for _ in range(secret == "12345")
        ]
    with FileLog(path) as file:
        projection = Projection("r")
        events = [event for entry in await file.read("r") for event in projection.feed(entry)]
        assert [event["data"] for event in events if "data" in event] == [re.sub(r"\S", "x", text) for text in PIECES]
        assert projection.ended


async def test_two_sessions_never_get_one_name(exported: Exported) -> None:
    path = await exported("r", "s", sessions=["ada", "bob"], redaction=Redaction(paths=["run:session", "*:session"]))
    with FileLog(path) as file:
        names = [info.session for info in await file.runs()]
    assert sorted(map(str, names)) == ["xx1", "xxx"]


async def test_a_function_sees_each_value_with_its_kind_and_gives_what_is_written(exported: Exported) -> None:
    kinds: set[str] = set()

    def function(kind: str, value: dict[str, Any]) -> dict[str, Any]:
        kinds.add(kind)
        return {**value, "prompt": "something else"} if kind == "run.submitted" else value

    with FileLog(await exported("r", redaction=Redaction(function=function))) as file:
        (first,) = await file.read("r", limit=1)
        assert dict(first.record)["prompt"] == "something else"
    assert {"run", "message", "definition", "run.submitted", "model.chunk", "message.added"} <= kinds


async def test_what_could_not_be_read_after_a_redaction_is_refused(exported: Exported) -> None:
    def function(kind: str, value: dict[str, Any]) -> dict[str, Any]:
        return {} if kind == "message.added" else value

    with pytest.raises(ValueError, match=r"record \d+ of run r could not be read after the redaction"):
        await exported("r", redaction=Redaction(function=function))


@pytest.mark.parametrize("wrong", ["text", "message", "message:", "tool:result", "nothing.known:a"])
def test_a_path_without_a_kind_is_refused_with_the_kinds_there_are(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"is not a path .* KIND is one of \*, run, message, definition, model.chunk"):
        Redaction(paths=[wrong])


def test_a_malformed_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'\(' is not a regular expression"):
        Redaction(patterns=["("])


def written(redaction: Redaction, records: list[bytes]) -> list[bytes]:
    redactor = Redactor(redaction, "r")
    entries = [EncodedEntry(seq, 1, data) for seq, data in enumerate(records, start=1)]
    found = [entry for one in entries for entry in redactor.feed(one)] + redactor.rest()
    assert [entry.seq for entry in found] == [entry.seq for entry in entries]
    return [entry.data for entry in found]


def chunk(value: Any) -> bytes:
    return encode_record(ModelChunk(at=1, chunk=value))


def test_a_secret_over_a_takeover_is_found_when_the_next_owner_continues_the_text() -> None:
    claimed = encode_record(RunClaimed(at=1, worker="w"))
    continued = [claimed, encode_record(ModelStarted(at=1, continues=True)), chunk(c.block_start())]
    records = [chunk(c.text_delta("my sk-")), *continued, chunk(c.text_delta("77 "))]
    assert written(Redaction(patterns=["sk-77"]), records)[-1] == chunk(c.text_delta("xx "))
    again = [claimed, encode_record(ModelStarted(at=1))]
    records = [chunk(c.text_delta("my sk-")), *again, chunk(c.text_delta("77 "))]
    assert written(Redaction(patterns=["sk-77"]), records) == records


def test_the_json_of_a_tools_input_can_still_be_parsed() -> None:
    records = [chunk(c.tool_delta('{"a": "p\\"q\\u00')), chunk(c.tool_delta('e4"}'))]
    first, second = written(Redaction(patterns=["p.*4"]), records)
    assert (first, second) == (chunk(c.tool_delta('{"a": "x\\"x\\u00')), chunk(c.tool_delta('78"}')))


def test_records_that_this_version_cannot_read_are_redacted_too() -> None:
    newer, foreign = b"\x93\x09\x05\xa5sk-77", b"\xffsk-77"
    assert written(Redaction(patterns=["sk-77"]), [newer, foreign]) == [b"\x93\x09\x05\xa5xxxxx", b"xxxxxx"]


@given(st.lists(st.text("sk-12 ", max_size=4), max_size=12), st.booleans())
def test_no_match_is_left_however_a_text_is_cut_into_pieces(pieces: list[str], tool: bool) -> None:
    delta = c.tool_delta if tool else c.text_delta
    found = written(Redaction(patterns=["k-1+"]), [chunk(delta(piece)) for piece in pieces])
    whole = re.sub("k-1+", lambda match: "x" * len(match[0]), "".join(pieces))
    start = 0
    for data, piece in zip(found, pieces, strict=True):
        assert data == chunk(delta(whole[start : start + len(piece)]))
        start += len(piece)
