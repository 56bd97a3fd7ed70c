"""Finds the tool call that a streamed delta belongs to, however a server uses index, id and name. Pure.

By the API, `index` numbers the calls, and the first delta of a call has its id and name. Servers send the same index for
every call, or none; no id, the same for every call, or another in each delta; the name in fragments, or in each delta;
the arguments as an object. A call begins where the API or, if that says nothing, the name and the end of the arguments
say so. If that is not certain, the pieces are kept together. Together they are not valid JSON, so the model gets an
error, whereas a wrong cut could run a tool with half of its input.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, cast

from playhead.runtime.core.plain import plain, plain_text
from playhead.runtime.core.tool_input import read_tool_input
from playhead.runtime.models.openai.blocks import BlockQueue, CallBlock
from playhead.runtime.models.server_errors import not_understood

__all__ = ["CallTable"]

_CALL_KEYS: Final = frozenset({"index", "id", "type", "function", "custom", "name", "arguments", "input"})
_FUNCTION_KEYS: Final = frozenset({"index", "name", "arguments", "input"})
"""Keys of the API; all others are the provider's own, such as thought signatures."""


class CallTable:
    """The calls of one message, each of which is put into `queue` where it begins.

    Args:
        queue: The blocks of the message.
        tools: The names of the tools that were offered; they decide whether a name is whole.
        provider: The provider whose own fields are kept; none are kept if it is empty.
    """

    def __init__(self, queue: BlockQueue, *, tools: Collection[str] = (), provider: str = "") -> None:
        self.calls: list[CallBlock] = []
        self._queue = queue
        self._tools = frozenset(tools)
        self._provider = provider
        self._latest: dict[int, CallBlock] = {}
        self._by_id: dict[tuple[int | None, str], CallBlock] = {}

    def take(self, call: Mapping[str, Any]) -> None:
        """Process one element of `delta.tool_calls`."""
        function = _function(call)
        index, call_id = _index(call, function), _text(call.get("id"))
        name, piece = _text(function.get("name")), _piece(function.get("arguments", function.get("input")))
        block = self._block(index, call_id, name=name, piece=piece)
        if block is None:
            return
        block.call_id = block.call_id or call_id
        if name:
            block.named_again = block.arguments.closed and not call_id
            self._name(block, name)
        if piece:
            block.add(piece)
        self._keep(block, call, function)

    def complete(self, calls: Sequence[Mapping[str, Any]]) -> bool:
        """Process the calls of a whole message: each completes the call at its place, and further ones are new.

        Returns whether they agree with the known calls; if not, the message fails.
        """
        while len(self.calls) < len(calls):
            self._begin("")
        return len(calls) == len(self.calls) and all(map(self._complete, self.calls, calls))

    def _complete(self, block: CallBlock, call: Mapping[str, Any]) -> bool:
        function, said = _function(call), block.arguments.text
        name, text = _text(function.get("name")), _piece(function.get("arguments", function.get("input")))
        if name and name != block.name:
            if block.started or not name.startswith(block.name):
                return False
            block.name = name
        if not _same_input(text, said):
            if not text.startswith(said) and block.arguments.filled:
                return False
            block.add(text.removeprefix(said))
        if not block.started:
            block.call_id = block.call_id or _text(call.get("id"))
        if not block.delivered:
            self._keep(block, call, function)
        return True

    def check(self) -> None:
        """Check the whole message.

        Raises:
            ModelResponseError: If a call has no name, or continued after it was delivered.
        """
        for block in self.calls:
            if not block.name:
                raise not_understood("a tool call without a name", block.arguments.text or "{}")
            late = block.arguments.pieces[block.sent :]
            if block.delivered and late and not _says_the_same(block):
                raise not_understood("more arguments for a tool call that had ended", block.arguments.text)

    def _block(self, index: int | None, call_id: str, *, name: str, piece: str) -> CallBlock | None:
        """The call that a delta belongs to; None for a delta without content that belongs to no call."""
        block = self._known(index, call_id, name=name)
        if block is not None and self._continues(block, index, call_id, name=name, piece=piece):
            return block
        if block is None and not (name or call_id or piece.strip()):
            return None
        new = self._begin(call_id)
        if block is not None and not name:  # its name came alone, after the arguments of the call before it
            new.name = block.name
        if index is not None:
            self._latest[index] = new
        if call_id:
            self._by_id[index, call_id] = new
        return new

    def _begin(self, call_id: str) -> CallBlock:
        new = CallBlock(call_id=call_id)
        self.calls.append(new)
        self._queue.append(new)
        return new

    def _known(self, index: int | None, call_id: str, *, name: str) -> CallBlock | None:
        """The call that a delta may continue, by its index and its id."""
        if call_id and (exact := self._by_id.get((index, call_id))) is not None:
            return exact
        if index is not None and index in self._latest:
            return self._latest[index]
        if call_id and not (name and index is not None):  # the index is missing, or the server counts deltas with it
            known = next((block for block in reversed(self.calls) if block.call_id == call_id), None)
            if known is not None:
                return known
        return self.calls[-1] if index is None and self.calls else None

    def _continues(self, block: CallBlock, index: int | None, call_id: str, *, name: str, piece: str) -> bool:
        """Whether a delta with this id, name and piece of arguments continues the call rather than beginning another one."""
        arguments, begins = block.arguments, piece.lstrip()[:1] in ("", "{")
        other_id = bool(call_id and block.call_id and call_id != block.call_id)
        if not name:
            return not (arguments.closed and block.named_again and begins and piece.strip())
        if not block.name:
            return True
        if arguments.closed:
            return not other_id and name == block.name and _repeats(block, call_id, piece)
        if not arguments.blank:
            return name == block.name and not (index is None and other_id and begins)
        if name == block.name or block.name + name in self._tools:
            return True
        return block.name not in self._tools if self._tools else not other_id

    def _name(self, block: CallBlock, name: str) -> None:
        """Add a whole name, a fragment of it, or the name so far."""
        whole = block.name + name
        if block.started or (name == block.name and whole not in self._tools):
            return
        block.name = name if name.startswith(block.name) and whole not in self._tools else whole

    def _keep(self, block: CallBlock, call: Mapping[str, Any], function: Mapping[str, Any]) -> None:
        """Keep the provider's own fields of a call."""
        own = {key: value for key, value in call.items() if key not in _CALL_KEYS and value is not None}
        inner = {key: value for key, value in function.items() if key not in _FUNCTION_KEYS and value is not None}
        if function is call:
            inner = {}
        if not self._provider or not (own or inner):
            return
        kept = {
            "provider": self._provider,
            "fields": {**block.fields.get("fields", {}), **plain(own)},
            "function": {**block.fields.get("function", {}), **plain(inner)},
        }
        if block.delivered and kept != block.fields:
            raise not_understood("fields for a tool call that had ended", {**own, **inner})
        block.fields = kept


