"""The documentation's links and tables are those of the code: commands, options, exit codes, records, events, keys."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from playhead.client.cli.commands import COMMANDS as HOMES
from playhead.client.cli.commands import load
from playhead.runtime.core import errors
from playhead.runtime.core.errors import PlayheadError
from playhead.runtime.core.events import Event, Projection
from playhead.runtime.core.records import (
    RECORD_TYPES,
    CheckedRecord,
    CycleStarted,
    Entry,
    MessageAdded,
    ModelChunk,
    ModelFailed,
    ModelRetried,
    ModelStarted,
    Record,
    RunCompleted,
    RunFailed,
    RunSubmitted,
    StructuredOutputProduced,
    ToolDecided,
    ToolInterrupted,
    ToolProgressed,
)
from playhead.runtime.embedded.binary import EmbeddedServerError
from playhead.runtime.log.redis.keys import Keys
from playhead.runtime.log.redis.replies import INFO_FIELDS
from playhead.runtime.log.values import RunInfo, SessionInfo, WorkerInfo
from tests.docs.docs_markdown import ROOT, anchors, links, pages, section, table
from tests.docs.lua_scripts import accesses_of_scripts, calls

__all__: list[str] = []

COMMANDS: dict[str, Any] = {name: load(name) for name in HOMES}
SHARED = {"--url", "--prefix", "--json"}
SOURCES = [file for member in ("runtime", "workers", "client") for file in (ROOT / member / "playhead").rglob("*.py")]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


# The API reference


def named_in_reference() -> list[str]:
    """What the pages of `docs/reference/` take from docstrings."""
    pages = sorted((ROOT / "docs/reference").glob("*.md"))
    return [name for page in pages for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)]


@pytest.mark.parametrize("name", named_in_reference())
def test_the_reference_is_made_of_modules_and_names_that_exist(name: str):
    assert pkgutil.resolve_name(name).__doc__


def test_the_reference_has_all_public_names():
    assert {f"playhead.{member}" for member in ("runtime", "workers", "client")} <= set(named_in_reference())


def test_every_page_is_in_the_navigation_of_the_site():
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    made = {"index.md", "changelog.md", "contributing.md", "security.md"}  # of the pages at the root
    assert set(re.findall(r"[\w/]+\.md", nav)) == pages | made


# Links


def broken(page: Path) -> list[str]:
    """Links of a page that lead nowhere on disk."""
    found: list[str] = []
    for target in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file.read_text(encoding="utf-8"))):
            found.append(target)
    return found


@pytest.mark.parametrize(
    "page",
    [*pages(), *(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY"))],
    ids=lambda page: page.name,
)
def test_the_links_of_a_page_lead_somewhere(page: Path):
    assert broken(page) == []


def test_the_link_check_finds_missing_files_and_headings(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# A heading: `x`\n[a](no.md) [b](#a-heading-x) [c](page.md#nope) [d](https://e.org) `[e](f.md)`\n")
    assert broken(page) == ["no.md", "page.md#nope"]


def test_the_readme_leads_to_every_page():
    named = {target.partition("#")[0] for target in links(read("README.md"))}
    assert {f"docs/{page.name}" for page in pages()[1:]} <= named


# The command line


def options(command: Any) -> dict[str, Any]:
    """The long spelling of each option a person may use → its parameter."""
    shown = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    return {name: one for one in shown for name in [*one.opts, *one.secondary_opts] if name.startswith("--")}


def default(parameter: Any) -> str:
    """A default as the tables show it: nothing for what is off or has none."""
    value = parameter.default
    return (
        "" if value is None or isinstance(value, bool) else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
    )


def wrong(text: str, command: Any) -> list[str]:
    """What a command's section says amiss: options its first line lacks or invents, defaults its table has otherwise."""
    wanted = options(command)
    named = set(re.findall(r"--[a-z-]+", code(text)[0]))
    found = [f"{option}: not in both" for option in sorted(named ^ wanted.keys())]
    rows = {words.split()[0]: row[1] for row in table(text) for words in code(row[0])}
    found += [f"{name}: {value}" for name, value in rows.items() if name in wanted and value != default(wanted[name])]
    return found + [f"{option}: no row" for option in sorted(wanted.keys() - rows.keys() - SHARED)]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_has_a_section_with_all_its_options_and_their_defaults(name: str):
    assert wrong(section(read("docs/cli.md"), f"`playhead {name}`"), COMMANDS[name]) == []


GROUPS = {name: command for name, command in COMMANDS.items() if hasattr(command, "commands")}


