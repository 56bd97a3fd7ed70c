"""What the Lua scripts do with keys and fields, read from their text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Access", "accesses_of_scripts", "calls"]

_WRITES: Final = {
    *("HSET", "HINCRBY", "HDEL", "ZADD", "ZREM", "ZREMRANGEBYSCORE", "SET", "DEL"),
    *("RPUSH", "LPOP", "LREM", "LTRIM", "XADD", "PEXPIRE", "PEXPIREAT", "PERSIST"),
}
_FIELDS: Final = {
    "HSET": slice(0, None, 2),
    "HINCRBY": slice(0, 1),
    "HMGET": slice(None),
    "HGET": slice(None),
    "HEXISTS": slice(None),
    "HDEL": slice(None),
    "XADD": slice(1, None, 2),
}
"""Where the names of fields are among the arguments after the key."""

_OTHER_NAMES: Final = {"memo": "claimed", "key": "session", "KEYS[i]": "ready", "all": "ready"}
"""Variables that have another name than the kind of key in them."""


class Access(NamedTuple):
    """A script reads or writes a key of a kind; `field` is "" for the key itself, and `signal:` for `signal:<id>`."""

    key: str
    field: str
    writes: bool


def accesses_of_scripts(folder: Path) -> dict[str, set[Access]]:
    """By script, what it does itself and by the shared functions that it calls."""
    texts = {file.stem: re.sub(r"--.*", "", file.read_text(encoding="utf-8")) for file in folder.glob("*.lua")}
    shared = "".join(texts.pop(name) for name in ("common", "fence", "run_states"))
    bodies = re.findall(r"^local function (\w+)(\(.*?)^end$", shared, re.MULTILINE | re.DOTALL)
    return {name: _accesses(text, dict(bodies)) for name, text in texts.items()}


def _accesses(body: str, functions: dict[str, str]) -> set[Access]:
    found = {access for call in calls(body) for access in _of_call(*call)}
    found |= {Access(kind, "", writes=True) for kind in re.findall(r"\bnotify\(prefix \.\. '(\w+):'", body)}
    for name in functions.keys() & set(re.findall(r"\w+", body)):
        found |= _accesses(functions[name], {other: text for other, text in functions.items() if other != name})
    return found


def calls(body: str) -> Iterable[tuple[str, list[str]]]:
    """The commands in a text that have a key, each with the arguments after its name."""
    for match in re.finditer(r"\bp?call\('([A-Z]+)', ", body):
        arguments, depth, quoted = [""], 0, False
        for letter in body[match.end() :]:
            quoted ^= letter == "'"
            depth += 0 if quoted else (letter in "({[") - (letter in ")}]")
            if depth < 0:
                break
            if letter == "," and not depth and not quoted:
                arguments.append("")
            else:
                arguments[-1] += letter
        yield match[1], [argument.strip() for argument in arguments]


def _of_call(command: str, arguments: list[str]) -> Iterable[Access]:
    key, *rest = [argument for argument in arguments if argument != "'NOMKSTREAM'"]
    if key == "list":  # in `notify`, whose callers name it
        return
    built = re.match(r"prefix \.\. '(\w+):?'", key)
    kind = built[1] if built else _OTHER_NAMES.get(key, key)
    assert re.fullmatch(r"[a-z_]+", kind), f"which key is {key} in {command} {arguments}?"
    writes = command in _WRITES
    yield Access(kind, "", writes)
    for argument in rest[_FIELDS[command]] if command in _FIELDS else []:
        field = re.match(r"'(\w+:?)'", argument)
        assert field, f"which field is {argument} in {command} {arguments}?"
        yield Access(kind, field[1], writes)
