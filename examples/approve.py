# A tool that asks a human before it acts, and a client that responds at the terminal; each may run anywhere.
#
#   playhead dev examples/approve.py                          serves the agent `careful`
#   python examples/approve.py "What is 17 * 23?"             in another folder, set PLAYHEAD_URL as `dev` prints it
#
# Leave with Ctrl-C while it asks: the run waits. `playhead tail RUN` shows it and tells how to respond from the shell.
import asyncio
import sys

from playhead.client import Client
from playhead.runtime import Agent, AgentResult, ToolContext, tool
from playhead.runtime.toolbox import calculator as arithmetic


@tool
async def calculator(expression: str, context: ToolContext) -> str:
    """Evaluate an arithmetic expression, if a human allows it.

    Args:
        expression: For example "17 * 23".
    """
    if context.interrupt("approve", reason=f"Work out {expression}?") != "yes":
        return "the user said no"
    return arithmetic(expression)


careful = Agent(name="careful", tools=[calculator])


async def main(prompt: str) -> None:
    async with Client() as client:
        async for event in client.stream_async("careful", prompt):
            print(event.get("data", ""), end="", flush=True)
            if "result" in event and event["result"].interrupts:
                # Answered before the next event is asked for, so the stream goes on by itself.
                await client.run(event.run_id).respond(await ask(event["result"]))
        print()


async def ask(result: AgentResult) -> dict[str, str]:
    questions = result.interrupts or []
    return {one.id: await asyncio.to_thread(input, f"\n{one.reason} [yes/no] ") for one in questions}


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "What is 17 * 23?"))
