"""What `make build` makes: complete, and enough by itself in an empty environment.

The tests marked `wheels` install from the built files, and what these depend on from the package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.docs.docs_markdown import ROOT, blocks, section, table
from tests.support.commands import Commands

__all__: list[str] = []

MEMBERS: Final = ("runtime", "workers", "client")
UV: Final = os.environ.get("UV") or shutil.which("uv") or ""

pytestmark = pytest.mark.skipif(not UV, reason="uv is not installed")

ASK = """
import asyncio, sys
from playhead.client import Client

async def main():
    async with Client(sys.argv[1], prefix="wheels") as client:
        run = await client.start("assistant", "What is 17 * 23?")
        async for event in run.stream_async():
            print(event.get("data", ""), end="")
        print()
        print((await run.result()).stop_reason)

asyncio.run(main())
"""

NOT_THERE = """
import importlib.util, playhead.client
print(playhead.client.__file__)
names = ("playhead.workers", "typer", "rich", "uvloop", "openai", "anthropic", "aiobotocore", "httpx", "fakeredis", "xllamacpp", "strands", "pydantic_ai", "langgraph")
print([name for name in names if importlib.util.find_spec(name)])
"""

README: Final = (ROOT / "README.md").read_text(encoding="utf-8")


def uv(*arguments: str | Path) -> str:
    """Run uv, far away from the workspace; what it prints on standard output."""
    command = [UV, *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")}
    done = subprocess.run(command, cwd=ROOT.anchor, env=kept, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that `make build` makes."""
    folder = tmp_path_factory.mktemp("dist")
    for what in ((ROOT, "--all-packages"), (ROOT,)):
        uv("build", "--quiet", "--out-dir", folder, *what)
    return folder


def install(environment: Path, wheels: Sequence[Path]) -> None:
    """Make an environment with these wheels. They are named as files, so no index can give others of their names."""
    uv("venv", "--quiet", "--python", sys.executable, environment)
    uv("pip", "install", "--quiet", "--python", environment, *wheels)


def tracked(folder: str) -> set[str]:
    """The files that git tracks below `folder`, relative to it."""
    command = ["git", "-C", str(ROOT / folder), "ls-files", "-z"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name for name in listing.split("\0") if name}


def test_four_distributions_are_built_each_as_wheel_and_sdist(dist: Path):
    names = ["playhead", *(f"playhead_{member}" for member in MEMBERS)]
    built = {file.name for file in dist.iterdir() if file.name != ".gitignore"}
    (version,) = {name.split("-")[1] for name in built if name.endswith(".whl")}
    expected = [f"{name}-{version}{end}" for name in names for end in ("-py3-none-any.whl", ".tar.gz")]
    assert built == set(expected)


