"""`HookRegistry`: an agent's callbacks by event, in the order in which they are called."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import (
    Any,
    Final,
    NamedTuple,
    Protocol,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

from playhead.runtime.agent.hooks.events import EVENTS, HookEvent
from playhead.runtime.core.arguments import check_items, check_number

__all__ = ["HookCallback", "HookOrder", "HookProvider", "HookRegistry", "is_async", "name_of"]

HookCallback = Callable[[Any], Any]
"""Called with the event. Sync or async; what it returns is ignored."""

_FORM: Final = "write `def hook(event: BeforeToolCallEvent) -> None`"


class HookOrder:
    """Names of values for `order`: a lower one is called first."""

    SDK_FIRST: int = -100
    DEFAULT: int = 0
    SDK_LAST: int = 100


class _Callback(NamedTuple):
    order: float
    call: HookCallback


@runtime_checkable
class HookProvider(Protocol):
    """An object that adds several callbacks at once. One that was written for Strands does as well."""

    def register_hooks(self, registry: HookRegistry, **kwargs: Any) -> None:
        """Add the callbacks with `registry.add_callback`."""
        ...


class HookRegistry:
    """The callbacks of an agent.

    The event of a callback may be given as the class of this package, or as the class of the same name in Strands; the
    callback gets an event of this package in both cases.
    """

    def __init__(self) -> None:
        self._callbacks: dict[str, list[_Callback]] = {}

    def add_callback(
        self,
        event_type: type[Any] | Sequence[type[Any]] | None,
        callback: HookCallback,
        *,
        order: float = HookOrder.DEFAULT,
    ) -> None:
        """Add a function that is called at an event.

        Args:
            event_type: The event, or a list of events. None for those in the annotation of the callback's parameter,
                which may be a union.
            callback: A sync or async function with one parameter, the event.
            order: A lower one is called first; of equal ones, that which was added first. Events at the end of something
                reverse the order of equal ones.

        Raises:
            TypeError: If the callback cannot be called with one argument or is a generator, or something given as an event
                is not one.
            ValueError: If the events are not given and not in the annotation, the list is empty, or an async callback is
                added for `AgentInitializedEvent`, whose hooks are called from a constructor.
        """
        _check_callback(callback)
        check_number("order", order, least=float("-inf"))
        names = _annotated(callback) if event_type is None else _given(event_type)
        if "AgentInitializedEvent" in names and is_async(callback):
            raise ValueError(f"{_shown(callback)} is async; a hook of AgentInitializedEvent must be a plain function")
        for name in names:
            entries = self._callbacks.setdefault(name, [])
            entries.append(_Callback(order, callback))
            entries.sort(key=lambda entry: entry.order)  # stable

    def add_hook(self, hook: HookProvider) -> None:
        """Add the callbacks of a provider."""
        hook.register_hooks(self)

    def add_all(self, hooks: Sequence[object]) -> None:
        """Add providers, and functions whose parameter is annotated with an event.

        Raises:
            TypeError, ValueError: If one is neither; or as `add_callback`.
        """
        check_items("hooks", hooks, object, each="a hook provider or a function")
        for number, hook in enumerate(hooks):
            if isinstance(hook, type):
                raise TypeError(f"hooks[{number}] is the class {hook.__name__}; give an instance of it")
            if isinstance(hook, HookProvider):
                self.add_hook(hook)
            elif callable(hook):
                self.add_callback(None, hook)
            else:
                raise TypeError(
                    f"hooks[{number}] must have a method register_hooks or be a function, not {hook!r:.80} of type "
                    f"{type(hook).__name__}"
                )

    def has_callbacks(self, event: str | None = None) -> bool:
        """Whether there is a callback for the event with this name, or any."""
        return bool(self._callbacks) if event is None else event in self._callbacks

    def callbacks_for(self, event: str) -> list[HookCallback]:
        """The callbacks for the event with this name, in the order in which they are called."""
        groups: Iterable[list[_Callback]] = (
            list(group) for _, group in groupby(self._callbacks.get(event, ()), key=lambda entry: entry.order)
        )
        backwards = EVENTS[event].is_reversed
        return [entry.call for group in groups for entry in (reversed(group) if backwards else group)]

    def copy(self) -> HookRegistry:
        """A registry with the same callbacks, to which later ones are not added."""
        taken = HookRegistry()
        taken._callbacks = {name: list(entries) for name, entries in self._callbacks.items()}
        return taken


def name_of(event_type: object) -> str:
    """The name of an event, given by its class of this package or of Strands.

    Raises:
        TypeError: For anything else; the message names the events.
    """
    kind = get_origin(event_type) or event_type
    if isinstance(kind, type):
        of_strands = kind.__module__.partition(".")[0] == "strands"
        if kind.__name__ in EVENTS and (of_strands or issubclass(kind, HookEvent)):
            return kind.__name__
    raise TypeError(f"{event_type!r} is not an event that hooks can be added for; those are {', '.join(EVENTS)}")


def _given(event_type: type[Any] | Sequence[type[Any]]) -> list[str]:
    kinds = cast("Sequence[Any]", event_type) if isinstance(event_type, list | tuple) else [event_type]
    if not kinds:
        raise ValueError("the list of events is empty; name at least one")
    return list(dict.fromkeys(map(name_of, kinds)))


def _annotated(callback: HookCallback) -> list[str]:
    function = callback if inspect.isroutine(callback) else type(callback).__call__
    try:
        hints = get_type_hints(function)
        parameter = next(iter(inspect.signature(callback).parameters.values()))
    except Exception as error:
        raise ValueError(
            f"the event of {_shown(callback)} cannot be read from its annotation: {error}. {_FORM}"
        ) from error
    hint = hints.get(parameter.name)
    if hint is None:
        raise ValueError(
            f"the parameter {parameter.name!r} of {_shown(callback)} does not say which event it is for; {_FORM}"
        )
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else [hint]
    return list(dict.fromkeys(map(name_of, kinds)))


def _check_callback(callback: object) -> None:
    if not callable(callback) or isinstance(callback, type):
        raise TypeError(f"a hook must be a function, not {callback!r:.80} of type {type(callback).__name__}; {_FORM}")
    if inspect.isgeneratorfunction(callback) or inspect.isasyncgenfunction(callback):
        raise TypeError(f"{_shown(callback)} is a generator, which no call runs; {_FORM}")
    try:
        inspect.signature(callback).bind(object())
    except TypeError as error:
        raise TypeError(f"{_shown(callback)} cannot be called with the event alone: {error}; {_FORM}") from None
    except ValueError:  # a builtin, whose signature is not known
        pass


def is_async(callback: HookCallback) -> bool:
    """Whether a callback returns a coroutine at once, so that it needs no thread."""
    return inspect.iscoroutinefunction(callback) or inspect.iscoroutinefunction(type(callback).__call__)


def _shown(callback: object) -> str:
    return f"the hook {getattr(callback, '__qualname__', type(callback).__qualname__)}"
