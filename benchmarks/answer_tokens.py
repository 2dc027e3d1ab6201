"""What a model reads of an answer: structured as JSON, and as text, through the real server.

    python -m benchmarks.answer_tokens --queries DIR --checkouts DIR [--data-dir DIR] [--limits 5 10] [--out FILE]

Each annotated repository is a project of its own, of which `benchmark_root` is indexed. Tokens are those of o200k. Of
a structured answer clients show the JSON. "First right" is what a model has read when it comes to the end of the first
hit that is right, from the beginning of the answer; the whole answer when none is. "Code" is the code and a line with
the place of each hit, and nothing else. Figures are means over repositories of the means over a repository's queries.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.corpora import BenchmarkError
from benchmarks.figures import commit, rounded, spread
from benchmarks.installation import Installation, Server, kept_installation, temporary_installation
from benchmarks.quality import Checkout, checkouts, index, project_of
from benchmarks.relevance import AnnotatedQuery, load, target_ranks
from benchmarks.tokens import compact_json, count_tokens
from codebase_mcp.search.models import SearchAnswer, SearchHit
from codebase_mcp.server.text_answers import render_search

LIMITS = (5, 10)
FIGURES = ("structured", "text", "code", "structured_first_right", "text_first_right")


@dataclass(frozen=True, slots=True)
class Read:
    """Tokens of one answer in both forms; `rank` is that of the first hit that is right."""

    repository: str
    category: str
    query: str
    limit: int
    rank: int | None
    structured: int
    text: int
    code: int
    structured_first_right: int
    text_first_right: int

    @property
    def share_of_code(self) -> float:
        return self.text / self.code


def read(checkout: Checkout, query: AnnotatedQuery, limit: int, structured: dict[str, Any]) -> Read:
    """The tokens of an answer, given in its structured form."""
    answer = SearchAnswer.model_validate(structured)
    ranks = [rank for rank in target_ranks(checkout.results(answer), query.targets) if rank is not None]
    rank = min(ranks, default=None)
    whole_json, whole_text = compact_json(structured), render_search(answer)
    return Read(
        repository=checkout.annotated.name,
        category=query.category,
        query=query.text,
        limit=limit,
        rank=rank,
        structured=count_tokens(whole_json),
        text=count_tokens(whole_text),
        code=count_tokens("\n".join(_code(hit, checkout.root) for hit in answer.results)),
        structured_first_right=count_tokens(_json_up_to(structured, rank) if rank else whole_json),
        text_first_right=count_tokens(_text_up_to(answer, rank) if rank else whole_text),
    )


def _code(hit: SearchHit, root: Path) -> str:
    place = f"{Path(hit.file_path).relative_to(root)}:{hit.start_line}-{hit.end_line}"
    return f"{place} {hit.kind} {hit.symbol or ''}".rstrip() + f"\n{hit.content.rstrip()}"


def _json_up_to(structured: dict[str, Any], rank: int) -> str:
    """Results come first in the JSON."""
    return compact_json({"results": structured["results"][:rank]}).removesuffix("]}")


def _text_up_to(answer: SearchAnswer, rank: int) -> str:
    return render_search(
        answer.model_copy(
            update={"results": answer.results[:rank], "next_offset": None, "warnings": [], "truncated": False}
        )
    )


async def read_all(server: Server, chosen: Sequence[Checkout], limits: Sequence[int]) -> list[Read]:
    found = []
    for checkout in chosen:
        for query in checkout.answerable_queries():
            for limit in limits:
                structured = await server.ask(
                    "search_code", query=query.text, limit=limit, project_id=project_of(checkout)
                )
                found.append(read(checkout, query, limit, structured))
    return found


# --- figures ---


def summary(found: Sequence[Read], limits: Sequence[int]) -> dict[str, Any]:
    by_limit = {limit: [item for item in found if item.limit == limit] for limit in limits}
    return {str(limit): figures(items) for limit, items in by_limit.items()}


def figures(found: Sequence[Read]) -> dict[str, Any]:
    means = {name: rounded(over_repositories(found, _value_of(name))) for name in FIGURES}
    shares = spread([item.share_of_code for item in found if item.code])
    assert shares is not None, "there are answers"
    return {
        "answers": len(found),
        "right": rounded(over_repositories(found, lambda item: item.rank is not None)),
        **means,
        "text_to_code": {"p50": rounded(shares.p50), "p95": rounded(shares.p95), "max": rounded(shares.max)},
    }


def _value_of(name: str) -> Callable[[Read], float]:
    return lambda item: float(getattr(item, name))


def over_repositories(found: Iterable[Read], value: Callable[[Read], float]) -> float:
    values: dict[str, list[float]] = defaultdict(list)
    for item in found:
        values[item.repository].append(value(item))
    return mean(mean(one) for one in values.values())


def table(results: dict[str, Any]) -> str:
    titles = (
        "limit",
        "answers",
        "right",
        "structured",
        "text",
        "text:code p50",
        "p95",
        "max",
        "first right",
        "as text",
    )
    lines = ["".join(f"{title:>14}" for title in titles)]
    for limit, row in results.items():
        share = row["text_to_code"]
        cells = (
            limit, row["answers"], f"{row['right']:.3f}", f"{row['structured']:.0f}", f"{row['text']:.0f}",
            f"{share['p50']:.3f}", f"{share['p95']:.3f}", f"{share['max']:.3f}",
            f"{row['structured_first_right']:.0f}", f"{row['text_first_right']:.0f}",
        )  # fmt: skip
        lines.append("".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


# --- the run ---


async def measure(installation: Installation, chosen: Sequence[Checkout], limits: Sequence[int]) -> list[Read]:
    async with installation.server() as server:
        await server.ready("list_background_jobs")
        await index(server, chosen)
        return await read_all(server, chosen, limits)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.answer_tokens",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--queries", type=Path, required=True, metavar="DIR", help="a folder of annotated queries")
    parser.add_argument("--checkouts", type=Path, required=True, metavar="DIR", help="one folder for each repository")
    parser.add_argument("--repo", nargs="+", metavar="NAME", help="only these repositories")
    parser.add_argument("--limits", type=int, nargs="+", default=LIMITS, help="limits to ask with")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep the index here for the next run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where every figure goes as JSON")
    return parser.parse_args()


def main() -> int:
    arguments = _arguments()
    try:
        repositories = [item for item in load(arguments.queries) if not arguments.repo or item.name in arguments.repo]
        chosen = checkouts(repositories, arguments.checkouts.resolve(), whole=False)
        kept = kept_installation(arguments.data_dir) if arguments.data_dir else temporary_installation()
        with kept as installation:
            found = asyncio.run(measure(installation, chosen, arguments.limits))
    except BenchmarkError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    results = summary(found, arguments.limits)
    print(table(results))
    if arguments.out:
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        asked = [asdict(item) for item in found]
        result = {**commit(), "started_at": started_at, "results": results, "asked": asked}
        arguments.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
