"""Converts Anthropic's citations to Converse's, as Strands does. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["citation"]

_RANGES: Final = {
    "char_location": ("documentChar", "documentIndex", "document_index", "start_char_index", "end_char_index"),
    "page_location": ("documentPage", "documentIndex", "document_index", "start_page_number", "end_page_number"),
    "content_block_location": (
        "documentChunk",
        "documentIndex",
        "document_index",
        "start_block_index",
        "end_block_index",
    ),
    "search_result_location": (
        "searchResultLocation",
        "searchResultIndex",
        "search_result_index",
        "start_block_index",
        "end_block_index",
    ),
}
"""For each of Anthropic's kinds: Converse's name of the location and of its index; Anthropic's index, start and end."""


def citation(given: Mapping[str, Any]) -> dict[str, Any]:
    """The citation of a `citations_delta`; a location of an unknown kind is left out."""
    made: dict[str, Any] = {}
    if title := given.get("title") or given.get("document_title"):
        made["title"] = title
    if text := given.get("cited_text"):
        made["sourceContent"] = [{"text": text}]
    kind = given.get("type")
    if kind == "web_search_result_location":
        url = str(given.get("url") or "")
        domain = _host(url)
        made["location"] = {"web": {"url": url, "domain": domain} if domain else {"url": url}}
    elif kind in _RANGES:
        name, index, its_index, start, end = _RANGES[kind]
        place = {index: given.get(its_index, 0), "start": given.get(start, 0), "end": given.get(end, 0)}
        made["location"] = {name: place}
    return made


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:  # an address with a bracket that is not closed
        return None
