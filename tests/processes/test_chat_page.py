"""The page of the chat example in a real browser. It needs Chromium and playwright, which CI installs.

It is left out where one of them is missing, and says so.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.chat import running_chat

__all__: list[str] = []

sync_api: Any = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: see `make browser`")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
    pytest.mark.timeout(120),
]

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ABOUT = "For a real model set OPENAI_API_KEY, or name one in PLAYHEAD_MODEL."
STREAMED = "document.querySelector('#messages > .assistant:last-child')?.textContent.length"
LEFT_BELOW = "(({ scrollHeight: all, scrollTop: top, clientHeight: seen }) => all - top - seen)(messages)"


@pytest.fixture
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A tab on the chat service; an error in its script fails the test."""
    with running_chat(tmp_path_factory.mktemp("chat")) as chat, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        tab = browser.new_page()
        tab.set_default_timeout(20_000)
        errors: list[str] = []
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(chat.address)
        yield tab
        browser.close()
    assert errors == []


def ask(page: Any, prompt: str) -> None:
    """Type and send."""
    page.fill("#prompt", prompt)
    page.click("#send")


def answer(page: Any) -> str:
    """The text of the last answer."""
    return page.locator(".assistant").last.inner_text()


def test_an_answer_goes_on_after_a_reload_and_can_be_stopped_and_approved_and_is_there_later(page: Any):
    ask(page, "Tell me about yourself")
    page.wait_for_function("document.querySelector('.assistant')?.textContent.length > 60")
    cursors: list[str] = []
    page.on("request", lambda request: cursors.append(request.url) if "/events" in request.url else None)
    seen = answer(page)
    page.reload()
    page.wait_for_selector(".assistant")
    assert page.locator("#stop").is_visible(), "in the middle of the answer"
    page.wait_for_selector("#send:visible")
    assert answer(page).startswith(seen)
    assert "?after=" in cursors[0]
    whole = answer(page)
    assert (whole.count(ABOUT), whole.count(seen), whole.endswith(ABOUT)) == (1, 1, True)

    ask(page, "What is 17 * 23?")
    page.wait_for_selector(".question")
    assert "Work out 17 * 23?" in page.inner_text(".question")
    page.reload()
    page.click(".question button:has-text('Yes')")
    page.wait_for_selector("#send:visible")
    assert "17 * 23 = 391." in answer(page)
    assert page.locator(".question").count() == 0

    page.set_viewport_size({"width": 360, "height": 400})
    ask(page, "Tell me about yourself")
    page.wait_for_function(f"{STREAMED} > 20")
    page.wait_for_function(f"{LEFT_BELOW} < 1")  # the end is in sight, also in the smaller window
    page.evaluate("document.getElementById('messages').scrollTop = 0")
    page.wait_for_function(f"{STREAMED} > 60")
    assert page.evaluate("document.getElementById('messages').scrollTop") == 0, "the user reads what is above"
    page.click("#stop")
    page.wait_for_selector("#send:visible")
    assert answer(page) == "Cancelled by user"
    assert "stopped" not in page.locator(".note").all_inner_texts()

    address = page.url
    page.click("#new")
    page.wait_for_function("document.querySelectorAll('#messages > *').length === 0")
    assert page.url != address
    page.goto(address)  # another part of the same address: the page loads itself again
    page.wait_for_selector(".assistant")
    assert page.locator(".user").all_inner_texts() == [
        "Tell me about yourself",
        "What is 17 * 23?",
        "Tell me about yourself",
    ]
    assert any("17 * 23 = 391." in text for text in page.locator(".assistant").all_inner_texts())
