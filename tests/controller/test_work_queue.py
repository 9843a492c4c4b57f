"""The queue's guarantees, under random schedules and one by one."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_operator.queue import WorkQueue


class Unmeasured:
    def added(self, depth: int) -> None: ...

    def started(self, depth: int, waited: float) -> None: ...

    def ended(self, worked: float) -> None: ...

    def retried(self) -> None: ...


def queue() -> WorkQueue[str]:
    return WorkQueue(Unmeasured())


STEPS = st.lists(st.tuples(st.sampled_from(["add", "get", "done"]), st.sampled_from("abc")), max_size=60)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_no_key_is_lost_doubled_or_worked_on_twice_at_a_time(steps: list[tuple[str, str]]) -> None:
    async def play() -> None:
        tested, waiting, processing, again = queue(), [], [], set()
        for step, key in steps:
            if step == "add":
                tested.add(key)
                if key in processing:
                    again.add(key)
                elif key not in waiting:
                    waiting.append(key)
            elif step == "get" and waiting:
                assert await tested.get() == waiting[0]
                processing.append(waiting.pop(0))
            elif step == "done" and processing:
                ended = processing.pop(0)
                tested.done(ended)
                if ended in again:
                    again.discard(ended)
                    waiting.append(ended)
            assert len(tested) == len(waiting)

    asyncio.run(play())


async def test_a_waiting_worker_is_woken() -> None:
    tested = queue()
    worker = asyncio.create_task(tested.get())
    await asyncio.sleep(0)
    tested.add("a")
    assert await worker == "a"


async def test_a_cancelled_worker_does_not_swallow_a_key() -> None:
    tested = queue()
    first, second = asyncio.create_task(tested.get()), asyncio.create_task(tested.get())
    await asyncio.sleep(0)
    tested.add("a")
    first.cancel()
    assert await second == "a"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_earlier_of_two_appointments_stands() -> None:
    tested = queue()
    tested.add_after("a", 3600)
    tested.add_after("a", 0.01)
    tested.add_after("a", 3600)
    assert await asyncio.wait_for(tested.get(), 5) == "a"


async def test_waits_double_until_the_key_is_forgotten() -> None:
    tested, loop = queue(), asyncio.get_running_loop()

    async def wait_after_failure() -> float:
        before = loop.time()
        tested.retry("a")
        tested.done(await tested.get())
        return loop.time() - before

    first, second, third = [await wait_after_failure() for _ in range(3)]
    assert second > first * 1.2
    assert third > second * 1.2
    tested.forget("a")
    assert await wait_after_failure() < third
