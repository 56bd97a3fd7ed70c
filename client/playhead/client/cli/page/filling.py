"""Fills the template of a page: it needs nothing else, and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files

from playhead.runtime.core.json_lines import json_line

__all__ = ["filled"]


def filled(template: str, values: Mapping[str, str], data: object) -> str:
    """The page of a template of this package.

    Args:
        template: Its file name.
        values: By name, the texts for its places `{{name}}`. All are escaped but those that are `svg` elements, whose
            names begin so.
        data: What its script reads.
    """
    texts = {name: value if name.startswith("svg") else escape(value) for name, value in values.items()}
    page = _read(template)
    texts["look"] = _read("look.css")
    texts["policy"] = f"default-src 'none'; style-src 'unsafe-inline'; script-src '{_digest_of_script(page)}'"
    # No text of a run can end the element, because a script of JSON has no other use for this character.
    texts["data"] = json_line(data).replace("<", "\\u003c")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: texts[found[1]], page)


def _read(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _digest_of_script(template: str) -> str:
    """What the page's policy allows to run: its own script and nothing else."""
    found = re.search(r"<script>(.*?)</script>", template, re.DOTALL)
    assert found, "the template has its script"
    return f"sha256-{base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()}"
