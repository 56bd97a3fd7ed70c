"""An unknown keyword of a public method of the client is refused with a sentence that names the right one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import playhead.client

__all__: list[str] = []


def methods() -> Iterator[Callable[..., Any]]:
    """The public methods of the public classes that a user calls; of data only the constructor, which no user calls."""
    for name in playhead.client.__all__:
        kind = getattr(playhead.client, name)
        if not inspect.isclass(kind) or hasattr(kind, "__dataclass_fields__") or issubclass(kind, list):
            continue
        yield from (
            method(kind, called) for called, _ in inspect.getmembers(kind, inspect.isfunction) if called[0] != "_"
        )


def test_an_unknown_keyword_of_a_public_method_is_refused_with_what_it_has():
    found = list(methods())
    assert len(found) > 40
    for called in found:
        refuses(called)


def method(kind: type, called: str) -> Callable[..., Any]:
    """A method of an object that was not made: it checks its keywords first."""
    return getattr(object.__new__(kind), called)


def refuses(called: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=rf"^{called.__name__}\(\) has no argument 'no_such'\..* It has( none\.|: \w+)"):
        finished(called(**dict.fromkeys(_needed(called), "x"), no_such=1))


def finished(begun: Any) -> None:
    """Run a call to its end: nothing of it waits before it has checked its keywords."""
    if inspect.iscoroutine(begun):
        begun.send(None)


def _needed(called: Callable[..., Any]) -> list[str]:
    """The arguments without which Python does not call a method that has `**keywords`."""
    parameters = list(inspect.signature(called).parameters.values())
    own = any(one.kind is one.VAR_KEYWORD for one in parameters)
    return [one.name for one in parameters if own and one.default is one.empty and one.kind is not one.VAR_KEYWORD]


@pytest.mark.parametrize(
    ("kind", "called", "keyword", "meant"),
    [
        (playhead.client.Client, "runs", "tags", "tag"),
        (playhead.client.Client, "start", "session", "session_id"),
        (playhead.client.Client, "agent", "session", "session_id"),
        (playhead.client.Run, "stream_async", "on_notices", "on_notice"),
        (playhead.client.Session, "trim", "keep", "keep_last"),
    ],
)
def test_a_keyword_that_is_spelt_nearly_right_names_the_right_one(kind: type, called: str, keyword: str, meant: str):
    call = method(kind, called)
    with pytest.raises(TypeError, match=f"has no argument '{keyword}'. Did you mean '{meant}'?"):
        finished(call(**dict.fromkeys(_needed(call), "x"), **{keyword: "x"}))


def test_a_client_is_not_made_with_an_unknown_keyword():
    make: Any = playhead.client.Client
    with pytest.raises(TypeError, match=r"^Client\(\) has no argument 'keys'\. It has: url, prefix, "):
        make("redis://localhost", keys="ph")
