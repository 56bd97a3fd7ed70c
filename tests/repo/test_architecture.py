"""Imports follow the floor plan of `docs/architecture.md`, and what that page names is there."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter

import pytest

from playhead.client.cli.commands import COMMANDS

from .test_house import ROOT, imports, modules, packages, tracked

__all__: list[str] = []

MEMBERS = ("runtime", "workers", "client")
SCRIPTS = "runtime/playhead/runtime/log/redis/scripts/"
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")


def floor_plan(page: str) -> dict[str, int]:
    """`runtime.core` → its floor, by the page's block between the two marks."""
    block = re.search(r"<!-- floors -->(.*?)<!-- end of floors -->", page, re.DOTALL)
    assert block, "the page has no floor plan"
    floors: dict[str, int] = {}
    member = ""
    for line in block[1].split("\n"):
        words = line.split()
        if len(words) == 1 and words[0] in MEMBERS:
            member = words[0]
        elif words:
            floors |= {f"{member}.{part}": int(words[0]) for part in words[1:]}
    return floors


def part_of(module: str) -> str | None:
    """`playhead.runtime.log.redis.keys` → `runtime.log`; None for the facade of a distribution."""
    parts = module.split(".")[1:]
    return ".".join(parts[:2]) if len(parts) > 1 else None


