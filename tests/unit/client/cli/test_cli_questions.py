"""Responses as a user types them: to which question, and what."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.client.cli.questions import read_responses
from playhead.client.questions import how_to_respond
from playhead.runtime.core.interrupts import Interrupt, tool_interrupt_id

__all__: list[str] = []


def question(name: str, call: str = "t1") -> Interrupt:
    return Interrupt(id=tool_interrupt_id(call, name), name=name, reason=None, response=None)


ONE = [question("approve")]
TWO = [question("where"), question("when")]
TWINS = [question("approve", "t1"), question("approve", "t2")]


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ("yes", "yes"),
        ("5", 5),
        ("true", True),
        ("null", None),
        ('{"ok": [1, 2]}', {"ok": [1, 2]}),
        ('"5"', "5"),
        ("not {json", "not {json"),
        ("NaN", "NaN"),
        ('"a=b"', "a=b"),
        ('{"a": "b=c"}', {"a": "b=c"}),
        ("approve=", ""),
        ("", ""),
        ("approve=yes", "yes"),
        ("approve=a=b", "a=b"),
        (f"{ONE[0].id}=no", "no"),
    ],
)
def test_one_question_needs_the_response_alone(text: str, response: Any) -> None:
    assert read_responses([text], ONE) == {ONE[0].id: response}


def test_several_questions_are_answered_by_name_or_id_in_any_order() -> None:
    where, when = (one.id for one in TWO)
    assert read_responses(["when=now", "where=here"], TWO) == {when: "now", where: "here"}
    assert read_responses([f"{where}=here"], TWO) == {where: "here"}
    assert read_responses([f"{one.id}={number}" for number, one in enumerate(TWINS)], TWINS) == {
        TWINS[0].id: 0,
        TWINS[1].id: 1,
    }


@pytest.mark.parametrize(
    ("given", "interrupts", "match"),
    [
        (
            ["yes"],
            TWO,
            r"'yes' does not name an open question; pass ID=RESPONSE. Open are: where \(v1:.*\), when \(v1:",
        ),
        (["approve=yes"], TWINS, "'approve=yes' does not name an open question"),
        (["v1:tool_call:t9:x=yes"], ONE, "does not name an open question"),
        (["agrees=yes"], ONE, "'agrees=yes' does not name an open question; pass ID=RESPONSE. Open are: approve"),
        (["delete=true"], ONE, "does not name an open question"),
        (["Pay the bill=yes"], ONE, "does not name an open question"),
        (["approve =yes"], ONE, "does not name an open question"),
        (["=yes"], ONE, "does not name an open question"),
        (["https://example.org/?q=1"], ONE, "does not name an open question"),
        (["yes", "no"], ONE, "'yes' does not name an open question"),
        (["where=a", f"{TWO[0].id}=b"], TWO, "two responses to where"),
        (['{"ok": '], ONE, r"'{\"ok\": ' is not JSON \(.*\). If it is a text, put it in quotes: \"{"),
        (["approve=[1, 2"], ONE, r"'\[1, 2' is not JSON"),
    ],
)
def test_what_answers_nothing_or_twice_is_refused_and_says_what_is_open(
    given: list[str], interrupts: list[Interrupt], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        read_responses(given, interrupts)


# A name with "=" in it may look like another's name with its response: then only the id is safe.
NAMES = st.text(min_size=1, max_size=12).filter(lambda name: "=" not in name)


@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=4, unique=True), st.text())
def test_the_command_that_is_shown_answers_every_question_whatever_its_name(
    named: list[tuple[str, str]], response: str
) -> None:
    interrupts = [question(name, call) for name, call in named]
    program, verb, run_id, *arguments = shlex.split(how_to_respond("0-run", interrupts))
    assert (program, verb, run_id) == ("playhead", "respond", "0-run")
    given = [f"{argument.removesuffix('RESPONSE')}{json.dumps(response)}" for argument in arguments]
    assert read_responses(given, interrupts) == {one.id: response for one in interrupts}
