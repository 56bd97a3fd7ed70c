"""A chat service: the agent, and the web service in front of it. README.md says how to run both.

The agent runs in the workers; this process starts runs and streams them, so it can be restarted at any time.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.responses import FileResponse

from playhead.client import Client
from playhead.client.web import RunStreams, error_response, opened
from playhead.runtime import Agent, Event, PlayheadError, ToolContext, tool
from playhead.runtime.toolbox import calculator as arithmetic

PAGE = Path(__file__).with_name("chat.html")
Id = Annotated[str, InPath(pattern=r"^[\w.-]{1,128}$")]


# The agent, for `playhead dev chat.py` or `playhead worker chat.py`.


@tool
async def calculator(expression: str, context: ToolContext) -> str | dict[str, Any]:
    """Evaluate an arithmetic expression, if the user allows it.

    Args:
        expression: For example "17 * 23".
    """
    if context.interrupt("approve", reason=f"Work out {expression}?") != "yes":
        return {"status": "error", "content": [{"text": "the user did not allow it"}]}
    return arithmetic(expression)


chat = Agent(name="chat", tools=[calculator], system_prompt="You are a helpful assistant. Use the calculator for sums.")


# The service, for `uvicorn chat:app`.

client = Client()
streams = RunStreams(client)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with opened(client):
        yield


app = FastAPI(lifespan=lifespan)
app.add_exception_handler(PlayheadError, error_response)


@app.get("/")
async def page() -> Response:
    return FileResponse(PAGE)


@app.get("/sessions/{session}")
async def conversation(session: Id) -> dict[str, Any]:
    """The messages of the conversation, the run that extends it now, and where the page goes on with its events."""
    found = await client.session(session).conversation()
    messages = [shown for one in found.messages if (shown := show_message(one))]
    return {"messages": messages, "run": found.run and found.run.id, "after": found.cursor}


@app.post("/sessions/{session}/runs")
async def ask(session: Id, prompt: Annotated[str, Body(embed=True, min_length=1)]) -> dict[str, str]:
    """Ask. 409 if the conversation has an answer that is not finished, for example in another window."""
    return {"run": (await client.start("chat", prompt, session_id=session, if_busy="reject")).id}


@app.get("/runs/{run}/events")
async def events(request: Request, run: Id) -> Response:
    return await streams.response(request, run, media="sse", show=show, on_pause="wait")


@app.post("/runs/{run}/responses")
async def respond(run: Id, responses: Annotated[dict[str, str], Body()]) -> None:
    await client.run(run).respond(responses)


@app.post("/runs/{run}/stop")
async def stop(run: Id) -> None:
    await client.run(run).cancel()


# What the page gets to see: no more than it shows.


def show(event: Event) -> dict[str, Any] | None:
    """What is sent for an event."""
    match event:
        case {"data": text}:
            return {"text": text}
        case {"retracted": True, "text": text}:
            return {"retracted": text}
        case {"retrying": True, "delay": delay}:
            return {"retrying": delay}
        case {"message": message}:
            return {"message": show_message(message)}
        case {"result": result}:
            return {"stop_reason": result.stop_reason, "interrupts": result.interrupts or []}
        case _:
            return None


def show_message(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is shown of a message: its text, and the tools that it calls; None for results of tools."""
    blocks = message["content"]
    text = "".join(block["text"] for block in blocks if "text" in block)
    calls = [block["toolUse"]["name"] for block in blocks if "toolUse" in block]
    return {"role": message["role"], "text": text, "calls": calls} if text or calls else None
