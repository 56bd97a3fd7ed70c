"""Dockerfile, docker-compose.yml, Makefile and .ci/run say what is true of the tree that contains them.

`compose-spec.json` beside this file is the Compose Specification's schema as Docker shipped it in the distribution
docker-compose 1.29.2 (`compose/config/compose_spec.json`, Apache-2.0), unchanged. Its custom formats are checked by
`FORMATS` below, because a general validator does not know them.
"""

from __future__ import annotations

import copy
import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest
import redis
import yaml
from redis.connection import parse_url

from playhead.client.cli.commands import load
from playhead.runtime.embedded.binary import find_server_binary

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]
MEMBERS = ("runtime", "workers", "client")
PASSWORD = "s3cret"
FORMATS = jsonschema.FormatChecker(())

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@FORMATS.checks("duration")
def _is_duration(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?(us|ms|s|m|h))+", value) is not None


@FORMATS.checks("ports")
def _is_port(value: object) -> bool:
    return re.fullmatch(r"((\d{1,3}(\.\d{1,3}){3}:)?\d*:)?\d+(/(tcp|udp))?", str(value)) is not None


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def tracked(*paths: str) -> list[str]:
    """The files git tracks under `paths`, relative to the root."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *paths]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\0")[:-1]


def interpolate(text: str, environment: Mapping[str, str]) -> str:
    """Substitute `${NAME}`, `${NAME:-default}` and `${NAME:?message}` as Compose does."""

    def value(match: re.Match[str]) -> str:
        name, operator, operand = match.group(1, 2, 3)
        if environment.get(name):
            return environment[name]
        if operator == ":-":
            return operand
        raise LookupError(operand or name)

    return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)


def compose(**environment: str) -> dict[str, Any]:
    return yaml.safe_load(interpolate(read("docker-compose.yml"), {"REDIS_PASSWORD": PASSWORD, **environment}))


def validate(document: object) -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft201909Validator(schema, format_checker=FORMATS)
    cast(Any, validator).validate(document)


def instructions(dockerfile: str) -> list[tuple[str, list[str]]]:
    """A Dockerfile's instructions in order: the word in capitals, and its arguments without `--flags`."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    found: list[tuple[str, list[str]]] = []
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            arguments = json.loads(rest) if rest.lstrip().startswith("[") else shlex.split(rest)
            found.append((word.upper(), [item for item in arguments if word.upper() != "COPY" or item[:2] != "--"]))
    return found


def dockerfile(word: str) -> list[list[str]]:
    return [arguments for name, arguments in instructions(read("Dockerfile")) if name == word]


def copies() -> dict[str, str]:
    """Where each folder of the image comes from: destination → source in the tree."""
    return {arguments[-1]: source for arguments in dockerfile("COPY") for source in arguments[:-1]}


def source_of(path: str) -> str:
    """The tracked file that is `path` in the image; relative paths start at the WORKDIR.

    Raises:
        LookupError: No COPY puts a tracked file there.
    """
    inside = os.path.join(dockerfile("WORKDIR")[-1][0], path)
    for destination, source in copies().items():
        if inside.startswith(f"{destination}/") and (name := source + inside.removeprefix(destination)) in tracked(
            source
        ):
            return name
    raise LookupError(f"{inside} is copied from no tracked file")


def worker_options() -> dict[str, Any]:
    """The options of `playhead worker` by their spelling, as the command line builds them."""
    return {spelling: parameter for parameter in load("worker").params for spelling in parameter.opts}


# docker-compose.yml


def test_compose_file_is_valid_by_the_compose_specification():
    validate(compose())


@pytest.mark.parametrize(
    ("key", "value"),
    [("comand", "worker"), ("stop_grace_period", "35 seconds"), ("ports", ["6379:redis"]), ("restart", 1)],
)
def test_the_validator_refuses_what_compose_would_refuse(key: str, value: object):
    document = copy.deepcopy(compose())
    document["services"]["worker"][key] = value
    with pytest.raises(jsonschema.ValidationError):
        validate(document)


def test_compose_refuses_to_start_without_a_password():
    with pytest.raises(LookupError, match="set REDIS_PASSWORD"):
        compose(REDIS_PASSWORD="")


def test_redis_is_reachable_from_this_machine_only():
    for port in compose()["services"]["redis"]["ports"]:
        assert port.startswith("127.0.0.1:")


def test_redis_keeps_its_data_in_a_named_volume():
    document = compose()
    sources = [volume.partition(":")[0] for volume in document["services"]["redis"]["volumes"]]
    assert [source for source in sources if source in document["volumes"]]


