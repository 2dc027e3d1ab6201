"""A process that was told to stop leaves in time, whatever hangs in it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HANGING = """
import asyncio, signal, sys, threading, time
from codebase_mcp.leaving import Departure, told_to_stop

async def work(how, departure):
    stop = asyncio.Event()
    def hear():
        print("told", flush=True)
        stop.set()
    with told_to_stop((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), hear, departure):
        print("ready", flush=True)
        if how == "thread":
            await asyncio.gather(stop.wait(), asyncio.to_thread(time.sleep, 600))
        elif how == "loop":
            time.sleep(600)
        await stop.wait()
    if departure and how == "code":
        departure.begin(75)
        threading.Thread(target=time.sleep, args=(600,)).start()

how, seconds = sys.argv[1], float(sys.argv[2])
asyncio.run(work(how, Departure(seconds) if seconds else None))
"""


@contextmanager
def hanging(how: str, seconds: float, *prefix: str) -> Iterator[subprocess.Popen[str]]:
    command = [*prefix, sys.executable, "-c", HANGING, how, str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_just_ends_when_nothing_hangs(number: signal.Signals) -> None:
    with hanging("nothing", 60) as process:
        process.send_signal(number)
        assert process.wait(30) == 0


@pytest.mark.parametrize("how", ["thread", "loop"])
def test_it_leaves_at_its_deadline_though_a_thread_or_the_loop_hangs(how: str) -> None:
    with hanging(how, 0.3) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_the_exit_code_survives_a_thread_that_hangs() -> None:
    with hanging("code", 2) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 75


def test_a_second_signal_ends_it_at_once() -> None:
    with hanging("thread", 60) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert process.stdout.readline() == "told\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT


def test_a_signal_that_was_switched_off_stays_so() -> None:
    with hanging("nothing", 60, "nohup") as process:
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_without_a_departure_a_second_signal_is_only_a_repetition() -> None:
    with hanging("loop", 0) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