@pytest.mark.parametrize("member", MEMBERS)
def test_wheel_and_sdist_hold_every_file_of_the_package_and_none_beside_it(dist: Path, member: str):
    package = {name for name in tracked(member) if name.startswith("playhead/")}
    assert f"playhead/{member}/py.typed" in package
    (wheel,) = dist.glob(f"playhead_{member}-*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    assert {name for name in inside if ".dist-info/" not in name} == package
    assert [name for name in inside if name.endswith("/licenses/LICENSE")]
    (sdist,) = dist.glob(f"playhead_{member}-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert {name for name in names if name.startswith("playhead/")} == package
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= names


def test_the_distribution_playhead_is_the_three_others_and_no_code(dist: Path):
    (wheel,) = dist.glob("playhead-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert all(".dist-info/" in name for name in archive.namelist())
        (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(metadata).decode().splitlines()
    version = wheel.name.split("-")[1]
    assert {line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")} == {
        f"playhead-runtime[embedded,http,openai]=={version}",
        f"playhead-workers[reload]=={version}",
        f"playhead-client[cli]=={version}",
    }


@pytest.fixture(scope="module")
def everything(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that holds the four wheels and what they need."""
    environment = tmp_path_factory.mktemp("everything") / "venv"
    install(environment, sorted(dist.glob("*.whl")))
    return environment / "bin"


@pytest.fixture(scope="module")
def client_only(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that holds the client without its extra `cli`, and the runtime that it needs."""
    environment = tmp_path_factory.mktemp("client") / "venv"
    install(environment, [*dist.glob("playhead_client-*.whl"), *dist.glob("playhead_runtime-*.whl")])
    return environment / "bin"


@pytest.mark.wheels
@pytest.mark.timeout(600)
def test_the_demo_runs_from_the_wheels_in_an_empty_folder(everything: Path, commands: Commands):
    finished = commands.spawn([str(everything / "playhead"), "demo"]).wait()
    assert (finished.code, "391" in finished.out) == (0, True), finished.err
    assert {path.name for path in commands.folder.iterdir()} == {".playhead"}


@pytest.mark.wheels
@pytest.mark.timeout(600)
def test_a_worker_from_the_wheels_serves_a_client_that_has_neither_command_line_nor_workers(
    everything: Path, client_only: Path, commands: Commands, redis_url: str
):
    agents = "from playhead.runtime import Agent\nfrom playhead.runtime.toolbox import calculator\n"
    (commands.folder / "agents.py").write_text(f"{agents}assistant = Agent(name='assistant', tools=[calculator])\n")
    prefix = {"PLAYHEAD_PREFIX": "wheels"}
    worker = commands.spawn([str(everything / "playhead"), "worker", "agents.py", "--url", redis_url], env=prefix)
    worker.until("serves assistant")
    python = str(client_only / "python")
    where, missing = commands.spawn([python, "-c", NOT_THERE]).wait().out.splitlines()
    assert (Path(where).is_relative_to(client_only.parent), missing) == (True, "[]")
    asked = commands.spawn([python, "-c", ASK, redis_url]).wait()
    assert (asked.code, asked.out.splitlines()[-1], "391" in asked.out) == (0, "end_turn", True), asked.err
    assert worker.stop() == 0


# The lines of the README


def install_lines() -> list[tuple[str, str]]:
    """What a user wants, and a line that gives it, of the tables in the README's section on how to install."""
    return [(want, line.strip("`")) for want, *lines in table(section(README, "Install")) for line in lines]


def in_a_shell(line: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a line as a user types it in a folder far away from the workspace; no environment is active there."""
    ours = ("VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "PLAYHEAD_URL")
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(["bash", "-ec", line], cwd=folder, env={**kept, **settings}, capture_output=True, text=True)


def works(want: str, folder: Path) -> None:
    """Check that the environment in a folder has what a line promises, and no more where that matters."""
    scripts = folder / ".venv" / "bin"
    done = subprocess.run([scripts / "python", "-c", NOT_THERE], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    there = done.stdout.splitlines()[-1]
    if "from Python" in want:
        assert there == "[]"
        assert len(uv("pip", "list", "--quiet", "--python", scripts / "python").splitlines()) < 2 + 20
    elif "web service" in want:
        assert there == "[]"
        done = in_a_shell(f"{scripts}/python -c 'import playhead.client.web'", folder)
        assert done.returncode == 0, done.stderr
    elif "without workers" in want:
        assert there == "['typer', 'rich']"
        refused = in_a_shell(f"{scripts}/playhead worker agents.py", folder)
        assert (refused.returncode, "pip install playhead-workers" in refused.stderr) == (78, True), refused.stderr
    else:
        assert all(name in there for name in ("playhead.workers", "typer", "openai"))
        assert ("everything" in want) == ("fakeredis" in there)
        assert in_a_shell(f"{scripts}/playhead worker --help", folder).returncode == 0


@pytest.mark.wheels
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("want", "line"), install_lines(), ids=[line for _, line in install_lines()])
def test_a_line_of_the_readme_installs_what_it_says_in_an_empty_folder(
    want: str, line: str, dist: Path, tmp_path: Path
):
    settings = {"REPO": f"file://{ROOT}"} if "git+" in line else {"UV_FIND_LINKS": str(dist)}
    made = in_a_shell(f"uv init --quiet --bare --name trial --python '{sys.executable}'; uv venv --quiet", tmp_path)
    assert made.returncode == 0, made.stderr
    done = in_a_shell(line, tmp_path, **settings)
    assert done.returncode == 0, done.stderr
    works(want, tmp_path)


@pytest.mark.wheels
@pytest.mark.timeout(600)
def test_the_chat_example_is_installed_and_imported_as_its_readme_says(dist: Path, tmp_path: Path):
    folder = tmp_path / "chat"
    shutil.copytree(ROOT / "examples" / "chat", folder, ignore=shutil.ignore_patterns("__pycache__"))
    typed = blocks((folder / "README.md").read_text(encoding="utf-8"))
    line = next(block.text.splitlines()[0] for block in typed if block.language == "console").removeprefix("$ ")
    assert "uv add playhead" in line
    done = in_a_shell(line.replace("uv init", f"uv init --python '{sys.executable}'"), folder, UV_FIND_LINKS=str(dist))
    assert done.returncode == 0, done.stderr
    done = in_a_shell("uv run uvicorn --version && uv run python -c 'import chat'", folder, UV_FIND_LINKS=str(dist))
    assert done.returncode == 0, done.stderr


@pytest.mark.wheels
@pytest.mark.timeout(600)
def test_the_commands_of_the_readme_work_in_a_fresh_clone_as_they_are_typed(tmp_path: Path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(clone)], check=True)
    for block in blocks(README):
        if block.file is not None:
            (clone / block.file).write_text(block.text, encoding="utf-8")
    lines = [line[2:] for block in blocks(README) if block.language == "console" for line in block.text.splitlines()]
    typed = [line for line in lines if "uv run" in line and " RUN " not in line and "pytest" not in line]
    assert [" ".join(line.split()[2:4]) for line in typed] == [
        "playhead demo",
        "playhead dev",
        "python watch.py",
        "playhead ask",
        "playhead runs",
    ]
    assert in_a_shell("uv sync --quiet", clone).returncode == 0
    demo, dev, *others = typed
    with Commands(clone) as there:
        shown = there.spawn(["bash", "-ec", demo]).wait()
        assert (shown.code, "391" in shown.out) == (0, True), shown.err
        serving = there.spawn(["bash", "-ec", f"exec {dev}"])
        serving.until("serves assistant")
        for line in others:
            shown = there.spawn(["bash", "-ec", line]).wait()
            assert (shown.code, "391" in shown.out or "runs" in line) == (0, True), shown
        assert serving.stop() == 0
