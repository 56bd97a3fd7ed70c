"""What a guest asks of a model, part by part: what a log keeps of it, and whether it is the same later. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import quote, unquote

from playhead.runtime.core.plain import plain
from playhead.runtime.host.forms import digest

__all__ = ["Asked", "digests_in"]

_LASTING: Final = frozenset({"instructions", "model", "system", "system_prompt", "tool_choice", "tool_specs", "tools"})
"""The parts that stay the same from call to call. Each value of them is kept once; of messages, which grow, a digest is."""

_MOST_CHARS: Final = 65_536  # of a value that is kept


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, as plain data: its values by name, one that is not a mapping under an empty name."""

    parts: Mapping[str, Any]

    @classmethod
    def of(cls, request: object) -> Asked:
        """That of what a guest gave."""
        named = cast("Mapping[object, object]", request) if isinstance(request, Mapping) else {"": request}
        return cls({str(name): plain(value) for name, value in named.items()})

    @property
    def text(self) -> str:
        """A digest of each part, as `name=digest` with spaces between; of a request without names the digest."""
        digests = self._digests()
        return digests.get("") or " ".join(f"{quote(name)}={one}" for name, one in digests.items())

    def kept(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """The values to keep, by their digests, besides those that a log has already."""
        digests = self._digests()
        named = [(digests[name], self.parts[name]) for name in self.parts if name in _LASTING]
        return {key: value for key, value in named if key not in known and len(repr(value)) <= _MOST_CHARS}

    def differing(self, recorded: str) -> dict[str, str]:
        """The names of the parts that differ from those of a recorded request, by its `text`, with the recorded digests."""
        before = digests_in(recorded)
        if not before:
            return {}
        if "" in before:
            whole = self.parts.get("") if "" in self.parts else dict(self.parts)
            return {} if digest(whole) == before[""] else before
        now = self._digests()
        return {name: before.get(name, "") for name in {**before, **now} if before.get(name) != now.get(name)}

    def _digests(self) -> dict[str, str]:
        return {name: digest(value) for name, value in self.parts.items()}


def digests_in(recorded: str) -> dict[str, str]:
    """The digests in the `text` of a request by the names of its parts; one of a request without names has an empty name."""
    if "=" not in recorded:
        return {"": recorded} if recorded else {}
    return {unquote(name): one for name, _, one in (part.partition("=") for part in recorded.split(" "))}