@pytest.mark.parametrize("name", GROUPS)
def test_the_section_of_a_group_has_each_of_its_commands_with_its_options(name: str):
    text = section(read("docs/cli.md"), f"`playhead {name}`")
    usages = {words.split()[2]: words for words in code(text) if words.startswith(f"playhead {name} ")}
    commands: dict[str, Any] = GROUPS[name].commands
    assert usages.keys() == commands.keys()
    rows = {words.split()[0]: row[1] for row in table(text) for words in code(row[0])}
    for verb, command in commands.items():
        own = {option: one for option, one in options(command).items() if option not in SHARED}
        assert set(re.findall(r"--[a-z-]+", usages[verb])) == own.keys()
        assert {option: rows.get(option) for option in own} == {option: default(one) for option, one in own.items()}


def test_the_check_of_options_finds_what_is_missing_gone_or_changed():
    head = "`playhead import FILE [--as ID] [--keep DAYS] [--nope] [--json] [--url URL]`\n| option | default | |\n|---|---|---|\n"
    assert wrong(f"{head}| `--as ID` | | |\n| `--keep DAYS` | `9` | |", COMMANDS["import"]) == [
        "--nope: not in both",
        "--prefix: not in both",
        "--keep: `9`",
    ]
    assert "--keep: no row" in wrong(head, COMMANDS["import"])


def test_the_options_that_most_commands_share_are_theirs():
    rows = table(section(read("docs/cli.md"), "Options that most commands share"))
    assert {code(row[0])[0].split()[0]: row[1] for row in rows} == {
        option: default(options(COMMANDS["ask"])[option]) for option in SHARED
    }


def test_every_command_is_in_the_overview_and_no_other():
    named = [code(row[0])[0].split()[1] for row in table(section(read("docs/cli.md"), "Commands"))]
    assert sorted(named) == sorted(COMMANDS)


def test_the_json_of_runs_sessions_and_workers_is_named_key_by_key():
    text = section(read("docs/cli.md"), "What --json prints")
    assert {field.name for info in (RunInfo, SessionInfo, WorkerInfo) for field in fields(info)} <= set(
        re.findall(r'"(\w+)"', text)
    )


def all_errors() -> list[type[PlayheadError]]:
    found = [getattr(errors, name) for name in errors.__all__]
    return [*(one for one in found if isinstance(one, type) and issubclass(one, PlayheadError)), EmbeddedServerError]


def test_the_exit_codes_are_those_of_the_errors():
    rows = table(section(read("docs/cli.md"), "Exit codes"))
    named = {name: int(row[0]) for row in rows for name in code(row[1]) if name[0].isupper()}
    wanted = {one.__name__: one.exit_code for one in all_errors()}
    assert named == wanted


def test_every_environment_variable_is_documented_and_none_besides():
    pattern = r"(?<!_)PLAYHEAD_[A-Z_]+[A-Z]"
    known = {name for file in SOURCES for name in re.findall(pattern, file.read_text(encoding="utf-8"))}
    named = {name for page in pages() for name in re.findall(pattern, page.read_text(encoding="utf-8"))}
    assert named == known


# Records, events, keys


def test_the_table_of_records_has_every_type_with_its_fields():
    rows = {code(row[0])[0]: row for row in table(section(read("docs/records.md"), "Record types"))}
    assert rows.keys() == RECORD_TYPES.keys()
    for name, cls in RECORD_TYPES.items():
        fields = {"chunk"} if cls is ModelChunk else cast("type[CheckedRecord]", cls).model_fields.keys()
        assert set(code(rows[name][1])) == fields - {"v", "type", "at"}, name


def delta(**kind: Any) -> Record:
    return ModelChunk(at=0, chunk={"contentBlockDelta": {"delta": kind}})


