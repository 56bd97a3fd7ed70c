"""`playhead worker --retention`: each worker process keeps the runs that it ends as long as it was told."""

from __future__ import annotations

from collections.abc import Callable

import redis

from playhead.runtime.embedded.server import EmbeddedServer
from playhead.runtime.log.redis.keys import Keys
from tests.processes.conftest import AGENTS
from tests.support.commands import Commands, Finished

__all__: list[str] = []

HOUR_MS = 3_600_000


def test_the_processes_of_a_worker_keep_runs_as_they_were_told(server: EmbeddedServer, commands: Commands):
    rules = ("--retention", "1h", "--retention", "assistant:completed=30d")
    worker = commands.start(
        "worker", str(AGENTS), "--url", server.url, "--processes", "2", "--drain", "0", "--lease", "2", *rules
    )
    worker.until("serves")
    run = commands.run("ask", "assistant", "What is 17 * 23?", "--json", "--url", server.url).lines[0]["run"]
    with redis.Redis.from_url(server.url) as client:
        left = client.pttl(Keys("ph", 0).run(run))
    assert isinstance(left, int)
    assert 29 * 24 * HOUR_MS < left <= 30 * 24 * HOUR_MS
    assert worker.stop() == 0


def test_a_rule_that_is_not_one_is_one_line_and_an_exit_code(call: Callable[..., Finished]):
    for rule, why in (("7", "use a time such as"), ("*:paused=1d", "AGENT:STATE, and STATE is one of")):
        refused = call("worker", str(AGENTS), "--retention", rule)
        assert (refused.code, refused.err.count("\n")) == (64, 0)
        assert why in refused.err
