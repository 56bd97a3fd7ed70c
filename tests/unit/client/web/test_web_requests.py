"""What a request asks for: the form, and the place in the run."""

from __future__ import annotations

import importlib
import sys

import pytest

from playhead.client.web.request import Media, asked_cursor, asked_media

__all__: list[str] = []


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "sse"),
        ("*/*", "sse"),
        ("text/event-stream", "sse"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "sse"),
        ("application/x-ndjson", "jsonl"),
        ("Application/JSONL", "jsonl"),
        ("text/plain", "text"),
        ("text/plain;q=0.5, application/jsonl", "jsonl"),
        ("text/plain; charset=utf-8; q=0.9, text/event-stream; q=0.1", "text"),
        ("text/plain;q=0, text/event-stream;q=0.1", "sse"),
        ("image/png", None),
        ("text/plain;q=0", None),
        ("text/plain;q=much", None),
        (",;,", None),
    ],
)
def test_the_form_is_the_one_that_the_request_prefers(accept: str, media: Media | None):
    assert asked_media(accept) == media


@pytest.mark.parametrize("given", ["41", "41-2", "41-2.0", "0"])
def test_a_cursor_is_taken_with_its_run_and_without(given: str):
    assert asked_cursor("0-r.un_1", f"0-r.un_1:{given}") == given
    assert asked_cursor("0-r.un_1", given) == given


def test_a_request_without_a_cursor_names_none():
    assert asked_cursor("run", "") is None


@pytest.mark.parametrize(
    "given", ["run:", ":", "run:4x", "-1", "4-1-1", "41-2\n", "run 41", "१", "9" * 40, "run:" + "9" * 900]
)
def test_what_is_not_a_cursor_is_refused(given: str):
    with pytest.raises(ValueError, match="is not a cursor") as refused:
        asked_cursor("run", given)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("given", ["other:41-2", ":41", "run:run:41"])
def test_a_cursor_of_another_run_is_refused(given: str):
    with pytest.raises(ValueError, match=r"is a cursor of run .*, not of run run"):
        asked_cursor("run", given)


def test_without_starlette_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.delitem(sys.modules, "playhead.client.web")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'playhead-client\[web\]'") as missing:
        importlib.import_module("playhead.client.web")
    assert missing.value.name == "starlette"
