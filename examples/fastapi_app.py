# Strands' FastAPI streaming endpoint; the agent runs in a fleet, so this process only watches.
#
#   playhead dev examples/agents.py                           serves the agent `assistant`
#   uvicorn fastapi_app:app --app-dir examples                in another folder, set PLAYHEAD_URL as `dev` prints it
#   curl -N localhost:8000/stream -H 'content-type: application/json' -d '{"prompt": "What is 17 * 23?"}'
#
# A client that closes the connection leaves the run, and the run goes on. Add "session": "ada" to keep a conversation.
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from playhead.client import Client
from playhead.client.web import opened

client = Client()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with opened(client):
        yield


app = FastAPI(lifespan=lifespan)


class PromptRequest(BaseModel):
    prompt: str
    session: str | None = None


@app.post("/stream")
async def stream_response(request: PromptRequest) -> StreamingResponse:
    async def generate() -> AsyncIterator[str]:
        agent = client.agent("assistant", session_id=request.session)
        try:
            async for event in agent.stream_async(request.prompt):
                if "data" in event:
                    yield event["data"]
                elif "retracted" in event:  # a worker died in mid-message; the text from here on replaces event["text"]
                    yield "\n[starting over]\n"
        except Exception as error:
            yield f"Error: {error}"

    return StreamingResponse(generate(), media_type="text/plain")
