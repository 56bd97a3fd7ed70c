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

from tests.support.commands import Commands

__all__: list[str] = []

ROOT: Final = Path(__file__).resolve().parents[2]
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
print([name for name in ("playhead.workers", "typer", "rich", "uvloop") if importlib.util.find_spec(name)])
"""


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
