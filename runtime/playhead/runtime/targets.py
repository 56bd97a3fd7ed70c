"""Loads agents and factories from TARGETs: `module:attribute` or `path/to/file.py:attribute`; without an attribute, all."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Final

from playhead.runtime.agent.agent import Agent
from playhead.runtime.agent.factory import AgentFactory, AgentSource, is_factory
from playhead.runtime.agent.serving import Served, served_of
from playhead.runtime.core.errors import AgentFactoryError, BadTargetError, ModelConfigurationError, PlayheadError
from playhead.runtime.guests.finding import framework_agent, is_to_be_made, makes_framework_agent, takes_nothing
from playhead.runtime.guests.made import MadeGuest
from playhead.runtime.host.function import FunctionGuest, is_guest_function, takes_context
from playhead.runtime.host.guest import Guest
from playhead.runtime.tools.tool import Tool

__all__ = ["file_of", "load_agents", "load_served", "load_tools"]

_KEEPS: Final = "a {}, which keeps what a run did: write a function that makes one, and name the function"


def load_agents(targets: Sequence[str]) -> dict[str, AgentSource]:
    """Load the agents of all targets, by name, and the factories that make agents, as `load_served` without the guests.

    Raises:
        ModelConfigurationError, BadTargetError: As `load_served`, and if all that a target has are guests.
    """
    served = load_served(targets)
    agents = {name: one for name, one in served.items() if not isinstance(one, Guest)}
    if served and not agents:
        raise BadTargetError(
            f"{', '.join(served)} runs its runs by code of its own, and is not an Agent: `load_served` loads it"
        )
    return agents


def load_served(targets: Sequence[str]) -> dict[str, Served]:
    """Load what a worker serves, by name: the agents of all targets, the factories that make agents, and the guests.

    An attribute may be an Agent, an AgentFactory, a Guest, an agent of a framework such as `strands.Agent`, or a function: of one
    argument, which becomes a factory, of none, which makes an agent of a framework, or an async generator of two, which becomes
    a guest. Without an attribute these are every Agent, AgentFactory and Guest, and, unless the name begins with `_`, every
    agent of a framework and every function that is annotated as a factory, `(ctx: RunContext) -> Agent`, as one that makes an
    agent of a framework, `() -> strands.Agent`, or as a guest, `(ctx: GuestContext, prompt)`.

    Raises:
        ModelConfigurationError: If an agent names a model of an unknown form.
        BadTargetError: If a target does not import, has no such attribute or no Agent, or two agents share a name.
    """
    agents: dict[str, Served] = {}
    origin: dict[str, str] = {}
    for target in targets:
        for agent in _agents_of(target):
            if agents.get(agent.name, agent) != agent:
                where = {origin[agent.name]: None, target: None}
                raise BadTargetError(
                    f"two agents are named {agent.name!r}, in {' and '.join(where)}. Give one of them another name=."
                )
            agents[agent.name] = agent
            origin[agent.name] = target
    return agents


def file_of(target: str) -> tuple[str, bool]:
    """The file or module of a target without its attribute, and whether it is a file."""
    where = target.rpartition(":")[0] if _has_attribute(target) else target
    return where, _is_file(where)


def _agents_of(target: str) -> list[Served]:
    where, is_file = file_of(target)
    attribute = target[len(where) + 1 :]
    module = _load_file(target, Path(where)) if is_file else _load_module(target, where)
    if attribute:
        value = getattr(module, attribute, None)
        try:
            return [_served(target, attribute, value)]
        except TypeError as error:
            what = str(error) if inspect.isfunction(value) else f"it is a {type(value).__name__}"
        if is_to_be_made(value):
            what = f"it is {_KEEPS.format(type(value).__name__)}"
        what = "no such attribute" if value is None else what
        raise BadTargetError(
            f"{target}: {attribute} is not an Agent ({what}). Agents there: {_names(module, but=attribute)}"
        )
    found: list[Served] = []
    for name, value in _found(module).items():
        try:
            found.append(_served(target, name, value))
        except TypeError as error:
            raise BadTargetError(f"{target}: {error}") from error
    if not found:
        raise BadTargetError(f"{target}: no Agent in it; {_advice(target, module)}")
    return found


def _served(target: str, name: str, value: object) -> Served:
    """What a value of a target stands for.

    Raises:
        TypeError: If it is nothing that is served.
        ModelConfigurationError, BadTargetError: If it cannot be.
    """
    try:
        return served_of(value, name=name)
    except AgentFactoryError as error:
        raise _failure(f"{target}: cannot make the agent", error) from error
    except ValueError as error:
        raise BadTargetError(f"{target}: {error}") from error


def _advice(target: str, module: ModuleType) -> str:
    """What to do with a module in which nothing is served: about the first thing in it that nearly is, if there is one."""
    own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    for name, value in own.items():
        if is_to_be_made(value):
            return f"{name} is {_KEEPS.format(type(value).__name__)}"
        if type(value).__name__ == "StateGraph":
            return f"{name} is a StateGraph, which is not compiled: {name}.compile()"
        if inspect.isfunction(value) and value.__module__ == module.__name__:
            if takes_context(value):
                return f"{name} takes a GuestContext, and is not `async def {name}(ctx, prompt)` that yields its events"
            if takes_nothing(value):
                return f"if {name} makes one, annotate what it returns, or name it: {target}:{name}"
    return "define one at module level: assistant = Agent(name=...)"


def _has_attribute(target: str) -> bool:
    tail = target.rpartition(":")[2]
    return ":" in target and tail.isidentifier()


def _is_file(where: str) -> bool:
    return where.endswith(".py") or "/" in where


def _found(module: ModuleType) -> dict[str, object]:
    """What of a module is served, by the names of its first attributes."""
    values = vars(module).items()
    made = [value for _, value in values if isinstance(value, AgentFactory | FunctionGuest | MadeGuest)]
    found: dict[int, tuple[str, object]] = {}
    for name, value in values:
        hidden = name.startswith("_") or any(one.makes_by(value) for one in made)
        if isinstance(value, Agent | AgentFactory | Guest) or (not hidden and _is_served(value)):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _is_served(value: object) -> bool:
    """Whether it is an agent of a framework, or a function that says by its annotations that it makes agents, or runs runs."""
    if framework_agent(value) or makes_framework_agent(value):
        return True
    return is_factory(value) or (is_guest_function(value) and takes_context(value))


def _names(module: ModuleType, *, but: str) -> str:
    return ", ".join(name for name in _found(module) if name != but) or "none"


def _load_module(target: str, name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise BadTargetError(
            f"{target!r} is not a target: use module:attribute or path/to/file.py:attribute; without :attribute, "
            "every Agent"
        )
    folder = str(Path.cwd())
    if folder not in sys.path:  # as `python -m` does: a user names the modules in the current directory
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _failure(f"{target}: cannot import {name!r}", error) from error


def _load_file(target: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise BadTargetError(f"{target}: there is no file {path}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # a file may import its neighbours, as when it is run
        sys.path.insert(0, folder)
    name = _name_of(path.resolve())
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise BadTargetError(f"{target}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        raise _failure(f"{target}: cannot run {path}", error) from error
    return module


def _name_of(path: Path) -> str:
    """The name of a file's module. A file is loaded once, and two files with the same name become two modules.

    It is the name by which an import finds this file, if there is one, because a child process that a tool starts with
    `spawn` or `forkserver` imports the module of each function that it receives.
    """
    name = path.stem
    with suppress(Exception):  # not a name of a module, or a module that cannot be looked for
        spec = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
        if name.isidentifier() and spec is not None and spec.origin is not None and Path(spec.origin).samefile(path):
            return name
    return f"playhead_target_{name}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _failure(what: str, error: BaseException) -> PlayheadError:
    """The error for a target that cannot be loaded. The error of an unusable model keeps its class, and so its exit code."""
    kind = ModelConfigurationError if isinstance(error, ModelConfigurationError) else BadTargetError
    return kind(f"{what}: {_what(error)}")


def _what(error: BaseException) -> str:
    """Describes the error, with the line of the user's own code that raised it, or that called what raised it.

    What is installed is the user's own code only if there is no other, as for a target that is an installed module. An error
    of a function that makes an agent is told by its own words, with the line of what it raised.
    """
    told = str(error) if isinstance(error, AgentFactoryError) else f"{type(error).__name__}: {error}"
    error = (isinstance(error, AgentFactoryError) and error.__cause__) or error
    ours = ("<frozen", importlib.__file__, *sys.modules["playhead"].__path__)
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    own = [frame for frame in frames if not frame.filename.startswith(installed)] or frames
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{told}{where}"


def load_tools(file: str) -> list[object]:
    """Load the tools of a Python file: its `@tool` functions, and the plain functions that it defines itself.

    Raises:
        BadTargetError: If the file is missing, cannot be imported, or has no tools.
    """
    module = _load_file(file, Path(file))
    found = [value for name, value in vars(module).items() if _is_tool(value, module) and not name.startswith("_")]
    if not found:
        raise BadTargetError(
            f"{file}: no tool in it; define a function with the name of the tool that it stands in for"
        )
    return found


def _is_tool(value: object, module: ModuleType) -> bool:
    return isinstance(value, Tool) or (inspect.isfunction(value) and value.__module__ == module.__name__)
