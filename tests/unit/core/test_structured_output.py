"""What a caller may ask for as structured output, and what is wrong with a value, in the words that pydantic has for it."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from playhead.runtime.core.errors import StructuredOutputException
from playhead.runtime.core.events import Projection
from playhead.runtime.core.json_schema import schema_flaws
from playhead.runtime.core.records import Entry, RunCompleted, StructuredOutputProduced
from playhead.runtime.core.structured_output import output_schema, typed_output
from playhead.runtime.core.terms import NO_TERMS, Terms

__all__: list[str] = []


class Address(BaseModel):
    """A place to live in."""

    street: str
    number: int = Field(ge=1, lt=1000)


class Person(BaseModel):
    """A person."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(min_length=2, max_length=5, pattern="^[A-Z]")]
    age: int
    height: float | None = None
    mood: Literal["good", "bad"] = "good"
    kind: Literal["human"] = "human"
    awake: bool = True
    pets: Annotated[list[str], Field(min_length=1, max_length=2)] = ["Rex"]
    home: Address | None = None
    work: Address = Address(street="Elm", number=1)
    notes: dict[str, int] = {}


class Node(BaseModel):
    """A tree."""

    value: int
    children: list[Node] = []


OBJECT: dict[str, Any] = {"type": "object"}


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        (5, TypeError, "structured_output_model must be a pydantic class or a JSON schema, not 5"),
        (int, TypeError, "must be a pydantic class or a JSON schema, not <class 'int'>"),
        ({"title": 5, **OBJECT}, TypeError, "the title of structured_output_model must be a text, not 5"),
        ({"title": "A person", **OBJECT}, ValueError, "invalid tool name pattern"),
        ({"title": "x" * 65, **OBJECT}, ValueError, "invalid tool name length"),
        ({"type": "array"}, ValueError, "StructuredOutput must be an object.*its schema has the type 'array'"),
        ({}, ValueError, "must be an object.*the type None"),
        (RootModel[list[int]], ValueError, "invalid tool name pattern"),
        ({"type": "obj"}, ValueError, "the JSON schema of StructuredOutput is invalid at type: 'obj'"),
        (
            {**OBJECT, "properties": {"a": {"$ref": "#/$defs/A"}}},
            ValueError,
            "refers to '#/\\$defs/A', which it does not",
        ),
        (
            {**OBJECT, "properties": {"a": {"$ref": "http://x/y"}}},
            ValueError,
            "refers to 'http://x/y', which it does not",
        ),
    ],
)
def test_what_cannot_be_a_structured_output_is_refused_with_its_name(
    given: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        output_schema(given)


def test_a_class_without_a_schema_is_refused_with_its_name() -> None:
    class Holder(BaseModel):
        value: Callable[[], int]

    with pytest.raises(TypeError, match="structured_output_model Holder has no JSON schema"):
        output_schema(Holder)


def test_a_schema_is_named_by_its_class_or_its_title() -> None:
    assert output_schema(Person).name == "Person"
    assert output_schema({"title": "Note", **OBJECT}).name == "Note"
    assert output_schema(OBJECT).name == "StructuredOutput"
    assert "<description>A person.</description>" in output_schema(Person).tool_spec["description"]


def test_a_schema_may_refer_to_any_part_of_itself() -> None:
    parts: dict[str, Any] = {
        "me": {"$ref": "#"},
        "first": {"$ref": "#/properties/pair/prefixItems/0"},
        "pair": {"type": "array", "prefixItems": [{"type": "string"}]},
        "spaced": {"$ref": "#/$defs/a%20b~1c"},
    }
    schema = {**OBJECT, "properties": parts, "$defs": {"a b/c": {"type": "integer"}}}
    flaws = schema_flaws(output_schema(schema).schema, {"me": {"first": 1}, "spaced": "x"})
    assert [path for path, _ in flaws] == [("me", "first"), ("spaced",)]
    for lost in ("#/properties/pair/prefixItems/1", "#/properties/pair/prefixItems/x", "#/properties/pair/type/x"):
        with pytest.raises(ValueError, match="which it does not hold"):
            output_schema({**schema, "properties": {**parts, "lost": {"$ref": lost}}})


def test_a_class_that_refers_to_itself_is_an_object() -> None:
    output = output_schema(Node)
    assert output.schema["type"] == "object"
    assert schema_flaws(output.schema, {"value": 1, "children": [{"value": 2}]}) == []
    wrong = {"value": 1, "children": [{"value": 2}, {"value": "x"}]}
    [(path, _)] = schema_flaws(output.schema, wrong)
    assert path == ("children", 1, "value")


GOOD: dict[str, Any] = {"name": "Ada", "age": 36}


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": 3, "age": "old"},
        {"name": "A", "age": None},
        {"name": "Adalbert", "age": 1.5},
        {"name": "ada", "age": []},
        {**GOOD, "mood": "so so", "kind": "cat"},
        {**GOOD, "height": "tall"},
        {**GOOD, "awake": "perhaps"},
        {**GOOD, "pets": []},
        {**GOOD, "pets": ["a", "b", "c"]},
        {**GOOD, "pets": "Rex"},
        {**GOOD, "pets": ["a", 2]},
        {**GOOD, "work": {"street": "Elm", "number": 0}},
        {**GOOD, "work": {"street": 1, "number": 1000}},
        {**GOOD, "work": {}},
        {**GOOD, "notes": {"a": "x"}},
        {**GOOD, "notes": []},
        {**GOOD, "shoe": 43},
    ],
    ids=str,
)
def test_a_flaw_is_told_in_the_words_of_pydantic(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Person.model_validate(wrong)
    assert schema_flaws(output_schema(Person).schema, wrong) == [
        (one["loc"], one["msg"]) for one in caught.value.errors()
    ]


def test_what_a_schema_says_and_pydantic_has_no_words_for_is_told_too() -> None:
    class Day(BaseModel):
        day: datetime.date

    assert schema_flaws(output_schema(Day).schema, {"day": "soon"}) == [(("day",), "Input should be a valid date")]
    both = {**OBJECT, "not": {"required": ["a"]}}
    [(path, said)] = schema_flaws(both, {"a": 1})
    assert (path, said) == ((), "{'a': 1} should not be valid under {'required': ['a']}")


def test_terms_are_read_as_they_were_written_and_what_has_another_form_is_left_out() -> None:
    terms = Terms(output=output_schema(Person), prompt="Fill it in.")
    assert Terms.read(terms.options) == terms
    assert Terms.read(terms.options).output_class is None, "a class is not in the log"
    assert Terms.read({}) == NO_TERMS
    assert NO_TERMS.options == {}
    for odd in (5, {"name": 5, "schema": {}}, {"name": "A", "schema": 5}, {"prompt": 5}):
        assert Terms.read({"structured_output": odd}) == NO_TERMS


def test_the_terms_of_a_call_come_before_those_of_its_agent() -> None:
    agents = Terms(output=output_schema(Person), prompt="Fill it in.")
    assert NO_TERMS.over(agents) == agents
    assert Terms(prompt="Now.").over(agents) == Terms(output=agents.output, prompt="Now.")
    other = Terms(output=output_schema(Address))
    assert other.over(agents) == Terms(output=other.output, prompt="Fill it in.")
    assert Terms.read(agents.options).over(agents).output_class is Person, "the agent has the class of the same schema"


def test_a_class_that_refuses_a_value_or_raises_is_named_with_the_run() -> None:
    class Odd(BaseModel):
        value: int

        def model_post_init(self, context: Any) -> None:
            raise KeyError("no such value")

    for cls, value in ((Person, {"name": "ada"}), (Odd, {"value": 1})):
        with pytest.raises(StructuredOutputException, match=f"run r1 produced .* and {cls.__name__} refuses") as caught:
            typed_output(cls, value, run_id="r1")
        assert caught.value.__cause__ is not None


def test_an_event_with_an_instance_is_one_line_of_json() -> None:
    projection = Projection("r", output_class=Address)
    value = {"street": "Elm", "number": 5}
    [event] = projection.feed(Entry(2, 1, StructuredOutputProduced(at=0, name="Address", value=value)))
    assert event["structured_output"] == Address(street="Elm", number=5)
    assert event.to_json() == '{"structured_output": {"street": "Elm", "number": 5}}'
    result = {"stop_reason": "tool_use", "structured_output": value}
    [event] = projection.feed(Entry(3, 1, RunCompleted(at=0, result=result)))
    assert event["result"].structured_output == Address(street="Elm", number=5)
    assert event["result"] == result, "as an item it is plain data"
    assert str(event["result"]) == '{"street":"Elm","number":5}'
    assert (
        event.to_json()
        == '{"result": {"stop_reason": "tool_use", "structured_output": {"street": "Elm", "number": 5}}}'
    )
