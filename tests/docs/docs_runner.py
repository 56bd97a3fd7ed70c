"""`python docs_runner.py FILE.md`: runs the Python blocks of one page in order, in one namespace, in this folder.

A block whose first line names a file is written to that file as well; a test file is only written, and run by pytest
at the end. Blocks may await at the top level, as in `python -m asyncio`. A `text` block marked `output` is what the
block before it prints.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import cast

from docs_markdown import Block, blocks

__all__ = ["run_page"]


class _Tee(io.StringIO):
    """Keeps what is printed, and prints it."""

    def write(self, s: str, /) -> int:
        sys.__stdout__.write(s) if sys.__stdout__ else None
        return super().write(s)


def run_page(page: Path) -> None:
    """Run the page's blocks; raises what the first block that fails raises, with the page's line in the traceback.

    Raises:
        AssertionError: A block printed something else than the page says, or a test file of the page failed.
    """
    module = ModuleType(f"docs_{page.stem}")
    sys.modules[module.__name__] = module  # pydantic and dataclasses look a class's module up
    sys.path.insert(0, str(Path.cwd()))
    found = blocks(page.read_text(encoding="utf-8"))
    printed = ""
    with asyncio.Runner() as runner:
        for block in found:
            if block.file is not None:
                Path(block.file).write_text(block.text, encoding="utf-8")
            if block.language == "python" and not block.is_test:
                printed = _run(block, page, module, runner)
            elif block.mark == "output":
                differs = f"{page.name}:{block.line}: printed\n{printed}\nnot\n{block.text}"
                assert printed.strip() == block.text.strip(), differs
    _run_tests([str(block.file) for block in found if block.is_test], page)


def _run(block: Block, page: Path, module: ModuleType, runner: asyncio.Runner) -> str:
    # Empty lines before it put the page's line numbers into tracebacks.
    tree = ast.parse("\n" * (block.line - 1) + block.text, str(page))
    code = compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with contextlib.redirect_stdout(_Tee()) as printed:
        # Eval gives a coroutine where the block awaits; elsewhere it has run, outside a loop, free to start its own.
        result = cast("object", eval(code, vars(module)))
        if inspect.iscoroutine(result):
            runner.run(result)
    return printed.getvalue()


def _run_tests(files: list[str], page: Path) -> None:
    if files:
        plugins = [word for name in ("anyio.pytest_plugin", "playhead.client.pytest_plugin") for word in ("-p", name)]
        pytest = [sys.executable, "-m", "pytest", "-q", *plugins, "-p", "no:cacheprovider"]
        alone = {
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }  # what else is installed here takes seconds to load
        command = [*pytest, "-W", "error", *files]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=alone)
        assert done.returncode == 0, f"{page.name}: a test file of it fails\n{done.stdout}{done.stderr}"


if __name__ == "__main__":
    run_page(Path(sys.argv[1]))
