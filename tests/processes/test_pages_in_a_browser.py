"""The pages of `show --html` and `diff --html` in a real browser: keys move the playhead, and everything follows it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from playhead.client.cli.page.diff import diff_page
from playhead.client.cli.page.html import RunPage
from playhead.runtime.core.evolve import fold
from playhead.runtime.core.open_calls import open_calls
from playhead.runtime.core.records import CycleStarted, ModelChunk, ToolProgressed
from playhead.runtime.core.run_diff import run_diff
from playhead.runtime.core.timeline import timeline
from playhead.runtime.core.transcript import transcript
from tests.support.browser import WHY_NOT, Browser, Page, browser, found
from tests.support.eventful import eventful

__all__: list[str] = []

pytestmark = pytest.mark.skipif(found() is None, reason=WHY_NOT)

ENTRIES = eventful()
HEAD = len(ENTRIES)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as made:
        yield made


@pytest.fixture
def page(chromium: Browser, tmp_path: Path) -> Page:
    """The page of a run with a takeover, three tools side by side and a pause."""
    made = RunPage("0-abc")
    for entry in ENTRIES:
        made.add(entry)
    (tmp_path / "run.html").write_text(made.html(status="completed"))
    return chromium.open(tmp_path / "run.html")


def place(page: Page) -> int:
    """The record at the playhead; the slider is there, too."""
    slider, told = page.evaluate("[document.getElementById('place').value, document.getElementById('where').value]")
    assert told.startswith(f"record {slider} of {HEAD} · ")
    return int(slider)


LOOK = """(() => {
  const texts = (which) => [...document.querySelectorAll(which)].map((one) => one.textContent);
  return {
    said: texts("#transcript .item .said"), withdrawn: texts("#transcript .withdrawn").length,
    facts: Object.fromEntries(texts("#facts dt").map((name, place) => [name, texts("#facts dd")[place]])),
    calls: texts("#calls li").map((text) => text.split(" ")[0]), bars: texts("#above rect").length,
  };
})()"""
"""What the page shows."""


def assert_follows(page: Page, seq: int) -> None:
    """Transcript, state, open calls and bars are those of record `seq`."""
    assert place(page) == seq
    shown = page.evaluate(LOOK)
    items = transcript(ENTRIES[:seq])
    titled = [item.title if item.kind not in ("user", "text", "reasoning") else "" for item in items]
    assert shown["said"] == [
        f"{title}: {item.text}" if title and item.text else title + item.text
        for title, item in zip(titled, items, strict=True)
    ]
    assert shown["withdrawn"] == sum(item.withdrawn is not None for item in items)
    state, facts = fold(ENTRIES[:seq]), shown["facts"]
    assert (facts["state"], facts["cycle"]) == (state.status, str(state.cycle))
    assert (facts["messages"], facts["owner"]) == (str(len(state.messages)), str(ENTRIES[seq - 1].epoch))
    assert shown["calls"] == [call.tool_use["name"] for call in open_calls(state)]
    assert shown["bars"] == sum(bar.first <= seq <= bar.last for bar in timeline(ENTRIES).bars)


def test_keys_move_the_playhead_and_transcript_state_and_bars_follow(chromium: Browser, page: Page) -> None:
    assert_follows(page, HEAD)
    page.press("Home")
    assert_follows(page, 1)
    for seq in range(2, HEAD + 1):
        page.press("ArrowRight")
        assert_follows(page, seq)
    page.press("ArrowRight")
    assert_follows(page, HEAD)
    for seq in range(HEAD - 1, HEAD - 4, -1):
        page.press("ArrowLeft")
        assert_follows(page, seq)
    assert chromium.errors == []


def test_keys_go_by_steps_and_by_cycles(page: Page) -> None:
    pieces = {entry.seq for entry in ENTRIES if isinstance(entry.record, ModelChunk | ToolProgressed)}
    page.press("Home")
    steps = [place(page)]
    while steps[-1] < HEAD:
        page.press("ArrowDown")
        steps.append(place(page))
    assert steps == [seq for seq in range(1, HEAD + 1) if seq not in pieces]
    page.press("ArrowUp")
    assert place(page) == steps[-2]
    cycles = [entry.seq for entry in ENTRIES if isinstance(entry.record, CycleStarted)]
    page.press("Home", "PageDown")
    assert_follows(page, cycles[0])
    page.press("PageDown", "PageDown", "PageUp")
    assert_follows(page, cycles[-1])


def test_the_page_plays(page: Page) -> None:
    page.press("Home", "+", "+", "+", "+", "+", "+", " ")
    page.evaluate(
        "new Promise((done) => { const look = () => "
        f"document.getElementById('where').value.startsWith('record {HEAD} of') ? done() : requestAnimationFrame(look); "
        "look(); })"
    )
    assert_follows(page, HEAD)


def test_keys_go_from_difference_to_difference_of_two_runs(chromium: Browser, tmp_path: Path) -> None:
    left, right = eventful(answer="It rains."), eventful(answer="It snows.", prompt="How is Rome?")
    compared = run_diff(left, right)
    drawn = timeline(left), timeline(right)
    (tmp_path / "both.html").write_text(diff_page(compared, names=("a", "b"), numbers=("", ""), drawn=drawn))
    page = chromium.open(tmp_path / "both.html")
    here = "[...document.querySelectorAll('.row')].findIndex((row) => row.classList.contains('here'))"
    visible = "[...document.querySelectorAll('.row')].filter((row) => row.offsetHeight).length"
    differing = [number for number, pair in enumerate(compared.pairs) if not pair.same]
    assert len(differing) == 3
    for number in differing:
        assert page.evaluate(here) == number
        page.press("n")
    assert page.evaluate(here) == differing[-1]
    page.press("p", "Enter")
    assert page.evaluate(here) == differing[-2]
    assert page.evaluate("document.querySelectorAll('.here pre').length") == 2
    assert page.evaluate(visible) == len(differing)
    page.press("a")
    assert page.evaluate(visible) == len(compared.pairs)
    assert "snow" in page.evaluate("[...document.querySelectorAll('.right mark')].at(-1).textContent")
    assert chromium.errors == []
