"""Writes the pictures of a run: `playhead show --html` and `--svg`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import typer

from playhead.client.cli.page.html import RunPage
from playhead.client.cli.page.svg import timeline_svg
from playhead.client.reader import RunReader
from playhead.runtime.agent.conversation import recorded_manager
from playhead.runtime.core.timeline import Drawing
from playhead.runtime.log.reading import pages

__all__ = ["write_page", "write_pictures"]

_BEGINNING: Final = 1000
"""Records among which the first claim and the first cycle are."""


async def write_pictures(run: RunReader, *, html: Path | None, svg: Path | None) -> int:
    """Write the page of a run, the picture of its timeline, or both. The run is read once, page by page.

    Memory grows with the run for the page only, which has something of each record.

    Raises:
        ValueError: If a file cannot be written, or the run is too long for a page.
    """
    info = await run.info()
    page = None if html is None else await _page(run, head=info.head)
    drawing = None if svg is None else Drawing()
    async for entries in pages(run.log, run.id, head=info.head):
        for entry in entries:
            if page is not None:
                page.add(entry)
            if drawing is not None:
                drawing.add(entry)
    if html is not None and page is not None:
        write_page(html, page.html(status=info.state))
    if svg is not None and drawing is not None:
        write_page(svg, timeline_svg(drawing.value()))
    return 0


async def _page(run: RunReader, *, head: int) -> RunPage:
    """The page of a run, without its records."""
    place = await run.states().at(min(head, _BEGINNING))
    in_turn = place.definition is not None and place.definition.tool_executor == "sequential"
    context = recorded_manager(place.definition.conversation_manager if place.definition is not None else {})
    history = place.state.messages[: place.state.history]
    return RunPage(run.id, history=history, in_turn=in_turn, context=context)


def write_page(file: Path, text: str) -> None:
    """Write a file and say so.

    Raises:
        ValueError: It cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{file} cannot be written: {error.strerror}") from error
    size = len(text.encode())
    told = f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"
    typer.echo(f"wrote {file} ({told})", err=True)
