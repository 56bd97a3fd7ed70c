"""What the tests read of the documentation: fenced blocks, headings, links and tables of a Markdown file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["ROOT", "Block", "anchors", "blocks", "links", "pages", "section", "table"]

ROOT: Final = Path(__file__).resolve().parents[2]

_FENCE: Final = re.compile(r"^```(\w*)\s*$")
_COMMENT: Final = re.compile(r"^<!-- (\w+) -->$")
_HEADING: Final = re.compile(r"^(#+) (.+?)\s*$")
_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: The text after the opening fence.
        text: The text between the fences.
        line: The line of the file that `text` begins on, from 1.
        mark: The text of an HTML comment on the line before, such as `server`; empty without one.
    """

    language: str
    text: str
    line: int
    mark: str

    @property
    def file(self) -> str | None:
        """The file that a Python block's first line names, as in `# agents.py`."""
        named = re.match(r"# (\w+\.py)\n", self.text)
        return named[1] if self.language == "python" and named else None

    @property
    def is_test(self) -> bool:
        """It is a file for pytest."""
        return self.file is not None and self.file.startswith("test_")


def pages() -> list[Path]:
    """The files whose code and links must be right."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a file, in order."""
    found: list[Block] = []
    mark, opened, language = "", 0, ""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if opened and fence:
            found.append(Block(language, "".join(lines[opened : number - 1]), opened + 1, mark))
            opened, mark = 0, ""
        elif not opened:
            if fence:
                opened, language = number, fence[1]
            elif comment := _COMMENT.match(line):
                mark = comment[1]
            else:
                mark = ""
    return found


def _prose(text: str) -> Iterator[str]:
    """The lines outside fenced blocks."""
    inside = False
    for line in text.splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            yield line


def anchors(text: str) -> set[str]:
    """What `#…` may name in a file, by GitHub's rule: lower case, spaces to dashes, punctuation removed."""
    titles = [match[2] for line in _prose(text) if (match := _HEADING.match(line))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(text: str) -> list[str]:
    """The targets of a file's links, without those inside code."""
    return [target for line in _prose(text) for target in _LINK.findall(re.sub(r"`[^`]*`", "", line))]


def section(text: str, title: str) -> str:
    """The text under a heading, up to the next one of its level or above.

    Raises:
        ValueError: There is no such heading.
    """
    lines = list(_prose(text))
    for start, line in enumerate(lines):
        heading = _HEADING.match(line)
        if heading and heading[2] == title:
            end = (at for at in range(start + 1, len(lines)) if _closes(lines[at], len(heading[1])))
            return "\n".join(lines[start + 1 : next(end, len(lines))])
    raise ValueError(f"no heading {title!r}")


def _closes(line: str, level: int) -> bool:
    heading = _HEADING.match(line)
    return heading is not None and len(heading[1]) <= level


def table(text: str) -> list[list[str]]:
    """The rows of all tables in a text, headers left out; cells without the space around them."""
    rows: list[list[str]] = []
    lines = text.splitlines()
    for at, line in enumerate(lines):
        is_header = at + 1 < len(lines) and re.match(r"^\|[-:| ]+\|$", lines[at + 1])
        if line.startswith("|") and not is_header and not re.match(r"^\|[-:| ]+\|$", line):
            rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows
