"""The key-value state of an agent in a run: what may be in it, and how a record changes it. Pure.

A change is stored as `{"values": {key: value}, "deleted": [key]}`, in `state.changed` or in the record with which a tool's
call ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from playhead.runtime.core.codec import pack
from playhead.runtime.core.records import StateChanged
from playhead.runtime.core.state import RunState

__all__ = [
    "MAX_STATE_BYTES",
    "check_state_key",
    "checked_state_value",
    "packed_state",
    "state_changed",
    "with_state_change",
]

MAX_STATE_BYTES: Final = 256 * 1024
"""The largest size of all values with their keys, as JSON: it is stored with each run of a session that has one."""


def check_state_key(key: object) -> None:
    """Refuse a key that is not a text with something in it.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(key, str) or not key.strip():
        raise ValueError(f"a key of agent.state must be a text that is not blank, not {key!r:.80}")


def checked_state_value(key: str, value: object) -> tuple[Any, int]:
    """A copy of a value as it comes back from the log (a tuple as a list), and its size as JSON, with its key.

    Raises:
        ValueError: If the key is not a text with something in it, or the value is not JSON.
    """
    check_state_key(key)
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"agent.state[{key!r}] cannot be {type(value).__name__}: it is not JSON serializable ({error}). "
            "Use text, numbers, booleans, None, lists and dicts."
        ) from error
    return json.loads(text), len(text) + len(json.dumps(key)) + 2


def state_changed(state: RunState, record: StateChanged) -> RunState:
    """The run after `state.changed`."""
    before = {} if record.begins or state.agent_state is None else state.agent_state
    return replace(state, agent_state=_changed(before, record.values, record.deleted))


def with_state_change(state: RunState, change: Mapping[str, Any] | None) -> RunState:
    """The run after the change that the end of a tool's call has with it, if any."""
    if change is None:
        return state
    changed = _changed(state.agent_state or {}, change.get("values", {}), change.get("deleted", ()))
    return replace(state, agent_state=changed)


def packed_state(values: Mapping[str, Any] | None) -> bytes | None:
    """The bytes that a log keeps of a state; None for None."""
    return None if values is None else pack(dict(values))


def _changed(before: Mapping[str, Any], values: Mapping[str, Any], deleted: Any) -> dict[str, Any]:
    return {**{key: value for key, value in before.items() if key not in deleted}, **values}
