# Strands' first streaming example with only the imports changed. Runs in this process: no Redis, no worker.
# The model is OpenAI's with OPENAI_API_KEY set, what PLAYHEAD_MODEL names, else playhead's offline demo model.
import asyncio

from playhead.runtime import Agent
from playhead.runtime.toolbox import calculator

agent = Agent(tools=[calculator], callback_handler=None)


async def process_streaming_response():
    agent_stream = agent.stream_async("Calculate 2+2")
    async for event in agent_stream:
        print(event)


asyncio.run(process_streaming_response())
