"""What a tool's body returns or raises becomes the result a model gets; what counts as a tool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, assert_type

import anyio
import pytest
from pydantic import BaseModel

from playhead.runtime.core.tool_results import unknown_tool_result
from playhead.runtime.tools.decorator import as_tool, tool, tool_index
from playhead.runtime.tools.tool import Outcome, Progress, ToolItem
from tests.support.tools import Item, Stop, add, context, ok, result, run, schema, text, use

__all__: list[str] = []

pytestmark = pytest.mark.anyio


class Unserializable(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    thing: object


# Results


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("", ""),
        (None, "null"),
        (7, "7"),
        ({"ü": [1, 2.5, True]}, '{"ü": [1, 2.5, true]}'),
        ({"status": "shipped", "content": "a box"}, '{"status": "shipped", "content": "a box"}'),
        ({"status": "success"}, '{"status": "success"}'),
        (Item(name="é"), '{"name":"é","count":1}'),
        ({1}, "{1}"),
        (b"ab", "b'ab'"),
        ("a\ud83d\ude00b\udc00", "a😀b\ufffd"),
    ],
)
async def test_values_become_text(value: Any, expected: str):
    assert await result(tool(name="give")(lambda: value)) == ok(expected)


async def test_a_model_that_has_no_json_becomes_its_text():
    assert (await text(tool(name="give")(lambda: Unserializable(thing=object())))).startswith("thing=<object")


async def test_an_explicit_result_is_taken_as_it_is_and_copied():
    given: dict[str, Any] = {
        "meta": {"a": (1,)},
        "content": [{"json": {"n": 2**70}}, {"image": {"format": "png", "source": {"bytes": b"\x00"}}}],
        "status": "error",
        "toolUseId": "mine",
    }
    got = await result(tool(name="give")(lambda: given))
    assert list(got) == ["toolUseId", "status", "content", "meta"]
    assert got == {**given, "toolUseId": "t1", "meta": {"a": [1]}}
    assert got["content"] is not given["content"]
    assert given["toolUseId"] == "mine"


@pytest.mark.parametrize(
    ("content", "flaw"),
    [
        ([{"text": "a"}, {"json": object()}], "a result that cannot be stored: result['content'][1]['json'] is object"),
        ([{"json": {1, 2}}], "a result that cannot be stored: result['content'][0]['json'] is set"),
        ("text", "content of type str, not list"),
        (["text"], "a content block of type str"),
    ],
)
async def test_an_explicit_result_that_cannot_be_stored_says_which_tool_returned_what(content: Any, flaw: str):
    got = await result(tool(name="give")(lambda: {"status": "success", "content": content}))
    (block,) = got["content"]
    assert got["status"] == "error"
    assert block["text"].startswith(f"Error: tool 'give' returned {flaw}.")


async def test_input_is_validated_and_converted():
    @tool
    def order(item: Item, urgent: bool = False) -> str:
        assert isinstance(item, Item)
        return f"{item.count} {item.name} {urgent}"

    assert await text(order, {"item": {"name": "pen", "count": "3"}, "urgent": "yes"}) == "3 pen True"


async def test_bad_input_gives_the_error_text_of_strands():
    got = await result(add, {"a": "x"})
    assert got["status"] == "error"
    (block,) = got["content"]
    assert block["text"].startswith(
        "Error: Validation failed for input parameters: 1 validation error for AddTool\na\n  Input should be a valid"
    )


@pytest.mark.parametrize("data", [[1], "text", 7])
async def test_input_that_is_not_an_object_is_an_error_result(data: Any):
    assert "Error: Validation failed for input parameters: 1 validation error for AddTool" in await text(add, data)


async def test_missing_input_counts_as_empty():
    bare: Any = {"toolUseId": "t1", "name": "give"}
    made = tool(name="give")(lambda: "done")
    assert [item async for item in made.stream(bare, context())] == [Outcome(ok("done"))]
    bare["input"] = None
    assert [item async for item in made.stream(bare, context())] == [Outcome(ok("done"))]


class Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("bad"), "Error: bad"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), "Error: 'utf-8' codec can't decode"),
        (KeyError("k"), "Error: KeyError - 'k'"),
        (StopIteration(3), "Error: RuntimeError - "),
        (StopAsyncIteration(3), "Error: "),
        (TimeoutError("mine"), "Error: TimeoutError - mine"),
        (ExceptionGroup("many", [ValueError("x")]), "Error: ExceptionGroup - many (1 sub-exception)"),
        (Wordless(), "Error: Wordless - (its text cannot be shown)"),
    ],
)
@pytest.mark.parametrize("form", ["sync", "async", "async generator", "sync generator"])
async def test_exceptions_become_error_results(error: Exception, expected: str, form: str):
    def sync() -> None:
        raise error

    async def coroutine() -> None:
        raise error

    async def values() -> AsyncGenerator[int, None]:
        yield 1
        raise error

    def sync_values() -> Generator[int, None, None]:
        yield 1
        raise error

    forms: dict[str, Callable[[], Any]] = {
        "sync": sync,
        "async": coroutine,
        "async generator": values,
        "sync generator": sync_values,
    }
    *progress, last = await run(tool(name="fail", timeout=30)(forms[form]))
    assert progress == ([Progress(1)] if "generator" in form else [])
    assert isinstance(last, Outcome)
    assert last.result["status"] == "error"
    assert last.result["content"][0]["text"].startswith(expected)


async def test_what_is_not_an_exception_passes():
    async def stop() -> None:
        raise Stop

    with pytest.raises(Stop):
        await run(tool(stop))


async def test_a_cancellation_that_is_not_ours_becomes_an_error_result():
    async def borrow() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    assert await text(tool(borrow)) == "Error: CancelledError - "
    assert await text(tool(borrow)) == "Error: CancelledError - "


def test_a_call_to_an_unknown_tool_is_answered():
    def error_of(name: str) -> str:
        got = unknown_tool_result(use(name))
        assert (got["toolUseId"], got["status"]) == ("t1", "error")
        return got["content"][0]["text"]

    assert error_of("nowhere") == "Unknown tool: nowhere"
    assert error_of("a b") == "Error: tool_name=<a b> | invalid tool name pattern"
    assert error_of("") == "Error: tool_name=<> | invalid tool name pattern"
    long = "a" * 65
    assert error_of(long) == f"Error: tool_name=<{long}>, tool_name_max_length=<64> | invalid tool name length"
    nameless: Any = {"toolUseId": "t1"}
    assert unknown_tool_result(nameless)["content"] == [{"text": "Error: tool name missing"}]


# Methods, and what counts as a tool


class Counter:
    def __init__(self) -> None:
        self.total = 0

    @tool
    def count(self, step: int = 1) -> int:
        """Count."""
        self.total += step
        return self.total

    @tool(timeout=5, on_unknown_outcome="fail")
    async def values(self, upto: int) -> AsyncGenerator[int, None]:
        for number in range(upto):
            yield number + self.total

    @staticmethod
    @tool
    def twice(n: int) -> int:
        return 2 * n

    @classmethod
    @tool
    def made_by(cls, n: int) -> str:
        return f"{cls.__name__} {n}"

    borrowed = add


async def test_methods_bind_to_their_instance():
    counter, other = Counter(), Counter()
    assert assert_type(counter.count(2), int) == 2
    assert await text(counter.count, {"step": 3}) == "5"
    assert other.total == 0
    assert list(schema(counter.count)["properties"]) == ["step"]
    assert await run(counter.values, {"upto": 1}) == [Progress(5), Outcome(ok("5"))]
    assert (counter.values.timeout, counter.values.on_unknown_outcome) == (5, "fail")


async def test_static_class_and_borrowed_tools_work_as_attributes():
    counter = Counter()
    assert counter.twice(2) == Counter.twice(2) == 4
    assert await text(as_tool(counter.twice), {"n": 2}) == "4"
    assert await text(as_tool(counter.made_by), {"n": 2}) == "Counter 2"
    assert await text(as_tool(Counter.made_by), {"n": 2}) == "Counter 2"
    assert counter.borrowed is add


def test_a_method_taken_from_its_class_is_refused():
    with pytest.raises(TypeError, match=r"'count' is a method: pass it from an instance"):
        as_tool(Counter.count)


@pytest.mark.parametrize("wrap", [staticmethod, classmethod])
def test_the_order_of_decorators_is_explained(wrap: Callable[..., Any]):
    with pytest.raises(TypeError, match="write @staticmethod or @classmethod above @tool"):
        tool(wrap(lambda: None))


def test_functions_and_bound_methods_become_tools_and_tools_stay():
    def plain_function(a: int) -> int:
        """Do."""
        return a

    class Thing:
        def act(self, a: int) -> int:
            return a

    assert as_tool(add) is add
    assert as_tool(plain_function).spec["description"] == "Do."
    assert list(schema(as_tool(Thing().act))["properties"]) == ["a"]


@pytest.mark.parametrize("thing", ["calculator", 7, None, Item, Counter(), {"name": "x"}, print, asyncio])
def test_what_is_not_a_tool_is_named(thing: object):
    with pytest.raises(TypeError, match=f"of type {type(thing).__name__} is not a tool") as refused:
        as_tool(thing)
    assert len(str(refused.value)) < 250


def test_an_index_flattens_lists_and_keeps_order():
    def other() -> None: ...

    index = tool_index([other, [add, (Counter().count,)]])
    assert list(index) == ["other", "add", "count"]
    assert index["add"] is add


def test_an_index_refuses_two_tools_of_one_name():
    def another() -> None: ...

    with pytest.raises(ValueError, match="two tools are named 'add'"):
        tool_index([add, [tool(name="add")(another)]])


async def test_one_tool_serves_many_calls_at_once():
    @tool
    async def echo(n: int) -> AsyncGenerator[int, None]:
        yield n
        await anyio.lowlevel.checkpoint()
        yield n

    outcomes: dict[int, list[ToolItem]] = {}

    async def collect(n: int) -> None:
        outcomes[n] = await run(echo, {"n": n})

    async with anyio.create_task_group() as group:
        for n in range(50):
            group.start_soon(collect, n)
    assert outcomes == {n: [Progress(n), Progress(n), Outcome(ok(str(n)))] for n in range(50)}
