"""The pictures of a run: lines of a terminal, SVG, and a page that is harmless and small enough whatever a run holds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from functools import partial
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from playhead.client import RunReader
from playhead.client.cli.page.axis import Axis
from playhead.client.cli.page.files import write_pictures
from playhead.client.cli.page.html import LARGEST_PAGE, RunPage
from playhead.client.cli.page.svg import timeline_svg
from playhead.client.cli.page.terminal import timeline_lines, transcript_lines
from playhead.client.tails.file_tail import file_tail
from playhead.runtime.core.codec import encode_record
from playhead.runtime.core.evolve import evolve
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.records import CycleStarted, Entry, ToolFinished, ToolStarted
from playhead.runtime.core.state import initial
from playhead.runtime.core.timeline import timeline
from playhead.runtime.core.transcript import transcript
from playhead.runtime.log.memory import MemoryLog
from playhead.runtime.log.values import EncodedEntry, ImportedRun, RunInfo
from tests.support.eventful import Eventful, eventful

__all__: list[str] = []

ENTRIES = eventful()
HOSTILE = "</script><script>alert(1)</script><!--<svg onload=alert(1)> \u2028\x1b[31m\ud800 {{data}}"


class Elements(HTMLParser):
    """The elements of a page, and the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def run_page(entries: list[Entry], **more: Any) -> str:
    page = RunPage("0-abc", **more)
    for entry in entries:
        page.add(entry)
    return page.html(status="completed")


def page_of(entries: list[Entry], **more: Any) -> tuple[str, Elements, dict[str, Any]]:
    page = run_page(entries, **more)
    elements = Elements(page)
    return page, elements, json.loads(elements.scripts[0])


def data_of(page: str) -> dict[str, Any]:
    """What a page that is too large for `Elements` has of the run."""
    return json.loads(page.partition('id="data">')[2].partition("</script>")[0])


# The axis


def test_a_long_wait_is_drawn_shorter_and_the_rest_in_proportion():
    drawn = timeline(ENTRIES)
    axis = Axis(drawn)
    places = [axis.place(entry.record.at) for entry in ENTRIES]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0.0, pytest.approx(1.0))
    (human,) = [bar for bar in drawn.bars if bar.kind == "human"]
    assert axis.is_cut(human)
    assert axis.place(human.ended) - axis.place(human.began) < 0.25
    lengths = {bar.took_ms: axis.place(bar.ended) - axis.place(bar.began) for bar in drawn.bars if bar.kind == "tool"}
    assert lengths[200] / lengths[150] == pytest.approx(200 / 150)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_that_has_only_begun_has_an_axis(count: int):
    drawn = timeline(ENTRIES[:count])
    assert 0.0 <= Axis(drawn).place(drawn.ended) <= 1.0
    ElementTree.fromstring(timeline_svg(drawn))
    page_of(ENTRIES[:count])


# A terminal


def test_a_terminal_shows_a_line_for_each_bar_within_its_width():
    drawn = timeline(ENTRIES)
    lines = [line.plain for line in timeline_lines(drawn, width=80)]
    assert len(lines) == 1 + len(drawn.bars) + 1
    assert max(map(len, lines)) <= 80
    (human,) = [line for line in lines if line.startswith("human approve")]
    assert "≈" in human
    assert human.endswith(" 60.0 s")
    assert next(line for line in lines if line.startswith("model cycle 1, try 2")).endswith(", withdrawn")


def test_of_many_bars_a_terminal_shows_the_longest_and_says_so():
    run = Eventful()
    run.opening("Hi")
    for number in range(200):
        run.add(ToolStarted(at=0, index=0, tool_use=run.call(0, f"tool{number}"), effect_key="k"))
        finished = ToolFinished(at=0, index=0, name="x", result={"toolUseId": "t0", "status": "success", "content": []})
        run.add(finished, after_ms=number)
    lines = [line.plain for line in timeline_lines(timeline(run.entries), width=100)]
    assert len(lines) == 62
    assert "141 shorter bars are left out" in lines[-1]
    assert lines[-2].startswith("tool tool199")


