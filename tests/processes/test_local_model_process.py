"""LocalModel's process: started once, reached by key alone, ended with the process that started it.

The engine is a stand-in that speaks the same protocol, because the real one is an extra; `test_local_model.py` runs
the real one. The stand-in holds a named pipe open as long as it lives: a test that reads it to its end waits for its
death.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread
import openai
import pytest

from playhead.runtime.core.converse import Messages
from playhead.runtime.core.errors import ModelConfigurationError
from playhead.runtime.models import LocalModel

pytestmark = pytest.mark.anyio

HELLO: Messages = [{"role": "user", "content": [{"text": "hello"}]}]

ENGINE = '''
"""Stand-in for xllamacpp. The "model" is a JSON file that says how to behave; answers describe the process."""
import http.server, json, os, sys, threading, time
from pathlib import Path
from types import SimpleNamespace

class CommonParams(SimpleNamespace):
    def __init__(self):
        super().__init__(model=SimpleNamespace(), cpuparams=SimpleNamespace(), cpuparams_batch=SimpleNamespace())

class Server:
    def __init__(self, params):
        how = json.loads(Path(params.model.path).read_text())
        if "lifeline" in how:
            self.lifeline = open(how["lifeline"], "w")
            print(os.getpid(), file=self.lifeline, flush=True)
        if "fail" in how:
            print(how["fail"], file=sys.stderr, flush=True)
            raise RuntimeError("cannot load")
        if "hang" in how:
            time.sleep(3600)
        print("noise on standard output", flush=True)
        key = params.api_keys[0]

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                self.send_response(200 if self.path == "/health" else 404)
                self.end_headers()

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Authorization"] != f"Bearer {key}":
                    self.send_response(401)
                    self.end_headers()
                    return
                if "crash" in how:
                    Path(params.model.path).write_text("{}")
                    os._exit(3)
                open_to_others = [*sys.argv, *os.environ.values()]
                text = json.dumps({
                    "pid": os.getpid(),
                    "key_is_open": any(key in value for value in open_to_others),
                    "context": params.n_ctx,
                    "host": params.hostnames,
                })
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for delta, finish in (({"content": text}, None), ({}, "stop")):
                    event = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
                    self.wfile.write(f"data: {json.dumps(event)}\\n\\n".encode())
                self.wfile.write(b"data: [DONE]\\n\\n")

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{server.server_port}"
'''


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in, importable here and in child processes."""
    folder = tmp_path / "engine"
    folder.mkdir()
    (folder / "xllamacpp.py").write_text(ENGINE)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))


class Gguf:
    """A model file, its models, and the lifeline of the process that serves it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "model.gguf"
        self._fifo = folder / "lifeline"
        self._models: list[LocalModel] = []
        os.mkfifo(self._fifo)
        self.write()

    def write(self, **how: Any) -> None:
        self.path.write_text(json.dumps(how))

    def write_with_lifeline(self, **how: Any) -> None:
        self.write(lifeline=str(self._fifo), **how)

    def lifeline(self) -> IO[str]:
        """Waits until the process has started; the end of what is returned is the process' death."""
        lifeline = self._fifo.open()
        assert lifeline.readline().strip().isdigit()
        return lifeline

    def model(self, **options: Any) -> LocalModel:
        self._models.append(LocalModel(self.path, **options))
        return self._models[-1]

    def close(self) -> None:
        for model in self._models:
            model.close()


@pytest.fixture
def gguf(tmp_path: Path, engine: None) -> Generator[Gguf, None, None]:
    file = Gguf(tmp_path)
    yield file
    file.close()


async def ask(model: LocalModel) -> dict[str, Any]:
    """What the process says about itself."""
    texts = [
        chunk["contentBlockDelta"]["delta"]["text"]
        async for chunk in model.stream(HELLO)
        if "contentBlockDelta" in chunk
    ]
    return json.loads("".join(texts))


async def test_it_is_served_by_another_process_on_loopback_under_a_key_that_is_not_shown(gguf: Gguf) -> None:
    said = await ask(gguf.model(context_tokens=123))
    assert said["pid"] != os.getpid()
    assert {key: said[key] for key in ("key_is_open", "context", "host")} == {
        "key_is_open": False,
        "context": 123,
        "host": ["127.0.0.1"],
    }


