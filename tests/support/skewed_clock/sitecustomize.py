"""With this folder on PYTHONPATH, a Python process believes that it is CLOCK_SKEW_SECONDS later than it is."""

from __future__ import annotations

import ctypes
import datetime as standard
import gc
import os
import time
from collections.abc import Callable
from typing import Any

SKEW = standard.timedelta(seconds=float(os.environ.get("CLOCK_SKEW_SECONDS", "0")))
Moment = standard.datetime


def later(real: Callable[..., Any], skew: Any) -> Callable[..., Any]:
    return lambda *arguments: real(*arguments) + skew


def skewed_now(cls: type[Moment], tz: standard.tzinfo | None = None) -> Moment:
    there = standard.datetime.fromtimestamp(time.time(), standard.UTC)
    return there.astimezone(tz) if tz is not None else there.astimezone().replace(tzinfo=None)


def skew() -> None:
    time.time = later(time.time, SKEW.total_seconds())
    time.time_ns = later(time.time_ns, round(SKEW.total_seconds()) * 10**9)
    # The class itself must stay, others compare with it; only its dictionary can be reached behind its proxy.
    (members,) = gc.get_referents(Moment.__dict__)
    members["now"] = classmethod(skewed_now)
    members["utcnow"] = classmethod(lambda cls: skewed_now(cls, standard.UTC).replace(tzinfo=None))
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(Moment))


if SKEW:
    skew()