def _repeats(block: CallBlock, call_id: str, piece: str) -> bool:
    """Whether a delta with the call's name belongs to the call though its arguments were whole.

    A server that gave this call an id gives one to another call too. An empty object may come before the arguments:
    running the tool with it would be worse than losing a call without arguments.
    """
    said, again = block.arguments, piece.strip()
    if not again or not said.filled or (block.call_id and not call_id):
        return True
    return bool(call_id) and again in ("{}", said.text.strip())


def _same_input(again: str, said: str) -> bool:
    """Whether a call's arguments, given again as a whole, add nothing to what was said; an empty object never does."""
    if again == said:
        return True
    try:
        value = read_tool_input(again)
        return value == {} or value == read_tool_input(said)
    except ValueError:
        return False


def _says_the_same(block: CallBlock) -> bool:
    pieces = block.arguments.pieces
    try:
        return read_tool_input("".join(pieces)) == read_tool_input("".join(pieces[: block.sent]))
    except ValueError:
        return False


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object with the name and the arguments: under `function`, under `custom`, or the call itself."""
    for key in ("function", "custom"):
        if isinstance(call.get(key), Mapping):
            return cast("Mapping[str, Any]", call[key])
    return call


def _index(call: Mapping[str, Any], function: Mapping[str, Any]) -> int | None:
    index: Any = call.get("index", function.get("index"))
    if isinstance(index, str) and index.isdecimal():
        index = int(index)
    return index if isinstance(index, int) else None


def _text(value: Any) -> str:
    return "" if value is None else plain_text(str(value))


def _piece(arguments: Any) -> str:
    """A piece of the JSON text of the arguments; some servers send the object itself."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return json.dumps(arguments, ensure_ascii=False)
