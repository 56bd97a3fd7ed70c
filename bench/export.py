"""Export: writes a finished run to a file, then opens and reads the file."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.children import Talk, child, cpu_seconds, rss_bytes
from bench.figures import Figure, at_least, of_rounds
from bench.seeding import finished_run
from bench.server import Bench
from bench.sizes import Sizes
from playhead.client import Client, open_log

__all__ = ["exporter", "measure"]


async def exporter(config: dict[str, Any], talk: Talk) -> None:
    """Role: exports one run, or opens its file and reads all its records. Answers seconds, CPU seconds and memory."""
    path = Path(config["file"])
    async with Client(config["url"], prefix=config["prefix"]) as client:
        async for question in talk.questions():
            gc.collect()
            began, cpu = time.monotonic(), cpu_seconds()
            if question["ask"] == "export":
                records = (await client.run(config["run"]).export(path)).records
            else:
                with open_log(path) as file:
                    records = sum([1 async for _ in file.run().records()])
            spent = {"s": time.monotonic() - began, "cpu": cpu_seconds() - cpu}
            talk.answer({"records": records, "rss": rss_bytes(), **spent})


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"export: writing {sizes.replay_records:,} records")
    run_id, head = await finished_run(bench.url, prefix="export", records=sizes.replay_records)
    exported: list[dict[str, Any]] = []
    read: list[dict[str, Any]] = []
    with TemporaryDirectory() as folder:
        config = {"url": bench.url, "prefix": "export", "run": run_id, "file": f"{folder}/run.jsonl"}
        async with child(exporter, config, uvloop=False) as process:
            for number in range(sizes.rounds):
                say(f"export: round {number + 1} of {sizes.rounds}")
                exported.append(await process.ask("export"))
                read.append(await process.ask("read"))
        size = Path(config["file"]).stat().st_size
    assert {one["records"] for one in exported + read} == {head}
    return _figures(exported, read, records=head, size=size)


def _figures(exported: list[dict[str, Any]], read: list[dict[str, Any]], *, records: int, size: int) -> list[Figure]:
    def per_second(rounds: list[dict[str, Any]]) -> list[float]:
        return [one["records"] / one["s"] for one in rounds]

    note = f"one finished run of {records:,} records, {size / records:.0f} bytes of file each, the digest included"
    growth = [(one["rss"] - exported[0]["rss"]) / 1e6 for one in exported[1:]] or [0.0]
    return [
        of_rounds(
            "export", "records a second, to a file", per_second(exported), "/s", target=at_least(50_000), note=note
        ),
        of_rounds("export", "records a second, opened and read", per_second(read), "/s"),
        of_rounds("export", "CPU per record, to a file", [one["cpu"] / records * 1e6 for one in exported], "µs"),
        of_rounds("export", "memory after an export, beside the first", growth, "MB", note="records are not kept"),
    ]
