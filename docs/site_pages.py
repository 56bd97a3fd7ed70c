"""A hook of mkdocs: the pages at the root of the repository become pages of the site, and links fit there.

Markdown links are written for the repository, where a page may lead to any file. On the site those to files that are not
part of it become plain text.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, Final

from mkdocs.structure.files import File, Files

__all__ = ["on_files", "on_page_markdown"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_PAGES: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\(([^()\s:#]+)(#[^()\s]*)?\)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the root's pages."""
    for source, page in _PAGES.items():
        files.append(File.generated(config, page, content=(_ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Turn each link to a file of the repository into one to its page, or into its text."""
    del config
    here = PurePosixPath(page.file.src_uri)
    generated = here.name in _PAGES.values() and here.parent == PurePosixPath()
    folder = PurePosixPath() if generated else "docs" / here.parent

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        parts: list[str] = []
        for part in (folder / target).parts:
            parts = parts[:-1] if part == ".." else [*parts, part]
        path = "/".join(parts)
        on_site = _PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if files.get_file_from_path(on_site) is None:
            return text if "`" in text else f"`{text}`"
        up = "../" * len(here.parent.parts)
        return f"[{text}]({up}{on_site}{anchor})"

    return _LINK.sub(link, markdown)
