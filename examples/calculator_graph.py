"""The calculator of LangGraph's quickstart, hosted as it is: a graph of a model and its tools, in nodes that are not async.

Needs: pip install playhead-workers 'playhead-runtime[langgraph]'

    playhead worker examples/calculator_graph.py
    playhead ask calculator "Add 3 and 4."

`Offline` stands for a model, so that it runs without a key: take `init_chat_model("openai:gpt-5")` or another one instead.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportInvalidTypeForm=false
# pyright: reportMissingTypeArgument=false, reportUnknownParameterType=false
# The graph is LangGraph's own text, whose types are not strict.

import operator
import re
import time
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, AnyMessage, BaseMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict


class Offline(BaseChatModel):
    """Adds the numbers of the question by the tool `add`, and tells the sum."""

    @property
    def _llm_type(self) -> str:
        return "offline"

    def bind_tools(self, tools: Any, **options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **options: Any) -> ChatResult:
        raise NotImplementedError("it streams")

    def _stream(self, messages: list[BaseMessage], *args: Any, **options: Any) -> Iterator[ChatGenerationChunk]:
        if isinstance(messages[-1], ToolMessage):
            for word in f"The sum is {messages[-1].text}.".split(" "):
                time.sleep(0.1)
                yield ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))
            return
        a, b, *_ = [*re.findall(r"\d+", messages[-1].text), "0", "0"]
        call: Any = {"name": "add", "args": f'{{"a": {a}, "b": {b}}}', "id": f"call-{len(messages)}", "index": 0}
        yield ChatGenerationChunk(message=AIMessageChunk(content="", tool_call_chunks=[call]))


model = Offline()


@tool
def multiply(a: int, b: int) -> int:
    """Multiply `a` and `b`.

    Args:
        a: First int
        b: Second int
    """
    return a * b


@tool
def add(a: int, b: int) -> int:
    """Adds `a` and `b`.

    Args:
        a: First int
        b: Second int
    """
    return a + b


@tool
def divide(a: int, b: int) -> float:
    """Divide `a` and `b`.

    Args:
        a: First int
        b: Second int
    """
    return a / b


tools = [add, multiply, divide]
tools_by_name = {tool.name: tool for tool in tools}
model_with_tools = model.bind_tools(tools)


class MessagesState(TypedDict):
    messages: Annotated[list[AnyMessage], operator.add]
    llm_calls: int


def llm_call(state: dict) -> dict:
    """LLM decides whether to call a tool or not"""
    system = SystemMessage(content="You are a helpful assistant tasked with performing arithmetic on a set of inputs.")
    return {
        "messages": [model_with_tools.invoke([system] + state["messages"])],
        "llm_calls": state.get("llm_calls", 0) + 1,
    }


def tool_node(state: dict) -> dict:
    """Performs the tool call"""
    result = []
    for tool_call in state["messages"][-1].tool_calls:
        tool = tools_by_name[tool_call["name"]]
        observation = tool.invoke(tool_call["args"])
        result.append(ToolMessage(content=observation, tool_call_id=tool_call["id"]))
    return {"messages": result}


def should_continue(state: MessagesState) -> Literal["tool_node", END]:
    """Decide if we should continue the loop or stop based upon whether the LLM made a tool call"""
    return "tool_node" if state["messages"][-1].tool_calls else END


agent_builder = StateGraph(MessagesState)
agent_builder.add_node("llm_call", llm_call)
agent_builder.add_node("tool_node", tool_node)
agent_builder.add_edge(START, "llm_call")
agent_builder.add_conditional_edges("llm_call", should_continue, ["tool_node", END])
agent_builder.add_edge("tool_node", "llm_call")

calculator = agent_builder.compile()
