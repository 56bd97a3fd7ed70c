"""The chat example, copied into an empty folder and run as its README says, over HTTP."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.chat import Chat, running_chat

__all__: list[str] = []


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    """The service and a worker."""
    with running_chat(tmp_path_factory.mktemp("chat")) as chat:
        yield chat


@pytest.fixture
def http(chat: Chat) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=chat.address, timeout=30) as client:
        yield client


def ask(http: httpx.Client, session: str, prompt: str) -> str:
    """Start a run."""
    return http.post(f"/sessions/{session}/runs", json={"prompt": prompt}).json()["run"]


def stream(http: httpx.Client, run: str, *, after: str = "", until: str = "end") -> list[tuple[str, Any]]:
    """The ids and the data of a run's events, up to an event or a key of one."""
    found: list[tuple[str, Any]] = []
    headers = {"Last-Event-ID": after} if after else {}
    with http.stream("GET", f"/runs/{run}/events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        event = ident = ""
        for line in response.iter_lines():
            name, _, value = line.partition(": ")
            event, ident = (value if name == "event" else event), (value if name == "id" else ident)
            if name == "data":
                found.append((ident, json.loads(value)))
                if until == event or until in found[-1][1]:
                    break
                event = ""
    return found


def test_the_page_is_one_file_that_loads_nothing_from_elsewhere(http: httpx.Client):
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert '<script type="module">' in page.text
    assert "://" not in page.text


def test_a_conversation_asks_goes_on_at_a_cursor_and_is_kept(http: httpx.Client):
    run = ask(http, "ada", "What is 17 * 23?")
    first = stream(http, run, until="stop_reason")
    (question,) = first[-1][1]["interrupts"]
    assert (first[-1][1]["stop_reason"], question["reason"]) == ("interrupt", "Work out 17 * 23?")
    shown = http.get("/sessions/ada").json()
    assert [(one["role"], one["text"]) for one in shown["messages"]] == [
        ("user", "What is 17 * 23?"),
        ("assistant", "Let me ask the calculator."),
    ]
    assert shown["run"] == run
    assert stream(http, run, after=shown["after"], until="stop_reason")[-1] == first[-1], (
        "a reloaded page is asked, too"
    )
    assert http.post(f"/runs/{run}/responses", json={question["id"]: "yes"}).status_code == 200
    rest = stream(http, run, after=first[-1][0])
    assert rest[-1][1] == {"error": None}
    assert {"role": "assistant", "calls": []}.items() <= rest[-3][1]["message"].items()
    whole = stream(http, run)
    assert whole == [*first, *rest]
    said = "".join(data.get("text", "") for _, data in whole)
    assert said.count("17 * 23 = 391.") == 1
    kept = http.get("/sessions/ada").json()
    assert kept["run"] is None
    assert [(one["role"], one["calls"]) for one in kept["messages"]] == [
        ("user", []),
        ("assistant", ["calculator"]),
        ("assistant", []),
    ]
    again = http.post(f"/runs/{run}/responses", json={question["id"]: "no"})
    assert (again.status_code, again.json()["error"]["type"]) == (409, "RunEndedError")


def test_stop_ends_the_run(http: httpx.Client):
    run = ask(http, "bob", "Tell me about yourself")
    stream(http, run, until="text")
    assert http.post(f"/runs/{run}/stop").status_code == 200
    assert stream(http, run)[-2][1] == {"stop_reason": "cancelled", "interrupts": []}


def test_what_is_wrong_has_a_status_and_a_reason(http: httpx.Client):
    assert http.get("/runs/none/events").status_code == 404
    assert http.post("/runs/none/stop").json()["error"]["type"] == "RunNotFoundError"
    assert http.post("/sessions/ada/runs", json={"prompt": ""}).status_code == 422
    assert http.post("/sessions/a b/runs", json={"prompt": "hi"}).status_code == 422
    assert http.post("/sessions/ada/runs", json={"prompt": "x" * 2_000_000}).status_code == 413


def test_the_service_ends_at_once_although_a_page_streams_and_the_page_goes_on_at_another(
    chat: Chat, http: httpx.Client
):
    service, address = chat.start_service()
    run = ask(http, "eve", "What is 6 * 7?")
    with httpx.stream("GET", f"{address}/runs/{run}/events", timeout=30) as response:
        lines = response.iter_lines()
        seen = [next(lines)]
        while "stop_reason" not in seen[-1]:
            seen.append(next(lines))
        began = time.monotonic()
        service.signal(signal.SIGTERM)
        assert not any("event: end" in line for line in lines)
    service.wait()
    assert time.monotonic() - began < 10  # the run would wait for an answer for ever
    last = [line.removeprefix("id: ") for line in seen if line.startswith("id: ")][-1]
    question = json.loads(seen[-1].removeprefix("data: "))["interrupts"][0]
    http.post(f"/runs/{run}/responses", json={question["id"]: "yes"})
    assert "6 * 7 = 42." in str(stream(http, run, after=last))
