# Strands' first streaming example with only the imports changed. Runs in this process: no Redis, no worker.
# The model: OpenAI's if OPENAI_API_KEY is set, the one that PLAYHEAD_MODEL names, or playhead's offline demo model.
import asyncio

from playhead.runtime import Agent
from playhead.runtime.toolbox import calculator

agent = Agent(tools=[calculator], callback_handler=None)


async def process_streaming_response():
    agent_stream = agent.stream_async("Calculate 2+2")
    async for event in agent_stream:
        print(event)


asyncio.run(process_streaming_response())
