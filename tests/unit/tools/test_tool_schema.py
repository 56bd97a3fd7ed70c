"""The schema a model is shown of a function, and how the model's input becomes the function's arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, Any, Literal, assert_type

import pytest
from pydantic import Field

from playhead.runtime.tools.context import ToolContext
from playhead.runtime.tools.decorator import tool
from playhead.runtime.tools.tool import Outcome, Progress
from tests.support.tools import Item, Stop, add, ok, run, schema, text

__all__: list[str] = []

pytestmark = pytest.mark.anyio


# The schema


def test_the_spec_comes_from_annotations_and_docstring():
    assert add.spec == {
        "name": "add",
        "description": "Add two numbers.\n\nExactly, however large.\n\nReturns:\n    The sum.",
        "inputSchema": {
            "json": {
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "The first."},
                    "b": {"type": "integer", "description": "The second,\non two lines.", "default": 2},
                },
                "required": ["a"],
            }
        },
    }


def test_the_decorated_function_is_still_a_function():
    assert assert_type(add(1, 3), int) == 4
    assert add.__name__ == "add"
    assert add.__doc__ == inspect.unwrap(add).__doc__
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert repr(add) == "<Tool add>"


def test_a_tool_is_not_changed_afterwards():
    for name in ("name", "spec", "timeout", "on_unknown_outcome"):
        with pytest.raises(AttributeError):
            setattr(add, name, "other")


def test_keyword_arguments_replace_what_is_derived():
    @tool(name="sum-2", description="Sums.", inputSchema={"type": "object"}, timeout=2.5, on_unknown_outcome="fail")
    def total(a: int) -> int:
        """Unused."""
        return a

    assert total.spec == {"name": "sum-2", "description": "Sums.", "inputSchema": {"json": {"type": "object"}}}
    assert (total.name, total.timeout, total.on_unknown_outcome) == ("sum-2", 2.5, "fail")
    assert (add.timeout, add.on_unknown_outcome) == (None, "retry")
    assert tool(inputSchema={"json": {"type": "object"}})(total.__call__).spec["inputSchema"]["json"] == {
        "type": "object"
    }


def test_texts_of_parameters_are_taken_from_the_nearest_place():
    @tool
    def place(
        a: Annotated[int, "from Annotated"],
        b: Annotated[int, Field(ge=0, description="from Annotated Field")] = 0,
        c: int = Field(default=3, le=9, description="from Field"),
        d: int = Field(default=3, le=9),
        e: int = 0,
        f: int = 0,
    ) -> None:
        """Place.

        Args:
            a: from the docstring
            b: from the docstring
            d: from the docstring
            e: from the docstring
        """

    properties = schema(place)["properties"]
    assert {name: item["description"] for name, item in properties.items()} == {
        "a": "from Annotated",
        "b": "from Annotated Field",
        "c": "from Field",
        "d": "from the docstring",
        "e": "from the docstring",
        "f": "Parameter f",
    }
    assert (properties["b"]["minimum"], properties["c"]["maximum"], properties["d"]["maximum"]) == (0, 9, 9)


def test_the_schema_is_cleaned_of_what_only_pydantic_needs():
    @tool
    def clean(
        maybe: int | None = None,
        either: int | str | None = None,
        needed: str | None = Field(),
        table: dict[str, int] = {},  # noqa: B006
        kind: Literal["a", "b"] = "a",
        item: Item | None = None,
    ) -> None: ...

    properties = schema(clean)["properties"]
    assert properties["maybe"] == {"type": "integer", "default": None, "description": "Parameter maybe"}
    assert [option["type"] for option in properties["either"]["anyOf"]] == ["integer", "string", "null"]
    assert [option["type"] for option in properties["needed"]["anyOf"]] == ["string", "null"]
    assert properties["table"] == {"type": "object", "default": {}, "description": "Parameter table"}
    assert properties["kind"]["enum"] == ["a", "b"]
    assert properties["item"]["$ref"] == "#/$defs/Item"
    assert "title" not in schema(clean)
    assert clean.spec["description"] == "clean"


def test_the_args_section_ends_where_its_indent_ends():
    def documented(a: int) -> None:
        """Do it.

        Parameters:
            a: one

              more of it
        Afterwards.
        """

    assert tool(documented).spec["description"] == "Do it.\n\nAfterwards."


async def test_a_dynamic_signature_is_honoured():
    def forward(**given: Any) -> str:
        return repr(given)

    dynamic: Any = forward
    kind = inspect.Parameter.KEYWORD_ONLY
    dynamic.__signature__ = inspect.Signature(
        [inspect.Parameter("city", kind), inspect.Parameter("days", kind, annotation="int", default=1)]
    )
    dynamic.__annotations__ = {"city": str}
    made = tool(forward)
    assert schema(made)["properties"]["city"]["type"] == "string"
    assert schema(made)["properties"]["days"]["type"] == "integer"
    assert schema(made)["required"] == ["city"]
    assert await text(made, {"city": "Ulm", "days": "3"}) == "{'city': 'Ulm', 'days': 3}"
    assert "validation error for ForwardTool\ncity\n" in await text(made, {})


async def test_a_wrapped_function_is_read_through_its_wrapper():
    def traced(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return fn(*args, **kwargs)

        return wrapper

    @tool
    @traced
    async def later(a: int) -> int:
        return a + 1

    @tool
    @traced
    async def counted(upto: int) -> AsyncGenerator[int, None]:
        for number in range(upto):
            yield number

    assert await text(later, {"a": 1}) == "2"
    assert await run(counted, {"upto": 2}) == [Progress(0), Progress(1), Outcome(ok("1"))]


def test_the_context_is_found_by_annotation_or_by_name_and_not_shown():
    @tool
    def annotated(a: int, ctx: ToolContext, spare: ToolContext | None = None) -> None: ...

    @tool(context=True)
    def by_default_name(a: int, tool_context: Any) -> None: ...

    @tool(context="box")
    def by_name(a: int, box: Any) -> None: ...

    for made in (annotated, by_default_name, by_name):
        assert list(schema(made)["properties"]) == ["a"]


@pytest.mark.parametrize("asked", [True, "box", ""])
def test_a_context_that_no_parameter_takes_is_refused(asked: bool | str):
    def lonely(a: int) -> None: ...

    with pytest.raises(ValueError, match="lonely has no parameter named"):
        tool(context=asked)(lonely)


async def test_a_parameter_named_agent_is_a_parameter():
    @tool
    def call(agent: str) -> str:
        return agent

    assert schema(call)["required"] == ["agent"]
    assert await text(call, {"agent": "smith"}) == "smith"


async def test_parameters_may_have_names_that_pydantic_keeps_for_itself():
    @tool
    def odd(
        schema: str, _hidden: int, model_config: int = 1, copy: str = Field(default="c", description="a copy")
    ) -> str:
        return f"{schema} {_hidden} {model_config} {copy}"

    shown = schema(odd)
    assert list(shown["properties"]) == ["schema", "_hidden", "model_config", "copy"]
    assert shown["required"] == ["schema", "_hidden"]
    assert await text(odd, {"schema": "s", "_hidden": 2, "model_config": 3}) == "s 2 3 c"
    assert "OddTool\n_hidden\n" in await text(odd, {"schema": "s"})


async def test_all_kinds_of_parameters_are_filled():
    @tool
    def kinds(first: int, /, second: int, *rest: int, third: int = 3, **more: Any) -> str:
        return f"{first} {second} {rest} {third} {more}"

    assert list(schema(kinds)["properties"]) == ["first", "second", "third"]
    assert await text(kinds, {"first": 1, "second": 2, "extra": 4}) == "1 2 () 3 {'extra': 4}"
    assert await text(add, {"a": 1, "extra": 4}) == "3"


def test_a_default_without_a_json_form_is_left_out_of_the_schema():
    @tool
    def marked(a: Any = Stop) -> None: ...

    assert "default" not in schema(marked)["properties"]["a"]


def test_an_annotation_that_cannot_be_read_is_named():
    with pytest.raises(TypeError, match=r"lost: name 'Nowhere' is not defined\. Import the name at run time"):

        @tool
        def lost(a: Nowhere) -> None: ...  # noqa: F821  # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]


def test_a_return_annotation_need_not_exist_at_run_time():
    @tool
    def found(a: int) -> Nowhere: ...  # noqa: F821  # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]

    assert found.name == "found"


@pytest.mark.parametrize("name", ["", "two words", "a" * 65, "é", "line\n"])
def test_a_name_that_models_refuse_is_refused(name: str):
    with pytest.raises(ValueError, match="tool_name=<"):
        tool(name=name)(lambda: None)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_must_be_a_positive_number(timeout: float):
    with pytest.raises(ValueError, match="tool 'add'"):
        tool(name="add", timeout=timeout)(lambda: None)


def test_an_unknown_policy_is_refused():
    odd: Any = "maybe"
    with pytest.raises(ValueError, match="'maybe' must be retry, fail or ask"):
        tool(name="add", on_unknown_outcome=odd)(lambda: None)
