"""Where runs and sessions are: one shard each, the same for every process, and evenly."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.client import Client
from playhead.runtime.core.ids import new_run_id
from playhead.runtime.log.redis.shards import MAX_SHARDS, check_shards, shard_of_run, shard_of_session

__all__: list[str] = []


@given(st.integers(0, MAX_SHARDS - 1))
def test_a_fresh_run_id_names_its_shard(shard: int) -> None:
    assert shard_of_run(new_run_id(shard=shard)) == shard


@given(st.integers(1, MAX_SHARDS), st.text(min_size=1, max_size=256))
def test_every_session_has_one_shard_and_its_runs_can_be_there(shards: int, session: str) -> None:
    shard = shard_of_session(session, shards=shards)
    assert 0 <= shard < shards
    assert shard_of_run(new_run_id(shard=shard)) == shard == shard_of_session(session, shards=shards)


@given(
    st.text(max_size=40) | st.text("0123456789abcdefghjk-", max_size=25) | st.from_regex(r"[0-9a-f]{1,4}-[0-9a-z]{19}")
)
def test_every_id_is_on_the_shard_it_names_or_on_shard_0(run_id: str) -> None:
    shard = shard_of_run(run_id)
    assert shard == 0 or run_id.startswith(f"{shard:x}-")


@pytest.mark.parametrize(
    "run_id",
    [
        "r1",
        "3",
        "3-run",
        "order-17",
        "-0d1m5x8p4k2v9r7w3t6",
        "03-0d1m5x8p4k2v9r7w3t6",  # two spellings of one shard would be two ids of one run
        "3-0d1m5x8p4k2v9r7w3t67",
        "3-0d1m5x8p4k2v9r7w3u",
        "8a5c0f1e-3f1c-4f57-9f4c-0a4f2c9f1f9e",
        "",
    ],
)
def test_an_id_of_another_form_is_on_shard_0(run_id: str) -> None:
    assert shard_of_run(run_id) == 0


def test_the_shard_of_a_session_is_the_same_in_every_version() -> None:
    """Another hash would part every stored session from its messages."""
    assert [shard_of_session(name, shards=16) for name in ("ada", "bob", "é", "\ud800")] == [8, 0, 14, 8]
    assert shard_of_session("ada", shards=1) == 0


def test_sessions_are_spread_evenly() -> None:
    counts = Counter(shard_of_session(f"user-{number}", shards=16) for number in range(16_000))
    assert len(counts) == 16
    assert max(counts.values()) < 1200
    assert min(counts.values()) > 800


@pytest.mark.parametrize("shards", [0, -1, MAX_SHARDS + 1])
def test_a_number_of_shards_that_cannot_be_is_refused(shards: int) -> None:
    with pytest.raises(ValueError, match=f"shards must be 1 to 256, not {shards}"):
        check_shards(shards)
    with pytest.raises(ValueError, match="shards must be 1 to 256"):
        Client(shards=shards)
