"""Tables for people: as wide as the terminal, and of any width where the output is not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from rich.console import Console
from rich.text import Text

__all__ = ["Column", "fitting", "lines_beside", "print_beside", "print_table", "table_lines"]

_GAP: Final = 2
_NARROWEST: Final = 20


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: Its heading.
        rank: When a narrow terminal does without it: the highest rank first. Columns of rank 0 stay.
        right: Whether its cells end at one place, as numbers do.
    """

    name: str
    rank: int = 0
    right: bool = False


def fitting(columns: Sequence[Column], widths: Sequence[int], *, width: int) -> list[int]:
    """The numbers of the columns to show, in order, so that they fit as far as their ranks allow."""
    shown = list(range(len(columns)))
    for number in sorted(shown, key=lambda one: columns[one].rank, reverse=True):
        if columns[number].rank == 0 or sum(widths[one] + _GAP for one in shown) - _GAP <= width:
            break
        shown.remove(number)
    return shown


def print_beside(head: Text, body: Text) -> None:
    """Print a text beside its heading: a terminal gets its words below each other, a pipe one whole line."""
    console = Console(highlight=False, soft_wrap=True)
    for line in lines_beside(head, body, width=console.width if sys.stdout.isatty() else None):
        console.print(line)


def lines_beside(head: Text, body: Text, *, width: int | None) -> Iterator[Text]:
    """The lines of a text beside its heading, broken between words to be at most so wide; None for as wide as they are."""
    if width is None:
        yield Text.assemble(head, body)
        return
    space = max(_NARROWEST, width - head.cell_len)
    for number, line in enumerate(body.wrap(Console(), space) or [body]):
        line.rstrip()
        yield Text.assemble(head if number == 0 else " " * head.cell_len, line)


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table on standard output, a line for each row.

    A terminal that is too narrow gets fewer columns, and what is still too long is cut. A pipe gets whole lines, because
    a program reads them.
    """
    console = Console(highlight=False, soft_wrap=True)
    for line in table_lines(columns, rows, width=console.width if sys.stdout.isatty() else None):
        console.print(line)


def table_lines(
    columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], *, width: int | None
) -> Iterator[Text]:
    """The lines of a table, at most so wide; None for as wide as they are."""
    cells = [[one if isinstance(one, Text) else Text(one) for one in row] for row in rows]
    lines = [[Text(column.name, style="bold") for column in columns], *cells]
    widths = [max(row[at].cell_len for row in lines) for at in range(len(columns))]
    shown = list(range(len(columns))) if width is None else fitting(columns, widths, width=width)
    for row in lines:
        line = Text(" " * _GAP).join(_aligned(row[at], widths[at], right=columns[at].right) for at in shown)
        line.rstrip()
        if width is not None:
            line.truncate(width, overflow="ellipsis")
        yield line


def _aligned(cell: Text, width: int, *, right: bool) -> Text:
    cell = cell.copy()
    cell.align("right" if right else "left", width)
    return cell