def test_redis_health_check_uses_the_password_of_the_server():
    service = compose()["services"]["redis"]
    assert service["environment"]["REDISCLI_AUTH"] == PASSWORD
    assert PASSWORD in service["command"]
    assert "redis-cli ping" in " ".join(service["healthcheck"]["test"])


def test_workers_wait_for_redis_and_know_where_it_is():
    document = compose()
    worker = document["services"]["worker"]
    assert worker["depends_on"] == {"redis": {"condition": "service_healthy"}}
    url = parse_url(worker["environment"]["PLAYHEAD_URL"])
    assert url["password"] == PASSWORD
    assert url["host"] in document["services"]
    assert url["port"] == int(document["services"]["redis"]["ports"][0].rpartition(":")[2])


def test_the_worker_takes_its_url_from_the_variable_that_compose_sets():
    names = worker_options()["--url"].envvar
    assert "PLAYHEAD_URL" in ([names] if isinstance(names, str) else names)


def test_docker_waits_longer_than_a_worker_drains():
    period = compose()["services"]["worker"]["stop_grace_period"]
    assert float(worker_options()["--drain"].default) < float(period.removesuffix("s"))


def test_workers_can_be_scaled():
    assert compose()["services"]["worker"]["deploy"]["replicas"] == 2
    worker = compose(WORKERS="5")["services"]["worker"]
    assert worker["deploy"]["replicas"] == 5
    assert not {"container_name", "hostname", "ports"} & set(worker), "two of a kind cannot share these"


def test_compose_runs_the_image_of_this_tree():
    worker = compose()["services"]["worker"]
    assert worker["build"] == "."
    assert tracked("Dockerfile") == ["Dockerfile"]


@contextmanager
def server(arguments: list[str], folder: str) -> Generator[redis.Redis]:
    """A real server with `arguments` that listens on a socket in `folder` only; killed at the end."""
    binary = find_server_binary()
    if binary is None:
        pytest.skip("no Redis or Valkey server for this platform")
    listen = ["--port", "0", "--unixsocket", f"{folder}/s", "--dir", folder]
    with subprocess.Popen([str(binary), *arguments, *listen], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line)
                if "eady to accept connections" in line:
                    break
            else:
                pytest.fail("the server did not start:\n" + "".join(said))
            with redis.Redis(unix_socket_path=f"{folder}/s", password=PASSWORD, decode_responses=True) as client:
                yield client
        finally:
            process.kill()


def test_a_real_server_takes_the_redis_command_and_loses_nothing_when_killed():
    program, *arguments = compose()["services"]["redis"]["command"]
    assert program == "redis-server"
    with tempfile.TemporaryDirectory(prefix="ph") as folder:
        with server(arguments, folder) as client:
            assert cast(Any, client.config_get("appendonly", "maxmemory-policy")) == {
                "appendonly": "yes",
                "maxmemory-policy": "noeviction",
            }
            with redis.Redis(unix_socket_path=f"{folder}/s") as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
            client.xadd("log", {"record": "1"}, id="1-1")
        with server(arguments, folder) as client:
            assert client.xlen("log") == 1


# Dockerfile


def test_the_parser_reads_continued_lines_comments_flags_and_lists():
    text = '# FROM nothing\nFROM a:1\nRUN pip \\\n  install x\nCOPY --chown=me b c /d\nCMD ["e", "f"]\n'
    assert instructions(text) == [
        ("FROM", ["a:1"]),
        ("RUN", ["pip", "install", "x"]),
        ("COPY", ["b", "c", "/d"]),
        ("CMD", ["e", "f"]),
    ]


def test_every_copied_path_is_tracked():
    assert copies()
    for source in copies().values():
        assert tracked(source), f"COPY {source}: git tracks no such file or folder"


