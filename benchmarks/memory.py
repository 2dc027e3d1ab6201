"""Peak memory of processes, sampled from a thread while something else goes on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

SAMPLES_PER_SECOND = 5
PROPORTIONAL = "pss" if psutil.LINUX else "uss"
"""Shared pages counted once over all processes; where the system cannot tell, each process's own pages."""


@dataclass
class MemoryWatch:
    """Samples groups of processes; `groups` names each and says which processes it has at the moment."""

    groups: Mapping[str, Callable[[], Sequence[psutil.Process]]]
    _peaks: dict[str, dict[str, int]] = field(default_factory=dict)
    _samples: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> MemoryWatch:
        self._thread = threading.Thread(target=self._sample, name="memory watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def as_json(self) -> dict[str, Any]:
        """Peaks of the sums over each group's processes, in megabytes."""
        peaks = {
            name: {kind: value if kind == "processes" else round(value / 1e6, 1) for kind, value in peak.items()}
            for name, peak in self._peaks.items()
        }
        return {"samples": self._samples, **peaks}

    def _sample(self) -> None:
        while not self._stop.wait(1 / SAMPLES_PER_SECOND):
            # Replaced as a whole, so that whoever reads meanwhile sees one sample's state.
            self._peaks = {name: self._higher(name, processes()) for name, processes in self.groups.items()}
            self._samples += 1

    def _higher(self, name: str, processes: Sequence[psutil.Process]) -> dict[str, int]:
        now = measured(processes)
        before = self._peaks.get(name, now)
        return {kind: max(value, before[kind]) for kind, value in now.items()}


def measured(processes: Sequence[psutil.Process]) -> dict[str, int]:
    """Sums over the processes that still live."""
    proportional = resident = living = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            memory = process.memory_full_info()
            proportional += getattr(memory, PROPORTIONAL)
            resident += memory.rss
            living += 1
    return {f"{PROPORTIONAL}_mb": proportional, "rss_mb": resident, "processes": living}


def family(root: psutil.Process | None) -> list[psutil.Process]:
    """A process with all its descendants."""
    if root is None:
        return []
    with contextlib.suppress(psutil.Error):
        return [root, *root.children(recursive=True)]
    return []
