"""Small forms of the chaos: a real fleet is injured, and no promise breaks. `python -m chaos` injures more often."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from chaos.injuries import DECK, KINDS, SINGLE_ONLY

__all__: list[str] = []

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def chaos(*arguments: str) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "chaos", "--seed", "7", *arguments]
    with TemporaryDirectory(prefix="ph") as folder:  # a short path: a socket's has 107 characters at most
        environment = {**os.environ, "TMPDIR": folder}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            yield process


def value(told: dict[str, Any], name: str) -> float:
    (found,) = [figure["value"] for figure in told["figures"] if figure["name"] == name]
    return found


@pytest.mark.timeout(150)
def test_no_promise_breaks_whatever_is_done_to_a_fleet():
    with chaos("--injuries", "15", "--pace", "0.5", "--workers", "3", "--runs", "12", "--json") as process:
        out, error = process.communicate(timeout=140)
    assert process.returncode == 0, f"{out}\n{error}"
    told: dict[str, Any] = json.loads(out)
    assert told["violations"] == []
    assert told["complete"]
    injured = {figure["name"] for figure in told["figures"] if figure["group"] == "injuries"} & set(DECK)
    assert len(injured) >= 8
    assert value(told, "crashes") > 0
    assert value(told, "runs, all") > 12
    assert value(told, "joinings of views") > value(told, "views")
    assert told["machine"]["seed"] == "7"


@pytest.mark.timeout(90)
def test_no_promise_breaks_when_the_node_of_a_cluster_fails_over():
    options = [
        "--pace",
        "0.5",
        "--workers",
        "3",
        "--runs",
        "12",
        "--json",
        "--only",
        "server",
        "--only",
        "kill -9 a worker",
    ]
    with chaos("--server", "cluster", "--injuries", "7", *options) as process:
        out, error = process.communicate(timeout=80)
    assert process.returncode == 0, f"{out}\n{error}"
    told: dict[str, Any] = json.loads(out)
    assert told["violations"] == []
    assert told["complete"]
    assert value(told, "kill -9 the server") > 0
    assert value(told, "ended with run.completed") > 0
    assert "a cluster of 3 nodes" in told["machine"]["server"]


@pytest.mark.timeout(90)
def test_no_promise_breaks_over_tls_whose_connections_are_cut():
    options = ["--pace", "0.5", "--workers", "3", "--runs", "12", "--json"]
    injuries = [word for text in ("cut", "replies", "kill -9") for word in ("--only", text)]
    with chaos("--tls", "--injuries", "10", *options, *injuries) as process:
        out, error = process.communicate(timeout=80)
    assert process.returncode == 0, f"{out}\n{error}"
    told: dict[str, Any] = json.loads(out)
    assert told["violations"] == []
    assert told["complete"]
    assert value(told, "ended with run.completed") > 0
    assert told["machine"]["link"] == "TLS"


@pytest.mark.timeout(150)
def test_nothing_is_lost_and_no_session_spoiled_whatever_a_provider_does_to_a_fleet():
    fleet = ["--workers", "3", "--viewers", "1", "--pace", "1", "--only", "kill -9 a worker", "--injuries", "5"]
    with chaos("--provider", "30", "--sessions", "6", *fleet, "--json") as process:
        out, error = process.communicate(timeout=140)
    assert process.returncode == 0, f"{out}\n{error}"
    told: dict[str, Any] = json.loads(out)
    assert told["violations"] == []
    assert told["complete"]
    assert value(told, "crashes") > 0
    assert (value(told, "runs, provider"), value(told, "runs, after all faults")) == (30, 6)
    assert value(told, "model calls made again because they failed") > 10
    assert value(told, "whole answers") > 30
    assert value(told, "ended with run.completed") > 20


def test_tls_is_refused_where_no_proxy_could_end_it():
    with chaos("--tls", "--server", "sentinel") as process:
        _, error = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "--tls needs a single server" in error


def test_what_needs_a_proxy_is_refused_where_there_is_none():
    with chaos("--server", "sentinel", "--only", "cut a worker off") as process:
        _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "no injury has cut a worker off in its name; there are: kill -9 a worker" in error


def test_every_injury_is_in_the_deck():
    assert set(DECK) == set(KINDS)
    assert set(KINDS) > SINGLE_ONLY


@pytest.mark.timeout(60)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_of_chaos_outlives_it(how: signal.Signals):
    with chaos("--injuries", "50") as process:
        assert process.stderr is not None
        assert any("injury 3 of" in line for line in process.stderr), "it never injured anything"
        os.kill(process.pid, how)
        rest = process.stderr.read()  # ends when the last process that holds this pipe has ended
    assert process.returncode == (130 if how != signal.SIGKILL else -how)
    assert not re.search("Traceback", rest)
