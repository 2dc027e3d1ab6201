"""The process pool: a death, a hang or an excess of one process concerns nobody but its own work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from codebase_mcp.indexing.pool import NICENESS, Bounds, Cause, ParsingPool, PoolBrokenError
from tests.support import poison
from tests.support.waiting import until, until_now

ROOT = Path(__file__).parents[2]
MEMORY_BYTES = 80_000_000


@pytest.fixture
def pool() -> Iterator[ParsingPool]:
    with contextlib.closing(ParsingPool(2)) as opened:
        yield opened


async def test_work_is_done_in_another_process(pool: ParsingPool) -> None:
    assert await pool.run(poison.doubled, 21) == 42
    assert await pool.run(poison.own_process_id, None) in pool.process_ids()


async def test_what_the_work_raises_comes_back_and_the_pool_lives_on(pool: ParsingPool) -> None:
    with pytest.raises(ValueError, match="no good"):
        await pool.run(poison.refuse, "no good")
    before = pool.process_ids()
    assert await pool.run(poison.doubled, 1) == 2
    assert set(before) <= set(pool.process_ids())


async def test_a_death_breaks_its_own_work_and_no_other(pool: ParsingPool) -> None:
    work = [pool.run(poison.doubled, 1), pool.run(poison.die, None), *(pool.run(poison.doubled, n) for n in range(6))]
    results = await asyncio.gather(*work, return_exceptions=True)
    assert isinstance(results[1], PoolBrokenError)
    assert [results[0], *results[2:]] == [2, 0, 2, 4, 6, 8, 10]


async def test_work_that_hangs_is_killed_and_what_waits_behind_it_is_done() -> None:
    with contextlib.closing(ParsingPool(1, Bounds(MEMORY_BYTES, work_seconds=8))) as pool:
        process_id = await pool.run(poison.own_process_id, None)
        work = (pool.run(poison.hang, 60), *(pool.run(poison.doubled, n) for n in range(4)))
        results = await asyncio.gather(*work, return_exceptions=True)
        assert isinstance(results[0], PoolBrokenError)
        assert results[0].cause is Cause.TOO_SLOW
        assert results[1:] == [0, 2, 4, 6]
        assert not is_alive(process_id)


async def test_a_process_that_died_idle_is_replaced() -> None:
    with contextlib.closing(ParsingPool(1)) as pool:
        process_id = await pool.run(poison.own_process_id, None)
        os.kill(process_id, signal.SIGKILL)
        await until(lambda: not is_alive(process_id), what="the process to be gone")
        assert await pool.run(poison.own_process_id, None) != process_id


async def test_an_item_that_takes_too_much_time_is_named() -> None:
    with contextlib.closing(ParsingPool(1, Bounds(MEMORY_BYTES, item_seconds=0.5))) as pool:
        await pool.run(poison.compute, {"a": 0.3, "b": 0.3, "c": 0.3})  # more than the bound together
        with pytest.raises(PoolBrokenError) as caught:
            await pool.run(poison.compute, {"a": 0.1, "b": 30.0, "c": 0.1})
        assert (caught.value.cause, caught.value.item) == (Cause.TOO_SLOW, "b")


async def test_an_item_that_takes_too_much_memory_is_named() -> None:
    with contextlib.closing(ParsingPool(1, Bounds(MEMORY_BYTES))) as pool:
        assert await pool.run(poison.take, {"a": 5, "b": 10}) == 15
        with pytest.raises(PoolBrokenError) as caught:
            await pool.run(poison.take, {"a": 5, "b": 300, "c": 5})
        assert caught.value.item == "b"
        assert await pool.run(poison.take, {"a": 5}) == 5


async def test_isolated_work_has_a_bound_of_its_own() -> None:
    with contextlib.closing(ParsingPool(1, Bounds(MEMORY_BYTES), isolated_memory_bytes=4 * MEMORY_BYTES)) as pool:
        assert await pool.run_isolated(poison.take, {"a": 150}) == 150
        with pytest.raises(PoolBrokenError):
            await pool.run_isolated(poison.take, {"a": 600})


async def test_a_process_that_has_grown_is_replaced() -> None:
    with contextlib.closing(ParsingPool(1, Bounds(MEMORY_BYTES))) as pool:
        small = await pool.run(poison.keep, 1)
        assert await pool.run(poison.keep, 45) == small
        assert await pool.run(poison.keep, 1) != small


async def test_work_in_flight_and_waiting_breaks_when_the_pool_is_closed() -> None:
    pool = ParsingPool(1)
    await pool.run(poison.doubled, 1)
    work = [asyncio.create_task(pool.run(poison.hang, 60)) for _ in range(3)]
    await asyncio.sleep(0)
    pool.close()
    results = await asyncio.wait_for(asyncio.gather(*work, return_exceptions=True), 20)
    assert [type(result) for result in results] == [PoolBrokenError] * 3


async def test_a_cancelled_caller_waits_for_no_process(pool: ParsingPool) -> None:
    await pool.run(poison.doubled, 1)
    task = asyncio.create_task(pool.run(poison.hang, 60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_in_isolation_only_the_guilty_work_breaks(pool: ParsingPool) -> None:
    results = await asyncio.gather(
        pool.run_isolated(poison.doubled, 1),
        pool.run_isolated(poison.die, None),
        pool.run_isolated(poison.doubled, 2),
        pool.run(poison.doubled, 3),
        return_exceptions=True,
    )
    assert [results[0], results[2], results[3]] == [2, 4, 6]
    assert isinstance(results[1], PoolBrokenError)


async def test_isolated_work_leaves_no_process(pool: ParsingPool) -> None:
    process_id = await pool.run_isolated(poison.own_process_id, None)
    await until(lambda: not is_alive(process_id), what="the process of isolated work to be gone")


async def test_a_closed_pool_leaves_no_process(pool: ParsingPool) -> None:
    await pool.run(poison.doubled, 1)
    processes = pool.process_ids()
    assert processes
    pool.close()
    assert pool.process_ids() == []
    await until(lambda: not any(map(is_alive, processes)), what="the processes to be gone")


def is_alive(process_id: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    return False


PARENT = """
import asyncio, time
from codebase_mcp.indexing.pool import NICENESS, ParsingPool
from tests.support import poison

async def main():
    pool = ParsingPool(2)
    await asyncio.gather(*(pool.run(poison.hang, 0.2) for _ in range(2)))
    print(*pool.process_ids(), flush=True)
    await pool.run(poison.hang, 60)

if __name__ == "__main__":
    asyncio.run(main())
"""


def test_the_processes_of_a_killed_parent_leave(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": python_path}
    )
    try:
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(map(is_alive, children))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.communicate()
    killed_at = time.monotonic()
    until_now(lambda: not any(map(is_alive, children)), what="the children to leave")
    assert time.monotonic() - killed_at < 15


def niceness(_nothing: None) -> int:
    return os.nice(0)


async def test_parsing_gives_way_to_those_who_search(pool: ParsingPool) -> None:
    assert await pool.run(niceness, None) == min(19, os.nice(0) + NICENESS)