async def test_models_of_the_same_file_and_options_share_a_process(gguf: Gguf) -> None:
    first, second = await ask(gguf.model()), await ask(gguf.model(params={"temperature": 0}))
    other = await ask(gguf.model(context_tokens=99))
    assert first["pid"] == second["pid"] != other["pid"]


def test_first_calls_from_several_threads_start_one_process(gguf: Gguf) -> None:
    model = gguf.model()
    pids: list[int] = []

    def call() -> None:
        pids.append(anyio.run(ask, model)["pid"])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 4
    assert len(set(pids)) == 1


async def test_close_ends_the_process_and_the_next_call_starts_another(gguf: Gguf) -> None:
    model = gguf.model()
    first = await ask(model)
    model.close()
    with pytest.raises(ProcessLookupError):
        os.kill(first["pid"], 0)
    assert (await ask(model))["pid"] != first["pid"]


async def test_after_a_crash_the_call_fails_and_the_next_starts_another(gguf: Gguf) -> None:
    gguf.write(crash=True)
    model = gguf.model()
    with pytest.raises(openai.APIConnectionError, match=r"model\.gguf ended during the call \(exit code 3\)"):
        await ask(model)
    assert (await ask(model))["pid"]


async def test_an_interrupt_from_the_terminal_does_not_end_it(gguf: Gguf) -> None:
    model = gguf.model()
    first = await ask(model)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(first["pid"], number)
    assert await ask(model) == first


async def test_a_proxy_in_the_environment_does_not_see_it(gguf: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await ask(gguf.model()))["pid"]


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigurationError, match=r"nowhere\.gguf does not exist"):
        await ask(LocalModel(tmp_path / "nowhere.gguf"))


async def test_a_missing_extra_is_told_with_its_remedy(gguf: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(ModelConfigurationError, match=r"pip install 'playhead-runtime\[local\]'"):
        await ask(gguf.model())


async def test_a_file_that_does_not_load_is_refused_with_the_engines_error(gguf: Gguf) -> None:
    gguf.write(fail="bad magic")
    expected = r"model\.gguf failed to load \(exit code 1\)[^\n]*\n  bad magic\n  RuntimeError"
    with pytest.raises(ModelConfigurationError, match=expected):
        await ask(gguf.model())


async def test_a_file_that_takes_too_long_is_given_up_and_its_process_ended(
    gguf: Gguf, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    gguf.write(hang=True)
    with pytest.raises(ModelConfigurationError, match=r"did not load in 0\.5 s"):
        await ask(gguf.model(start_timeout=0.5))
    (process,) = started
    assert process.returncode is not None


async def test_a_call_cancelled_while_loading_ends_the_loading(gguf: Gguf) -> None:
    gguf.write_with_lifeline(hang=True)
    lifelines: list[IO[str]] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, gguf.model())
        lifelines.append(await anyio.to_thread.run_sync(gguf.lifeline))
        tasks.cancel_scope.cancel()
    with lifelines[0] as lifeline:
        assert lifeline.read() == ""


PARENT = """
import sys, anyio
from playhead.runtime.models import LocalModel

async def main():
    async for _ in LocalModel(sys.argv[1]).stream([{"role": "user", "content": [{"text": "hello"}]}]):
        pass

anyio.run(main)
print("answered", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "finished"])
def test_it_ends_with_its_parent(gguf: Gguf, killed: bool) -> None:
    gguf.write_with_lifeline()
    command = [sys.executable, "-c", PARENT, str(gguf.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        with gguf.lifeline() as lifeline:
            assert parent.stdout.readline() == "answered\n"
            if killed:
                parent.kill()
            else:
                parent.stdin.close()
            assert lifeline.read() == ""
        assert parent.wait() == (-signal.SIGKILL if killed else 0)


def test_it_ends_with_a_parent_that_dies_while_it_loads(gguf: Gguf) -> None:
    gguf.write_with_lifeline(hang=True)
    command = [sys.executable, "-c", PARENT, str(gguf.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as parent, gguf.lifeline() as lifeline:
        parent.kill()
        assert lifeline.read() == ""
