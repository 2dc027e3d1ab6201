"""Everything at random: whatever is done to workers, their database and their links, the index comes out the same."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.faults.chaos import one_round
from tests.faults.takeovers import spread
from tests.support.processes import Site

pytestmark = pytest.mark.faults

CYCLES = 20


@pytest.mark.timeout(600)
async def test_jobs_complete_and_invariants_hold_whatever_is_done_to_the_processes(
    site: Site, tmp_path: Path, seed: random.Random
) -> None:
    summary = await one_round(site, tmp_path, seed, cycles=CYCLES)
    sys.stdout.write(f"{summary | {'takeover_seconds': spread(summary['takeover_seconds'])}}\n")
    assert summary["cycles"] == CYCLES
    assert summary["index_samples"] > 0
