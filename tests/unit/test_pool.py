"""The process pool: a death or a hang of one process is told to everybody it concerns, and to nobody else."""

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

from codebase_mcp.indexing.pool import NICENESS, ParsingPool, PoolBrokenError
from tests.support import poison
from tests.support.waiting import until, until_now

ROOT = Path(__file__).parents[2]


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


async def test_a_death_is_told_to_all_in_flight_and_the_next_run_works(pool: ParsingPool) -> None:
    work = [pool.run(poison.hang, 60), pool.run(poison.die, None), *(pool.run(poison.hang, 60) for _ in range(6))]
    results = await asyncio.gather(*work, return_exceptions=True)
    assert [type(result) for result in results] == [PoolBrokenError] * len(work)
    assert await pool.run(poison.doubled, 2) == 4


async def test_work_that_hangs_is_killed_and_told_to_all_in_flight(tmp_path: Path) -> None:
    with contextlib.closing(ParsingPool(1, work_seconds=30)) as pool:
        await pool.run(poison.doubled, 1)
        pool._work_seconds = 1
        processes = pool.process_ids()
        results = await asyncio.gather(*(pool.run(poison.hang, 60) for _ in range(4)), return_exceptions=True)
        assert [type(result) for result in results] == [PoolBrokenError] * 4
        await until(lambda: not any(map(is_alive, processes)), what="the hung process to be gone")
        pool._work_seconds = 30
        assert await pool.run(poison.doubled, 2) == 4


async def test_work_that_waits_behind_a_hang_is_told_of_it_too() -> None:
    with contextlib.closing(ParsingPool(1, work_seconds=30)) as pool:
        await pool.run(poison.doubled, 1)
        pool._work_seconds = 1
        hung = asyncio.create_task(pool.run(poison.hang, 60))
        await asyncio.sleep(0)
        pool._work_seconds = 60
        waiting = [asyncio.create_task(pool.run(poison.doubled, n)) for n in range(5)]
        results = await asyncio.gather(hung, *waiting, return_exceptions=True)
        assert [type(result) for result in results] == [PoolBrokenError] * 6


async def test_a_death_is_told_to_the_others_when_one_was_cancelled_before() -> None:
    with contextlib.closing(ParsingPool(1)) as pool:
        await pool.run(poison.doubled, 1)
        callers = [asyncio.create_task(pool.run(poison.hang, 60)) for _ in range(8)]
        await asyncio.sleep(0)
        callers[5].cancel()
        await asyncio.wait([callers[5]])
        os.kill(pool.process_ids()[0], signal.SIGKILL)
        others = [caller for caller in callers if caller is not callers[5]]
        results = await asyncio.wait_for(asyncio.gather(*others, return_exceptions=True), 20)
        assert [type(result) for result in results] == [PoolBrokenError] * 7


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