def test_a_transcript_does_not_control_the_terminal():
    told = transcript_lines(transcript(eventful(prompt=HOSTILE, answer=HOSTILE)))
    lines = [f"{head}{body}" for head, body in told]
    assert all(c == "\n" or c.isprintable() for line in lines for c in line)


# SVG


def test_the_svg_has_each_bar_with_its_records_and_what_it_was():
    drawn = timeline(ENTRIES)
    root = ElementTree.fromstring(timeline_svg(drawn))
    bars = [node for node in root.iter() if node.get("class") == "bar"]
    assert [(node.get("data-first"), node.get("data-last")) for node in bars] == [
        (str(bar.first), str(bar.last)) for bar in drawn.bars
    ]
    titles = [node[0].text for node in bars]
    assert titles[7] == "tool traffic: 180 ms, error, records 31 to 36"
    assert titles[-1] == "model cycle 2: 100 ms, ok, records 49 to 59, 100 + 20 tokens"


def test_numbers_of_many_cycles_do_not_overlap():
    run = Eventful()
    run.opening("Hi")
    for number in range(2, 2000):
        run.add(CycleStarted(at=0, cycle=number))
    root = ElementTree.fromstring(timeline_svg(timeline(run.entries)))
    numbers = [(float(node.get("x", "0")), node.text or "") for node in root if (node.text or "").startswith("cycle ")]
    assert 10 < len(numbers) < 50
    for (x, text), (following, _) in pairwise(numbers):
        assert x + 6 * len(text) < following


def test_a_name_cannot_break_the_svg():
    run = Eventful()
    run.opening("Hi")
    run.add(ToolStarted(at=0, index=0, tool_use=run.call(0, f'"><b>{HOSTILE}'), effect_key="k"))
    root = ElementTree.fromstring(timeline_svg(timeline(run.entries)))
    assert {node.tag.rpartition("}")[2] for node in root.iter()} <= {
        "svg",
        "g",
        "rect",
        "text",
        "tspan",
        "line",
        "title",
        "path",
    }


# The page


class CountingLog(MemoryLog):
    """Counts the records that are read."""

    read_so_far = 0

    async def read(self, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Entry]:
        found = await super().read(run_id, after=after, limit=limit)
        self.read_so_far += len(found)
        return found


@pytest.mark.exhaustive
@pytest.mark.anyio
async def test_a_run_is_read_once_for_both_pictures(tmp_path: Path):
    log = CountingLog()
    records = [EncodedEntry(seq, epoch, encode_record(record)) for seq, epoch, record in many_tools(1500, "sunny")]
    info = RunInfo("r", "failed", "assistant", None, len(records), 1, 0, created=1, updated=2)

    async def whole() -> AsyncIterator[list[EncodedEntry]]:
        yield records

    await log.import_run(ImportedRun(info), whole())
    run = RunReader("r", log=log, open_tail=partial(file_tail, log))
    await write_pictures(run, html=tmp_path / "run.html", svg=tmp_path / "run.svg")
    assert log.read_so_far <= len(records) + 512, "the records, and a block for the messages that the run began from"
    assert len(data_of((tmp_path / "run.html").read_text())["record"]) == 1500
    assert (tmp_path / "run.svg").read_text().startswith("<svg")


def test_a_text_that_is_cut_says_how_much_is_left_out():
    run = Eventful()
    run.opening("x" * 300_000)
    (said, *_) = [text for text in page_of(run.entries)[2]["record"] if "more characters" in text]
    kept, _, left = said.partition("… (")
    submitted = dict(run.entries[0].record)
    whole = json.dumps({name: submitted[name] for name in submitted if name not in ("v", "type", "at")})
    assert (len(kept), int(left.split()[0])) == (100_000, len(whole) - 100_000)


