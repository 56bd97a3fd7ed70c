"""Takes secrets out of exported runs, and keeps the form of every value and the length of every string. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from playhead.runtime.core.codec import decode_stored, encode_record, pack
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.keywords import names_keywords
from playhead.runtime.core.records import RECORD_TYPES, ModelChunk
from playhead.runtime.core.segments import TOOL_INPUT, record_of
from playhead.runtime.log.file.lines import value_of
from playhead.runtime.log.file.spoken import Piece, Spoken, ends_call
from playhead.runtime.log.values import EncodedEntry

__all__ = ["Redaction", "Redactor", "patterns_of"]

_KINDS: Final = ("*", "run", "message", "definition", *RECORD_TYPES)
_KEPT: Final = ("v", "type", "at", "definition")
"""Fields without which a record could not be read; a digest is not a secret."""
_JSON_TEXT: Final = re.compile(r'\\u[0-9a-fA-F]{4}|\\.|"|\s|(.)', re.DOTALL)


class _Rule(NamedTuple):
    kind: str
    path: tuple[str, ...]


@names_keywords
class Redaction:
    """The values to take out. Each character that is not white space becomes `x`, a number becomes 0, a byte `x`.

    Args:
        paths: `KIND:PATH`. KIND is a record's type, `message` (of the session), `definition`, `run` or `*` for all of them;
            PATH has the names of fields and numbers of items with dots between them, `*` for one of any name, `**` for any
            number of them: `message.added:message.content.*.text`.
        patterns: Regular expressions. Each match is taken out of every string, even of one streamed in pieces, and
            of field names; a number or bytes with a match are taken out whole.
        function: Called with the kind and the value of each record, message and definition, after the rules;
            returns the value to write instead. It gets streamed text chunk by chunk.

    Raises:
        ValueError: If a path has an unknown kind, or a pattern is malformed.
    """

    def __init__(
        self,
        *,
        paths: Iterable[str] = (),
        patterns: Iterable[str] = (),
        function: Callable[[str, dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self._rules = [_rule(path) for path in paths]
        self.patterns: Sequence[re.Pattern[str]] = patterns_of(patterns)
        self._function = function

    def reaches_chunks(self) -> bool:
        """Whether each chunk must be looked at by itself."""
        of_chunks = any(rule.kind in ("*", ModelChunk.type) for rule in self._rules)
        return of_chunks or self._function is not None

    def apply(self, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        """The value to write instead of this one, which is not changed. Raises whatever the function raises."""
        redacted = self.by_rules(kind, value)
        redacted = {**redacted, **{name: value[name] for name in _KEPT if name in value and kind in RECORD_TYPES}}
        return redacted if self._function is None else self._function(kind, redacted)

    def by_rules(self, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        """The value as the paths and the patterns leave it."""
        redacted: Any = value
        for rule in self._rules:
            if rule.kind in ("*", kind):
                redacted = _masked_at(redacted, rule.path)
        for pattern in self.patterns:
            redacted = _without(redacted, pattern)
        return redacted


def patterns_of(texts: Iterable[str]) -> list[re.Pattern[str]]:
    """Compile regular expressions. Raises ValueError if one is malformed."""
    found: list[re.Pattern[str]] = []
    for text in texts:
        try:
            found.append(re.compile(text))
        except re.error as error:
            raise ValueError(f"{text!r} is not a regular expression: {error}") from error
    return found


def _rule(text: str) -> _Rule:
    kind, colon, path = text.partition(":")
    if not colon or not path or kind not in _KINDS:
        raise ValueError(
            f"{text!r} is not a path of what to take out: use KIND:PATH, such as message.added:message.content.*.text; "
            f"KIND is one of {', '.join(_KINDS)}"
        )
    return _Rule(kind, tuple(path.split(".")))


def _masked(value: Any) -> Any:
    """A value of the same form without any content."""
    if isinstance(value, str):
        return re.sub(r"\S", "x", value)
    if isinstance(value, bytes):
        return b"x" * len(value)
    if isinstance(value, dict):
        return {key: _masked(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_masked(item) for item in cast("list[Any]", value)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return type(value)(0)
    return value


def _masked_at(value: Any, path: Sequence[str]) -> Any:
    if not path:
        return _masked(value)
    name, rest = path[0], path[1:]
    if name == "**":
        value, rest = _masked_at(value, rest), path
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {key: _masked_at(item, rest) if name in ("*", "**", key) else item for key, item in items}
    if isinstance(value, list):
        listed = enumerate(cast("list[Any]", value))
        return [_masked_at(item, rest) if name in ("*", "**", str(place)) else item for place, item in listed]
    return value


def _without(value: Any, pattern: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return pattern.sub(lambda found: _masked(found[0]), value)
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {_without(key, pattern): _without(item, pattern) for key, item in items}
    if isinstance(value, list):
        return [_without(item, pattern) for item in cast("list[Any]", value)]
    if isinstance(value, bytes):
        return _masked(value) if pattern.search(value.decode("latin-1")) or _in_utf_8(value, pattern) else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _masked(value) if pattern.search(str(value)) else value
    return value


def _in_utf_8(value: bytes, pattern: re.Pattern[str]) -> bool:
    return pattern.search(value.decode("utf-8", "replace")) is not None


class Redactor:
    """Redacts the records of one run, in order. Those of a model call are kept back until its message is whole."""

    def __init__(self, redaction: Redaction, run_id: str) -> None:
        self._redaction = redaction
        self._run_id = run_id
        self._kept: list[EncodedEntry] = []
        self._values: list[Any] = []
        self._spoken = Spoken()

    def feed(self, entry: EncodedEntry) -> list[EncodedEntry]:
        """The records that can be written now."""
        value = value_of(entry.data)
        self._spoken.take(len(self._kept), value)
        self._kept.append(entry)
        self._values.append(value)
        return self.rest() if ends_call(value) else []

    def rest(self) -> list[EncodedEntry]:
        """The records that were kept back."""
        for form, pieces in self._spoken.blocks:
            for place, text in self._without_matches(form, pieces):
                self._values[place] = [*self._values[place][:2], text, *self._values[place][3:]]
        found = [self._redacted(entry, value) for entry, value in zip(self._kept, self._values, strict=True)]
        self._kept, self._values, self._spoken = [], [], Spoken()
        return found

    def _without_matches(self, form: int, pieces: Sequence[Piece]) -> Iterable[Piece]:
        """The pieces of one block without the matches of the patterns in the whole block."""
        whole = "".join(text for _, text in pieces)
        mask = _mask_json if form == TOOL_INPUT else _masked
        for pattern in self._redaction.patterns:
            whole = pattern.sub(lambda found: mask(found[0]), whole)
        start = 0
        for place, text in pieces:
            yield place, whole[start : start + len(text)]
            start += len(text)

    def _redacted(self, entry: EncodedEntry, value: Any) -> EncodedEntry:
        if type(value) is list:
            data = self._chunk(cast("list[Any]", value), entry)
        elif type(value) is dict:
            record = cast("dict[str, Any]", value)
            data = pack(self._redaction.apply(str(record.get("type")), record))
        else:  # not a record of playhead: what is in it cannot be told
            data = b"x" * len(entry.data)
        if data == entry.data:
            return entry
        if (fault := _fault(data)) is not None and _fault(entry.data) is None:
            raise ValueError(f"record {entry.seq} of run {self._run_id} could not be read after the redaction: {fault}")
        return EncodedEntry(entry.seq, entry.epoch, data)

    def _chunk(self, items: list[Any], entry: EncodedEntry) -> bytes:
        """A chunk, whose streamed text is redacted already."""
        if _fault(entry.data) is not None:  # of a form that this version does not know
            return pack([*items[:2], *self._redaction.apply(ModelChunk.type, {"chunk": items[2:]})["chunk"]])
        if type(items[2]) is str and not self._redaction.reaches_chunks():
            return pack(items)
        record = record_of(decode_stored(pack(items)))
        kept = self._redaction.apply(ModelChunk.type, dict(record))
        return encode_record(ModelChunk(at=record.at, chunk=kept["chunk"]), limit=len(entry.data) + (1 << 20))


def _fault(data: bytes) -> str | None:
    """Why this version cannot read these bytes as a record; None if it can."""
    try:
        decode_stored(data)
    except PlayheadError as error:
        return str(error)
    return None


def _mask_json(text: str) -> str:
    """Like `_masked`, for a piece of JSON: quotes and escapes stay, so that it can still be parsed."""
    return _JSON_TEXT.sub(
        lambda found: "x" if found[1] else "\\u0078" if found[0].startswith("\\u") else found[0], text
    )
