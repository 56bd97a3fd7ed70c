"""Commands about conversations: `sessions`, and `session show`, `rm`, `trim` and `fork`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from playhead.client.cli.place import ROLE_WIDTH, message_lines
from playhead.client.cli.reach import with_client
from playhead.client.cli.render import age, counted, print_json, printable
from playhead.client.cli.tables import Column, print_beside, print_table
from playhead.client.cli.watch import Json, Prefix, Url
from playhead.client.client import Client
from playhead.client.session import Conversation
from playhead.runtime.core.errors import SessionNotFoundError
from playhead.runtime.core.json_lines import json_line
from playhead.runtime.log.values import SessionInfo

__all__ = ["session", "sessions"]

_SESSIONS: Final = (
    Column("session"),
    Column("messages", 1, right=True),
    Column("last used", 2),
    Column("held by"),
)

SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session's id, as `sessions` prints it.")]

session: typer.Typer = typer.Typer(
    name="session",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Show, delete, trim or copy a conversation.",
)


def sessions(
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, help="Number of sessions, the last used first.")
    ] = 20,
    cursor: Annotated[
        str | None, typer.Option("--cursor", metavar="CURSOR", help="Those after a page, which names its cursor.")
    ] = None,
    as_json: Json = False,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """List the sessions, the last used first."""

    async def act(client: Client) -> int:
        page = await client.sessions(limit=limit, cursor=cursor)
        if as_json:
            for info in page:
                print_json(asdict(info))
            return 0
        if not page:
            typer.echo("no sessions; start one: playhead ask AGENT PROMPT --session ID", err=True)
            return 0
        print_table(_SESSIONS, [_row(info) for info in page])
        if page.cursor is not None:
            typer.echo(f"(there are more: playhead sessions --cursor {page.cursor})", err=True)
        return 0

    with_client(url, prefix, act)


def _row(info: SessionInfo) -> list[str | Text]:
    return [printable(info.session), str(info.messages), f"{age(info.used)} ago", Text(info.run or "", style="cyan")]


@session.command("show")
def show(session_id: SessionId, as_json: Json = False, url: Url = None, prefix: Prefix = "ph") -> None:
    """Show the messages of a conversation, also those of the run that holds it, and the agent's state in it."""

    async def act(client: Client) -> int:
        handle = client.session(session_id)
        info, conversation, state = await handle.info(), await handle.conversation(), await handle.state()
        if as_json:
            print_json({**asdict(info), "state": state})
            for message in conversation.messages:
                print_json({"message": message})
            return 0
        _print_conversation(info, conversation, state)
        return 0

    with_client(url, prefix, act)


def _print_conversation(info: SessionInfo, conversation: Conversation, state: Mapping[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    used = f"used {age(info.used)} ago" if info.used else ""
    facts = [info.session, counted(len(conversation.messages), "message"), used]
    console.print(Text(printable(" · ".join(filter(None, facts))), style="bold"))
    if state:
        console.print(Text(printable(f"state: {json_line(state)}")))
    console.print()
    for message in conversation.messages:
        for line in message_lines(message):
            print_beside(Text(line[:ROLE_WIDTH]), Text(printable(line[ROLE_WIDTH:])))
    if (run := conversation.run) is not None:
        console.print(
            Text(f"\nrun {run.id} holds it; watch the rest: playhead tail {run.id} --after {conversation.cursor}")
        )


@session.command("rm")
def remove(
    session_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="The ids of the sessions.")],
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Delete conversations that no run holds. The logs of their runs stay until their retention ends."""

    async def act(client: Client) -> int:
        for session_id in session_ids:
            if not await client.session(session_id).delete():
                raise SessionNotFoundError(session_id)
            typer.echo(f"deleted {printable(session_id)}")
        return 0

    with_client(url, prefix, act)


@session.command("trim")
def trim(
    session_id: SessionId,
    keep_last: Annotated[int, typer.Option("--keep-last", metavar="N", min=1, help="Messages to keep at least.")],
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Cut the oldest messages of a conversation that no run holds; whole turns are kept."""

    async def act(client: Client) -> int:
        left = await client.session(session_id).trim(keep_last=keep_last)
        typer.echo(f"{printable(session_id)} has {counted(left, 'message')} now")
        return 0

    with_client(url, prefix, act)


@session.command("fork")
def fork(
    session_id: SessionId,
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="The id of the new session.")],
    at: Annotated[int | None, typer.Option("--at", metavar="N", min=1, help="Copy only the first N messages.")] = None,
    url: Url = None,
    prefix: Prefix = "ph",
) -> None:
    """Copy the messages of a conversation to a new one, which goes on in another way."""

    async def act(client: Client) -> int:
        copy = await client.session(session_id).fork(new_id, at=at)
        typer.echo(f"{printable(new_id)} has {counted(len(await copy.messages()), 'message')}")
        return 0

    with_client(url, prefix, act)