def arrows(known: Mapping[str, str], of: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Every import of one module by another of `known`, as (importer, imported)."""
    for module, source in known.items():
        for name in imports(source, module=module, is_package=module in of):
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name and name != module:
                yield module, name


def wrong_arrows(known: Mapping[str, str], of: frozenset[str], floors: Mapping[str, int]) -> list[str]:
    """Imports that go up or stay on a floor, and parts that the plan does not name."""
    found: set[str] = set()
    for importer, imported in arrows(known, of):
        here, there = part_of(importer), part_of(imported)
        if here is None:  # the facade of a distribution gives names on from every floor
            continue
        if here not in floors:
            found.add(f"{here} is not in the plan")
        elif there is None:
            found.add(f"{importer} imports the face {imported} instead of a module")
        elif here != there and here.split(".")[0] == there.split(".")[0] and floors[here] <= floors.get(there, 99):
            found.add(f"{importer} imports {imported}, which is not on a lower floor")
    return sorted(found)


def test_a_floor_plan_is_read_part_by_part():
    page = "<!-- floors -->\n    runtime\n      2  a\n      1  b  c\n    client\n      1  d\n<!-- end of floors -->"
    assert floor_plan(page) == {"runtime.a": 2, "runtime.b": 1, "runtime.c": 1, "client.d": 1}


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from playhead.runtime.low import a", []),
        ("from playhead.runtime.mid.b import x", []),
        (
            "def f():\n    from playhead.runtime.high import c",
            ["playhead.runtime.mid.a imports playhead.runtime.high,"],
        ),
        ("from playhead.runtime.side import c", ["playhead.runtime.mid.a imports playhead.runtime.side,"]),
        ("from playhead.runtime import Agent", ["playhead.runtime.mid.a imports the face playhead.runtime"]),
    ],
)
def test_an_arrow_that_does_not_go_down_is_found(source: str, wrong: list[str]):
    floors = {"runtime.low": 1, "runtime.mid": 2, "runtime.side": 2, "runtime.high": 3}
    known = dict.fromkeys(
        [
            "playhead.runtime",
            "playhead.runtime.low",
            "playhead.runtime.mid.b",
            "playhead.runtime.side",
            "playhead.runtime.high",
        ],
        "",
    )
    found = wrong_arrows({**known, "playhead.runtime.mid.a": source}, frozenset(), floors)
    assert [text[: len(start)] for text, start in zip(found, wrong, strict=True)] == wrong


def test_every_import_goes_down_the_floor_plan():
    floors = floor_plan(PAGE)
    assert len(floors) > 25
    assert wrong_arrows(modules(), packages(), floors) == []


def test_the_plan_names_only_parts_that_exist():
    parts = {part for module in modules() if (part := part_of(module))}
    assert set(floor_plan(PAGE)) == parts


def test_no_module_imports_itself_through_others():
    known = {module: source for module, source in modules().items() if module not in packages()}
    to: dict[str, set[str]] = {module: set() for module in known}
    for importer, imported in arrows(known, packages()):
        to[importer].add(imported)
    TopologicalSorter(to).prepare()  # raises CycleError, which names the circle


def test_what_needs_records_alone_loads_neither_models_nor_redis():
    code = "import sys, playhead.runtime.core.records; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert {"redis", "openai", "httpx", "anyio", "asyncio"} & set(loaded) == set()
    assert {part_of(name) for name in loaded if name.startswith("playhead.")} == {None, "runtime.core", "runtime.lazy"}


def test_importing_the_providers_imports_no_sdk() -> None:
    code = (
        "import sys, playhead.runtime.models\n"
        "heavy = {'aiobotocore', 'anthropic', 'botocore', 'openai', 'httpx', 'httpx2', 'xllamacpp'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


WITHOUT_TELEMETRY = """
import asyncio, sys
from playhead.runtime import Agent
from playhead.runtime.models import ScriptedModel
asyncio.run(Agent(ScriptedModel(["Hi."]), callback_handler=None).invoke_async("go"))
print(*[name for name in sys.modules if name.partition(".")[0] == "opentelemetry"])
"""


def test_a_program_that_does_not_import_opentelemetry_runs_without_it() -> None:
    command = [sys.executable, "-c", WITHOUT_TELEMETRY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


HELP = """
import sys
from playhead.client.main import main
sys.argv = ["playhead", "--help"]
try:
    main()
finally:
    print("LOADED", *sys.modules)
"""


def test_help_imports_neither_a_command_nor_a_library_that_only_commands_need():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown, _, loaded = done.stdout.partition("LOADED ")
    assert all(f"  {name} " in shown for name in COMMANDS)
    modules = loaded.split()
    heavy = {"anyio", "asyncio", "msgpack", "openai", "opentelemetry", "pydantic", "redis", "rich", "ssl"}
    assert heavy & set(modules) == set()
    ours = {".".join(name.split(".")[:4]) for name in modules if name.startswith("playhead.") and name.count(".") > 2}
    assert ours == {"playhead.client.cli.app", "playhead.client.cli.commands", "playhead.runtime.core.errors"}


# What the page names


def names_of(page: str) -> list[str]:
    """Each dotted name, path and script in backticks, once: `client.run.Run`, `docs/records.md`, `append.lua`."""
    dotted = rf"playhead\.[\w.]+|(?:{'|'.join(MEMBERS)})\.[\w.]+"
    return sorted(set(re.findall(rf"`({dotted}|[\w./-]+/[\w./-]*|\w+\.lua)`", page)))


def is_there(name: str) -> bool:
    """Whether a name that `names_of` gives is that of a file, a module, or what a module holds."""
    if name.endswith(".lua") and "/" not in name:
        return SCRIPTS + name in tracked()
    if "/" in name:
        return any(file == name or (name.endswith("/") and file.startswith(name)) for file in tracked())
    parts = name.removeprefix("playhead.").split(".")
    module, rest = f"playhead.{parts[0]}", parts[1:]
    while rest and f"{module}.{rest[0]}" in modules():
        module, rest = f"{module}.{rest[0]}", rest[1:]
    thing: object = importlib.import_module(module)
    for part in rest:
        if not hasattr(thing, part):
            return False
        thing = getattr(thing, part)
    return True


def test_the_names_of_a_page_are_found_in_backticks():
    page = "`client.run.Run` at `a/b.py`, `append.lua`, `run.claimed`, `a * b`, client.run, `playhead.runtime` `a/b.py`"
    assert names_of(page) == ["a/b.py", "append.lua", "client.run.Run", "playhead.runtime"]


@pytest.mark.parametrize(
    "name",
    ["client.run.Run.stop", "client.walk", "runtime.core.decide.Decide", "docs/none.md", "docs/none/", "extend.lua"],
)
def test_a_name_that_leads_nowhere_is_found(name: str):
    assert not is_there(name)


@pytest.mark.parametrize("name", names_of(PAGE))
def test_the_page_names_only_what_exists(name: str):
    assert is_there(name)


def test_each_step_of_the_four_walks_names_where_it_happens():
    walks = re.findall(r"^### (A [^,\n]+),[^\n]*\n(.*?)(?=^##)", PAGE.partition("## Decisions")[0] + "##", re.M | re.S)
    assert [title for title, _ in walks] == ["A prompt", "A chunk", "A cancel", "A takeover"]
    steps = [step for _, walk in walks for step in re.split(r"^\d+\. ", walk, flags=re.M)[1:]]
    assert len(steps) > 25
    assert [step for step in steps if not names_of(step)] == []
