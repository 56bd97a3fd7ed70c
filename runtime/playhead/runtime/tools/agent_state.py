"""`AgentState`: the key-value store of an agent, which its tools and hooks change, and the view of it that one call has."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from typing import Any, Final

from playhead.runtime.core.agent_state import MAX_STATE_BYTES, check_state_key, checked_state_value

__all__ = ["AgentState", "StateOfCall"]

_GONE: Final = object()


class AgentState:
    """Values by key, as JSON: Strands' `agent.state`. Usable from any thread.

    In a run, what a tool or a hook changes is in the log, so the next owner of the run has it; at the end of a run it is
    kept with the session, and the next run begins from it.

    Args:
        initial: The values at the beginning.

    Raises:
        ValueError: As `set`.
    """

    def __init__(self, initial: Mapping[str, Any] | None = None) -> None:
        self._lock = threading.RLock()
        self._values: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._changes = _Changes()  # those that no call of a tool made, and that are not in the log yet
        for key, value in (initial or {}).items():
            self.put(key, value)

    @classmethod
    def of_run(cls, *states: Mapping[str, Any] | None) -> AgentState:
        """Internal: the store of a run: what its log has, else what its session has, else what its agent has."""
        return cls(next((one for one in states if one is not None), None))

    def get(self, key: str | None = None) -> Any:
        """A copy of the value under a key, None if there is none; without a key a copy of all values, as a dict."""
        with self._lock:
            return copy.deepcopy(self._values if key is None else self._values.get(key))

    def set(self, key: str, value: Any) -> None:
        """Set a value; a copy of it is kept.

        Raises:
            ValueError: If the key is not a text with something in it, the value is not JSON, or all values together would be
                larger than 256 KiB as JSON. The message names the key; nothing was changed.
        """
        with self._lock:
            self._changes.note(key, self.put(key, value))

    def delete(self, key: str) -> None:
        """Delete a key, if it is there. Raises ValueError if it is not a text with something in it."""
        with self._lock:
            self.drop(key)
            self._changes.note(key, _GONE)

    def put(self, key: str, value: Any) -> Any:
        """Internal: `set` without a note that it is to be logged; returns what is kept."""
        kept, size = checked_state_value(key, value)
        with self._lock:
            total = sum(self._sizes.values()) - self._sizes.get(key, 0) + size
            if total > MAX_STATE_BYTES:
                raise ValueError(
                    f"agent.state would have {total} bytes with {key!r}, and may have {MAX_STATE_BYTES}: keep what is large "
                    "elsewhere, and its address here"
                )
            self._values[key], self._sizes[key] = kept, size
        return kept

    def drop(self, key: str) -> None:
        """Internal: `delete` without a note that it is to be logged."""
        check_state_key(key)
        with self._lock:
            self._values.pop(key, None)
            self._sizes.pop(key, None)

    def of_call(self) -> StateOfCall:
        """Internal: the store as one call of a tool sees it."""
        return StateOfCall(self)

    @property
    def is_changed(self) -> bool:
        """Internal: whether it has changes that are not in the log yet."""
        return bool(self._changes)

    def take_changes(self) -> dict[str, Any] | None:
        """Internal: the changes that are not in the log yet, and are from now on; None for none."""
        with self._lock:
            return self._changes.take()

    def load(self, values: Mapping[str, Any]) -> None:
        """Internal: have these values, which are in the log, and no others."""
        with self._lock:
            for key in list(self._values):
                self.drop(key)
            for key, value in values.items():
                self.put(key, value)
            self._changes.take()

    def apply(self, change: Mapping[str, Any] | None) -> None:
        """Internal: make a recorded change again."""
        _apply(self, change)

    def __reduce__(self) -> tuple[type[AgentState], tuple[dict[str, Any]]]:
        return AgentState, (self.get(),)

    def __repr__(self) -> str:
        return f"AgentState({self.get()!r})"


class StateOfCall:
    """The store of the agent as one call of a tool sees it: the changes belong to the record with which the call ends.

    `get`, `set` and `delete` are those of `AgentState`; once the call has ended, `set` and `delete` raise RuntimeError.
    """

    def __init__(self, store: AgentState) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._changes = _Changes()
        self._ended = False

    def get(self, key: str | None = None) -> Any:
        """As `AgentState.get`."""
        return self._store.get(key)

    def set(self, key: str, value: Any) -> None:
        """As `AgentState.set`. Raises RuntimeError if the call has ended."""
        with self._lock:
            self._check_open()
            self._changes.note(key, self._store.put(key, value))

    def delete(self, key: str) -> None:
        """As `AgentState.delete`. Raises RuntimeError if the call has ended."""
        with self._lock:
            self._check_open()
            self._store.drop(key)
            self._changes.note(key, _GONE)

    def end(self) -> dict[str, Any] | None:
        """Internal: the changes of the call, which has ended; None for none."""
        with self._lock:
            self._ended = True
            return self._changes.take()

    def apply(self, change: Mapping[str, Any] | None) -> None:
        """Internal: make a recorded change again."""
        _apply(self, change)

    def _check_open(self) -> None:
        if self._ended:
            raise RuntimeError("this call has ended, so it can no longer change agent.state: its result is in the log")


def _apply(store: AgentState | StateOfCall, change: Mapping[str, Any] | None) -> None:
    for key in (change or {}).get("deleted", ()):
        store.delete(key)
    for key, value in (change or {}).get("values", {}).items():
        store.set(key, value)


class _Changes:
    """The last change of each key."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._last)

    def note(self, key: str, value: Any) -> None:
        self._last[key] = value

    def take(self) -> dict[str, Any] | None:
        last, self._last = self._last, {}
        if not last:
            return None
        values = {key: copy.deepcopy(value) for key, value in last.items() if value is not _GONE}
        return {"values": values, "deleted": sorted(last.keys() - values.keys())}