def sample() -> Iterable[Event]:
    """An event of each kind."""
    call: Any = {"toolUseId": "t", "name": "x", "input": {}}
    records: list[Record] = [
        RunSubmitted(at=0, agent="a"),
        CycleStarted(at=0, cycle=1),
        ModelStarted(at=0),
        ModelChunk(at=0, chunk={"contentBlockStart": {"start": {"toolUse": {"toolUseId": "t", "name": "x"}}}}),
        delta(text="a"),
        delta(toolUse={"input": "{}"}),
        delta(reasoningContent={"text": "a"}),
        delta(reasoningContent={"signature": "a"}),
        delta(reasoningContent={"redactedContent": b"a"}),
        delta(citation={}),
        ModelRetried(at=0, supersedes=(4, 9)),
        ModelFailed(at=0, error_type="ConnectionError", message="reset", delay=1.5),
        ModelStarted(at=0, attempt=2, delay=1.5),
        MessageAdded(at=0, message={"role": "assistant", "content": []}, origin="model"),
        ToolDecided(at=0, index=0, tool_use=call, verdict="cancel", message="no"),
        ToolProgressed(at=0, index=0, tool_use=call),
        ToolInterrupted(at=0, index=0, tool_use=call, interrupts=[]),
        StructuredOutputProduced(at=0, name="x", value={}),
        RunCompleted(at=0, result={}),
        RunFailed(at=0, error_type="ValueError", message="", force_stop=True),
    ]
    projection = Projection("run")
    for seq, record in enumerate(records, start=1):
        yield from projection.feed(Entry(seq, 1, record))


def test_the_table_of_events_has_every_kind_with_its_keys():
    named = [set(code(row[0])) for row in table(section(read("docs/records.md"), "Events"))]
    assert all(event.keys() in named for event in sample()), [event for event in sample() if event.keys() not in named]
    assert sorted(map(sorted, named)) == sorted(map(list, {tuple(sorted(event)) for event in sample()}))


SCRIPTS = accesses_of_scripts(ROOT / "runtime/playhead/runtime/log/redis/scripts")


class Stored(NamedTuple):
    """A row of the table of keys: a key, or a field of the key above it."""

    kind: str
    field: str
    ttl: str
    written_by: set[str]


def stored_form() -> list[Stored]:
    """The table of keys and fields; a field whose name ends in an id is named as `signal:`."""
    found: list[Stored] = []
    for key, field, _, _, ttl, writers in table(section(read("docs/records.md"), "Keys in Redis")):
        kind = code(key)[0].removeprefix(Keys("ph", 0).root).partition(":")[0] if key else found[-1].kind
        name = re.sub("<.*>", "", code(field)[0]) if field else ""
        found.append(Stored(kind, name, ttl, set(code(writers))))
    return found


def test_every_key_is_in_the_table_of_keys():
    keys = Keys("ph", 0)
    texts = {"run": "<run>", "log": "<run>", "inbox": "<run>", "ready": "<agent>", "notify_agent": "<agent>"}
    texts |= {"notify_worker": "<worker>", "claimed": "<token>", "messages": "<session>", "worker": "<worker>"}
    texts |= {"session": "<session>", "waiting": "<session>", "suspects": "<agent>", "definition": "<digest>"}
    texts |= {"importing": "<run>", "doctor": "<token>", "index": "<kind>:<value>", "about": "<session>"}
    texts |= {"steers": "<run>", "steered": "<run>", "serving": "<agent>:<framework>"}
    methods = {name for name, value in vars(Keys).items() if callable(value) and not name.startswith("_")}
    assert methods == {*texts, "of_run"}
    properties = [name for name, value in vars(Keys).items() if isinstance(value, property)]
    wanted = {getattr(keys, name)(text) for name, text in texts.items()} | {getattr(keys, name) for name in properties}
    rows = table(section(read("docs/records.md"), "Keys in Redis"))
    assert sorted(code(row[0])[0] for row in rows if row[0]) == sorted(wanted)


def test_every_key_and_field_of_the_scripts_is_in_the_table_and_no_other():
    used = {(access.key, access.field) for accesses in SCRIPTS.values() for access in accesses}
    named = [(row.kind, row.field) for row in stored_form()]
    without_scripts = {("shards", ""), ("durability_marker", ""), ("doctor", "")}
    assert sorted(named) == sorted(used | without_scripts)
    assert {("run", name) for name in INFO_FIELDS} <= used, "what `info` reads is written by scripts"


def test_the_table_says_of_every_key_and_field_which_scripts_write_it():
    for row in stored_form():
        writers = {
            script
            for script, accesses in SCRIPTS.items()
            for access in accesses
            if access == (row.kind, row.field, True)
        }
        assert row.written_by == writers, f"{row.kind} {row.field}"


def test_the_table_says_of_every_key_how_long_it_stays():
    assert [row.kind for row in stored_form() if not row.field and not row.ttl] == []


def test_the_scripts_are_read_call_by_call():
    text = "redis.call('HSET', run, 'a', f(1, 2), 'b:' .. id, ',') pcall('HGET', key, 'c')"
    assert list(calls(text)) == [
        ("HSET", ["run", "'a'", "f(1, 2)", "'b:' .. id", "','"]),
        ("HGET", ["key", "'c'"]),
    ]