def test_the_docker_context_holds_exactly_what_is_copied():
    patterns = [line for line in read(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert {line[1:] for line in patterns if line.startswith("!")} == set(copies().values())


def test_the_image_installs_every_distribution_of_the_workspace():
    installed: dict[str, list[str]] = {}
    for arguments in dockerfile("RUN"):
        if arguments[:2] == ["pip", "install"]:
            for requirement in arguments[2:]:
                path, _, extras = requirement.rstrip("]").partition("[")
                installed[copies()[path]] = extras.split(",") if extras else []
    assert sorted(installed) == sorted(tomllib.loads(read("pyproject.toml"))["tool"]["uv"]["workspace"]["members"])
    for member, extras in installed.items():
        assert set(extras) <= set(
            tomllib.loads(read(f"{member}/pyproject.toml"))["project"].get("optional-dependencies", ())
        )


def test_the_base_image_has_a_python_that_the_project_supports():
    ((image,),) = dockerfile("FROM")
    match = re.fullmatch(r"python:3\.(\d+)-slim", image)
    assert match
    floors = [tomllib.loads(read(name))["project"]["requires-python"] for name in tracked("*pyproject.toml")]
    assert max(int(floor.removeprefix(">=3.")) for floor in floors) <= int(match.group(1))


def test_the_image_does_not_run_as_root():
    words = [word for word, _ in instructions(read("Dockerfile"))]
    ((user,),) = dockerfile("USER")
    assert user not in ("root", "0")
    assert words.index("USER") < words.index("ENTRYPOINT")
    assert any(["useradd", user] == [arguments[0], arguments[-1]] for arguments in dockerfile("RUN"))


def test_the_image_starts_the_playhead_command():
    ((program,),) = dockerfile("ENTRYPOINT")
    (script,) = importlib.metadata.entry_points(group="console_scripts", name=program)
    assert script.dist is not None
    assert script.dist.name == "playhead-client"
    assert callable(script.load())


@pytest.mark.parametrize("where", ["Dockerfile", "docker-compose.yml"])
def test_the_default_command_is_a_worker_of_agents_that_are_in_the_image(where: str):
    command = dockerfile("CMD")[-1] if where == "Dockerfile" else compose()["services"]["worker"]["command"]
    assert command[0] == "worker"
    targets = load("worker").make_context("worker", list(command[1:])).params["targets"]
    assert targets
    for target in targets:
        source = source_of(target.partition(":")[0])
        assert "Agent(" in read(source)


def test_the_health_check_of_the_workers_reads_the_file_that_they_write():
    worker = compose()["services"]["worker"]
    written = load("worker").make_context("worker", worker["command"][1:]).params["health_file"]
    kind, program, name, *arguments = worker["healthcheck"]["test"]
    assert (kind, program, name) == ("CMD", "playhead", "health")
    assert str(load("health").make_context("health", arguments).params["file"]) == written


def test_a_path_that_no_copy_provides_is_refused():
    with pytest.raises(LookupError, match="copied from no tracked file"):
        source_of("examples/no_such_file.py")


# Makefile and .ci/run


def make(*arguments: str) -> str:
    command = ["make", "--no-print-directory", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "UV"))}
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


@needs_make
def test_make_help_lists_every_target_and_is_the_default():
    targets = {name for line in re.findall(r"^\.PHONY:(.*)$", read("Makefile"), re.MULTILINE) for name in line.split()}
    listed = {line.split()[0] for line in make("help").splitlines()}
    assert listed == targets >= {"help", "check", "lint", "types", "test", "format", "bench", "real-model", "clean"}
    assert make() == make("help")


@needs_make
def test_make_check_does_what_ci_does():
    steps = make("-n", "check").splitlines()
    assert steps == [
        "uv run ruff check",
        "uv run ruff format --check",
        "uv run codespell",
        "uv run pyright",
        *(f"uv run pyright --verifytypes playhead.{member} --ignoreexternal" for member in MEMBERS),
        "uv run pytest",
    ]
    script = read(".ci/run")
    ci = make("-n", *re.findall(r"^make (.+)$", script, re.MULTILINE)[0].split()).splitlines()
    assert [*ci, script.splitlines()[-1]] == steps


def test_the_hooks_before_a_commit_are_what_make_lint_runs_and_download_nothing():
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert (repository["repo"], {hook["language"] for hook in repository["hooks"]}) == ("local", {"system"})
    hooks = [hook["entry"].removesuffix(" --force-exclude") for hook in repository["hooks"]]
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert lint
    assert hooks == [line.strip().removesuffix(" --check").replace("$(UV)", "uv") for line in lint[1].splitlines()]


def test_ci_ends_with_the_test_command_of_the_readme():
    last = read(".ci/run").splitlines()[-1]
    assert last == "uv run pytest"
    assert re.search(rf"^\s*(\$ )?{re.escape(last)}\s*(#.*)?$", read("README.md"), re.MULTILINE)


def test_ci_script_is_executable_and_parses():
    listing = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-s", ".ci/run"], check=True, capture_output=True)
    assert listing.stdout.startswith(b"100755 ")
    subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)
