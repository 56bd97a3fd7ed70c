"""Steps: values that a guest computes once in a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import anyio

from playhead.runtime.core.records import Record, StepFinished, now_ms
from playhead.runtime.host.forms import stored_form
from playhead.runtime.host.raised import CUT_OFF, made_again, recorded
from playhead.runtime.host.recorder import Recorder

__all__ = ["Steps", "given_again", "value_of"]


class Steps:
    """The steps of one execution of a guest. Use it on the guest's event loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def step(self, key: str, do: Callable[[], Awaitable[Any]]) -> Any:
        """The value of `do()`, or what it raised, computed once."""
        recorder = self._recorder
        key = recorder.key("step", key)
        if (logged := recorder.course.step(key)) is not None:
            await recorder.in_turn(logged.seq)
            return await given_again(logged.record)
        with recorder.when_cut_off(lambda: self._cut_off(key)):
            await recorder.goes_live(f"the step {key.lstrip('/')}")
            return await self._live(key, do)

    async def _live(self, key: str, do: Callable[[], Awaitable[Any]]) -> Any:
        """Compute the value of a step."""
        recorder = self._recorder
        try:
            value = stored_form(await do(), what=f"the value of the {key.lstrip('/')}")
        except Exception as error:
            recorder.put_step(StepFinished(at=now_ms(), key=key, error=recorded(error)))
            raise
        finally:
            recorder.ends_live()
        return value_of(recorder.put_step(StepFinished(at=now_ms(), key=key, value=value)))

    def at_once(self, kind: str, make: Callable[[], Any]) -> Any:
        """The value of `make()`, which takes no time, computed once."""
        recorder = self._recorder
        key = recorder.key(kind)
        logged = recorder.course.step(key)
        done = recorder.put_step(StepFinished(at=now_ms(), key=key, value=make())) if logged is None else logged.record
        return value_of(done)

    async def sleep(self, seconds: float) -> None:
        """Wait so long, from the first execution on. A wait that is over is not waited again."""
        recorder = self._recorder
        until: float = self.at_once("sleep", lambda: now_ms() / 1000 + seconds)
        key = recorder.key("slept")
        if (logged := recorder.course.step(key)) is not None:
            await recorder.in_turn(logged.seq)
            await given_again(logged.record)
            return
        with recorder.when_cut_off(lambda: self._cut_off(key)):
            await recorder.sleep_until(until)
        recorder.put_step(StepFinished(at=now_ms(), key=key))

    def _cut_off(self, key: str) -> None:
        self._recorder.put_step(StepFinished(at=now_ms(), key=key, error=dict(CUT_OFF)))


def value_of(record: Record) -> Any:
    """The value of a step; raises what the step raised."""
    done = cast("StepFinished", record)
    if done.error is not None:
        raise made_again(done.error)
    return done.value


async def given_again(record: Record) -> Any:
    """As `value_of`. A step that the guest cut off is cut off again: it does not end by itself."""
    if cast("StepFinished", record).error == CUT_OFF:
        await anyio.sleep_forever()
    return value_of(record)
