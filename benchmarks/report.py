"""The result as JSON for keeping and as a table for reading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"

BUDGETS: dict[tuple[str, ...], str] = {
    ("start", "cold_worker"): "p95 < 1,000",
    ("start", "warm_worker"): "p95 ≤ 150",
    ("while_3_jobs_run", "get_job_status"): "p95 ≤ 25",
    ("while_3_jobs_run", "list_background_jobs"): "p95 ≤ 50",
    ("while_3_jobs_run", "search_code"): "p95 ≤ 100",
    ("search", "through_mcp"): "p95 ≤ 50",
    ("cancel", "recorded"): "p95 < 200",
    ("cancel", "stopped"): "p95 < 3,000",
}
"""Milliseconds on two cores."""
PACES = ("files", "chunks", "megabytes", "seconds", "files_per_second", "chunks_per_second", "megabytes_per_second")
SPREAD = ("samples", "p50", "p95", "max")


def default_path(result: dict[str, Any]) -> Path:
    """One file per run, so that no run is lost."""
    commit = (result["commit"] or "uncommitted")[:8]
    moment = result["started_at"][:19].replace(":", "").replace("-", "")
    return RESULTS / f"speed-{moment}-{commit}.json"


def write(result: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(result: dict[str, Any]) -> str:
    """What was measured, in as many lines as there are figures."""
    return "\n".join([_heading(result), *_paces(result), "", *_latencies(result), "", *_rest(result)])


def _heading(result: dict[str, Any]) -> str:
    machine = result["machine"]
    state = ", modified" if result["is_modified"] else ""
    return (
        f"codebase-mcp {result['version']} ({(result['commit'] or 'no commit')[:8]}{state}) on {machine['cpu']}, "
        f"{machine['usable_cores']} cores, {machine['memory_gb']} GB, {machine['system']}, {machine['python']}, "
        f"load before {machine['load_average_before'][0]}\n"
    )


def _paces(result: dict[str, Any]) -> Iterator[str]:
    titles = ("files", "chunks", "MB", "seconds", "files/s", "chunks/s", "MB/s")
    yield f"{'':34}" + "".join(f"{title:>11}" for title in titles)
    for section, label in (("index", "end to end: "), ("stages_on_one_core", "one core: ")):
        for name, figures in result["results"].get(section, {}).items():
            yield f"{label + name.replace('_', ' '):34}" + "".join(f"{_number(figures.get(key)):>11}" for key in PACES)


def _latencies(result: dict[str, Any]) -> Iterator[str]:
    yield f"{'milliseconds':44}" + "".join(f"{title:>9}" for title in SPREAD) + "   budget"
    for path, figures in _spreads(result["results"], ()):
        budget = BUDGETS.get(path, "")
        label = ": ".join(part.replace("_", " ") for part in path)
        yield f"{label:44}" + "".join(f"{_number(figures[key]):>9}" for key in SPREAD) + f"   {budget}"


def _spreads(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, float]]]:
    if not isinstance(value, dict):
        return
    if "p95" in value:
        yield path, value
        return
    for name, inner in value.items():
        yield from _spreads(inner, (*path, name))


def _rest(result: dict[str, Any]) -> Iterator[str]:
    """Single figures, flat; the ones that have a line of their own above are left out."""
    for section, figures in result["results"].items():
        if section in ("index", "stages_on_one_core"):
            continue
        flat = ", ".join(_flat(figures))
        if flat:
            yield f"{section.replace('_', ' ')}: {flat}"


def _flat(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        if "p95" not in value:
            for key, inner in value.items():
                yield from _flat(inner, f"{name} {key}".strip())
    elif isinstance(value, list):
        yield f"{name} {' / '.join(map(_number, value))}".replace("_", " ")
    elif value is not None:
        yield f"{name} {_number(value)}".replace("_", " ")


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1_000 or isinstance(value, int) else f"{value:,.4g}"
