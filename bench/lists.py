"""Lists: a page of runs among very many: the newest, from the middle, by a tag, by a state and an agent.

Yardstick: the same page among 5,000 runs. The runs are written as a submission and an end leave them, but without their
records, which lists do not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.children import cpu_seconds
from bench.figures import Figure, of_rounds, ratio_at_most
from bench.server import Bench
from bench.sizes import Sizes
from playhead.runtime.log.listing import EVERY_RUN, Place, RunFilter
from playhead.runtime.log.redis.connection import connect
from playhead.runtime.log.redis.log import RedisLog

__all__ = ["measure"]

_FEW: Final = 5000
_PAGE: Final = 50
_PAGES: Final = 20
_FIRST_US: Final = 1_700_000_000_000_000
_WRITTEN_PER_CALL: Final = 1000

_WRITE: Final = """
local root, first, count, all, began = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local indexes = {}
for number = first, first + count - 1 do
  local id, position = string.format('0-%019d', number), string.format('%.0f', began + number)
  local agent = number % 2 == 0 and 'support' or 'sales'
  local state = number % 25 == 0 and 'failed' or number % 2 == 0 and 'completed' or 'cancelled'
  local customer = number % math.max(1, math.floor(all / 100))
  local at = string.format('%.0f', math.floor(position / 1000))
  redis.call('HSET', root .. 'run:' .. id, 'state', state, 'agent', agent, 'session', '', 'head', 30, 'epoch', 1,
    'crashes', 0, 'handovers', 0, 'errors', 0, 'created', at, 'updated', at, 'metadata', '{"customer": ' .. customer .. '}')
  for _, index in ipairs({'runs', 'index:agent:' .. agent, 'index:state:' .. state, 'index:tag:customer=' .. customer}) do
    local pairs = indexes[index] or {}
    indexes[index], pairs[#pairs + 1], pairs[#pairs + 2] = pairs, position, id
  end
end
for index, pairs in pairs(indexes) do redis.call('ZADD', root .. index, unpack(pairs)) end
"""


async def _written(bench: Bench, prefix: str, count: int) -> RedisLog:
    """A log with so many ended runs: half of each agent, one in 25 of them failed, a hundred of each customer.

    The runs of one agent that did not fail are completed, those of the other are cancelled.
    """
    log = RedisLog(connect(bench.url), prefix=prefix)
    for first in range(0, count, _WRITTEN_PER_CALL):
        some = min(_WRITTEN_PER_CALL, count - first)
        await bench.admin.eval(_WRITE, 1, log.keys.root, first, some, count, _FIRST_US)  # pyright: ignore[reportUnknownMemberType, reportGeneralTypeIssues]
    return log


def _asked(count: int) -> dict[str, tuple[RunFilter, Place | None]]:
    """What is read, by its name: the filters, and where the page begins."""
    return {
        "the newest": (EVERY_RUN, None),
        "from the middle": (EVERY_RUN, Place(_FIRST_US + count // 2, "")),
        "by a tag": (RunFilter(tags=["customer=1"]), None),
        "by a state and an agent": (RunFilter(state="failed", agent="support"), None),
    }


async def _page(bench: Bench, log: RedisLog, filters: RunFilter, after: Place | None, *, times: int = _PAGES) -> float:
    """The milliseconds of CPU that a page takes, of this process and the server together."""
    began = cpu_seconds() + (await bench.counters()).cpu
    for _ in range(times):
        await log.runs(filters, limit=_PAGE, after=after)
    return (cpu_seconds() + (await bench.counters()).cpu - began) / times * 1000


async def measure(bench: Bench, sizes: Sizes, say: Callable[[str], None]) -> list[Figure]:
    """The figures of this measurement."""
    say(f"lists: writing {sizes.listed_runs:,} runs")
    many = await _written(bench, "many", sizes.listed_runs)
    few = await _written(bench, "few", min(_FEW, sizes.listed_runs))
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in _asked(1)}
    apart: list[float] = []
    for number in range(sizes.rounds):
        say(f"lists: round {number + 1} of {sizes.rounds}")
        for name, (filters, after) in _asked(sizes.listed_runs).items():
            taken[name][0].append(await _page(bench, many, filters, after))
            after = None if after is None else _asked(_FEW)[name][1]
            taken[name][1].append(await _page(bench, few, filters, after))
        apart.append(await _page(bench, many, RunFilter(agent="support", state="cancelled"), None, times=1))
    await many.aclose()
    await few.aclose()
    note = f"{sizes.listed_runs:,} runs; pages of {_PAGE}, CPU of the client and the server"
    figures = [
        of_rounds("lists", f"a page, {name}", mine, "ms").beside(
            others, f"among {_FEW:,} runs", target=ratio_at_most(2), note=note
        )
        for name, (mine, others) in taken.items()
    ]
    note = (
        "the worst that filters can ask: each fits half of the runs, and no run both; CPU of the client and the server"
    )
    return [*figures, of_rounds("lists", "two filters that no run fits", apart, "ms", note=note)]
