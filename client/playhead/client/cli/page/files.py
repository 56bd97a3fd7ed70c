"""Writes the pictures of a run: `playhead show --html` and `--svg`."""

from __future__ import annotations

from pathlib import Path

import typer

from playhead.client.cli.page.html import run_page
from playhead.client.cli.page.svg import timeline_svg
from playhead.client.reader import RunReader
from playhead.runtime.core.timeline import timeline
from playhead.runtime.log.reading import read_all

__all__ = ["write_pictures"]


async def write_pictures(run: RunReader, *, html: Path | None, svg: Path | None) -> int:
    """Write the page of a run, the picture of its timeline, or both.

    Raises:
        ValueError: If a file cannot be written, or the run is too long for a page.
    """
    head = (await run.info()).head
    entries = await read_all(run.log, run.id, head=head)
    if html is not None:
        place = await run.states().at(head)
        in_turn = place.definition is not None and place.definition.tool_executor == "sequential"
        history = place.state.messages[: place.state.history]
        page = run_page(entries, run_id=run.id, status=place.state.status, history=history, in_turn=in_turn)
        _write(html, page)
    if svg is not None:
        _write(svg, timeline_svg(timeline(entries)))
    return 0


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{file} cannot be written: {error.strerror}") from error
    typer.echo(f"wrote {file} ({len(text.encode()) / 1e6:.1f} MB)", err=True)