def test_the_page_has_everything_in_itself_and_runs_no_other_script():
    page, elements, _ = page_of(ENTRIES)
    assert elements.names.count("script") == 2
    assert {name for name, _ in elements.attributes} & {"src", "href", "srcset"} == set()
    assert set(re.findall(r"https?://[^\"\s]+", page)) == {"http://www.w3.org/2000/svg"}
    digest = base64.b64encode(hashlib.sha256(elements.scripts[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page
    assert "innerHTML" not in page


@pytest.mark.parametrize("entries", [eventful(prompt=HOSTILE), eventful(answer=HOSTILE)], ids=["prompt", "answer"])
def test_a_hostile_text_is_only_text(entries: list[Entry]):
    plain = page_of(ENTRIES)[1]
    page, elements, data = page_of(entries)
    assert elements.names == plain.names
    assert [name for name, _ in elements.attributes] == [name for name, _ in plain.attributes]
    said = HOSTILE.replace("\ud800", "\ufffd")
    assert any(said in "".join(item[3]) for item in data["items"])
    page.encode()


def test_the_page_says_at_every_record_what_the_state_was():
    history: Any = [{"role": "user", "content": [{"text": "Earlier."}]}]
    _, _, data = page_of(ENTRIES, history=history)
    state = initial(history)
    for entry in ENTRIES:
        state = evolve(state, entry)
        row = [one for one in data["states"] if one[0] <= entry.seq][-1]
        assert row[1:4] == [state.status, state.cycle, len(state.messages)]
        named = [data["words"][place] for place in row[4]]
        assert [word.split()[0] for word in named] == [call.tool_use["name"] for call in open_calls(state)]
        assert row[-1] == state.call_open


def test_the_page_has_every_record_with_its_time():
    _, _, data = page_of(ENTRIES)
    assert [data["types"][place] for place in data["type"]] == [entry.record.type for entry in ENTRIES]
    at, times = 0, list[int]()
    for gap in data["at"]:
        times.append(at := at + gap)
    assert times == [entry.record.at - ENTRIES[0].record.at for entry in ENTRIES]
    assert json.loads(data["record"][0])["prompt"] == "How is Paris?"


def many_tools(count: int, result: str) -> list[Entry]:
    run = Eventful()
    run.opening("Hi")
    while len(run.entries) < count:
        cycle = len(run.entries)
        run.add(CycleStarted(at=0, cycle=cycle))
        calls = [run.call(index, "weather") for index in range(3)]
        run.message([{"toolUse": {**call, "input": {"n": cycle, "text": "x" * 200}}} for call in calls], "tool_use")
        for index, call in enumerate(calls):
            run.add(ToolStarted(at=0, index=index, tool_use=call, effect_key=f"{cycle}/{index}"))
        for index in range(3):
            content = [{"text": result}]
            told: Any = {"toolUseId": f"t{index}", "status": "success", "content": content}
            run.add(ToolFinished(at=0, index=index, name="weather", result=told))
    return run.entries[:count]


@pytest.mark.parametrize(
    ("records", "length"),
    [
        pytest.param(20_000, 5, marks=pytest.mark.exhaustive),
        pytest.param(20_000, 5000, marks=pytest.mark.exhaustive),
        (1000, 30_000),
    ],
)
def test_the_page_of_a_large_run_is_under_10_mb_and_has_every_record(records: int, length: int):
    page = run_page(many_tools(records, "x" * length))
    data = data_of(page)
    assert len(page.encode()) <= LARGEST_PAGE
    assert len(data["record"]) == records
    if length > 1000:
        assert "more characters)" in page


@pytest.mark.parametrize("words", [5000, pytest.param(20_000, marks=pytest.mark.exhaustive)])
def test_a_long_streamed_answer_is_kept_whole(words: int):
    answer = "word " * words
    page = run_page(eventful(answer=answer))
    data = data_of(page)
    assert len(page.encode()) < 4_000_000
    assert any("".join(item[3]) == answer for item in data["items"])
