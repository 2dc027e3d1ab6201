"""The benchmarks' own arithmetic and output; what they measure needs a quiet machine and is not tested."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import psutil
import pytest
from benchmarks import answer_tokens, corpora, memory, report, speed
from benchmarks.corpora import BenchmarkError, Corpus, SourceDistribution
from benchmarks.figures import machine, milliseconds, rates, rounded, spread
from benchmarks.quality import Checkout
from benchmarks.queries import QUESTIONS, varied_queries
from benchmarks.relevance import AnnotatedQuery, AnnotatedRepository, Target
from benchmarks.stages import Surveyed, sampled_batches, survey
from benchmarks.tokens import count_tokens, count_tool_tokens
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.domain import Definition, DiscoveredFile
from codebase_mcp.settings import Settings
from tests.support.fake_service import a_hit, an_answer

NAMES = ("parse_cookie", "HttpRequest", "fromISOFormat", "solve_banded", "open_socket", "TokenStream", "readline")
DEFINITIONS = [Definition(name, "function", 1, 2, 0, parent, False) for name in NAMES for parent in (None, "Owner")]
RESULT = {
    "version": "0.1.0",
    "commit": "0123456789abcdef",
    "is_modified": True,
    "started_at": "2026-01-31T10:20:30+00:00",
    "machine": machine(),
    "results": {
        "index": {"total": rates(2.0, files=10, chunks=3_000, size_bytes=4_000_000)},
        "start": {"cold_worker": milliseconds([0.1, 0.2]), "warm_worker": None},
        "kill": {"resume_seconds": [1.5, 2.5], "kills": 2},
    },
}


def test_percentiles_are_samples_by_nearest_rank() -> None:
    found = spread(range(1, 101))
    assert found is not None
    assert (found.samples, found.p50, found.p95, found.max) == (100, 50, 95, 100)
    lone = spread([7.0])
    assert lone is not None
    assert (lone.p50, lone.p95) == (7.0, 7.0)
    assert spread([]) is None


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_percentiles_keep_their_order(samples: list[float]) -> None:
    found = spread(samples)
    assert found is not None
    assert found.p50 <= found.p95 <= found.max
    assert {found.p50, found.p95, found.max} <= set(samples)


def test_figures_keep_four_significant_digits() -> None:
    assert [rounded(value) for value in (0.00123456, 12.34567, 123_456.7, 0)] == [0.001235, 12.35, 123_457.0, 0]


def test_rates_leave_out_what_was_not_counted() -> None:
    assert rates(2.0, files=10) == {"seconds": 2.0, "files": 10, "files_per_second": 5.0}
    assert rates(0.0, files=10) == {"seconds": 0.0, "files": 10}


def test_queries_are_varied_and_the_same_on_every_run() -> None:
    queries = varied_queries(DEFINITIONS, 20)
    assert queries == varied_queries(list(reversed(DEFINITIONS)), 20)
    assert len(set(queries)) == len(queries) == 20
    assert set(queries) & set(QUESTIONS)
    assert any("." in query for query in queries)
    assert any(query in NAMES for query in queries)


def test_too_few_names_repeat_queries_rather_than_asking_fewer() -> None:
    queries = varied_queries([], 60)
    assert len(queries) == 60
    assert set(queries) == set(QUESTIONS)


def _surveyed(root: Path, files: int) -> Surveyed:
    found = tuple(DiscoveredFile(f"f{number:03}.py", 1_000, 0) for number in range(files))
    return Surveyed(Corpus(root.name, root), found, 1_000 * files, 0.1)


def test_a_sample_takes_batches_from_every_corpus(tmp_path: Path) -> None:
    surveys = [_surveyed(tmp_path / name, 320) for name in ("one", "two")]
    settings = Settings(batch_files=32)
    batches = list(sampled_batches(surveys, settings, 160_000))
    assert [len(batch.relative_paths) for batch in batches] == [32] * 5
    assert {batch.root.name for batch in batches} == {"one", "two"}
    everything = list(sampled_batches(surveys, settings, 10**9))
    assert sum(len(batch.relative_paths) for batch in everything) == 640


def test_a_survey_counts_only_bytes_that_an_index_takes(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "data.py").write_bytes(b"\x00" * 500)
    surveyed = survey(Corpus("shop", tmp_path), 1_000_000)
    assert surveyed.source_bytes == 6


def test_a_repository_that_is_not_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="is not a directory"):
        corpora.given_corpora([tmp_path / "missing"])


def _cached(cache: Path, item: SourceDistribution) -> None:
    with tarfile.open(cache / item.filename, "w:gz") as archive:
        member = tarfile.TarInfo(f"{item.project}-{item.version}/setup.py")
        member.size = 6
        archive.addfile(member, io.BytesIO(b"x = 1\n"))


def test_an_archive_with_another_hash_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "CACHE", tmp_path)
    _cached(tmp_path, corpora.DJANGO)
    with pytest.raises(BenchmarkError, match="has sha256"):
        corpora.default_corpora(tmp_path / "trees", quick=False)


def test_the_memory_of_a_process_that_left_counts_for_nothing() -> None:
    own = memory.measured([psutil.Process()])
    assert own["processes"] == 1
    assert own["rss_mb"] > 0
    gone = psutil.Popen(["true"])
    gone.wait()
    assert memory.measured([gone]) == dict.fromkeys(own, 0)
    assert memory.family(None) == memory.family(gone) == []


def test_the_watch_keeps_the_peak() -> None:
    with memory.MemoryWatch({"us": lambda: [psutil.Process()]}) as watch:
        while not watch.as_json()["samples"]:
            pass
    assert watch.as_json()["us"]["rss_mb"] > 1


def test_the_table_shows_every_figure_with_its_budget() -> None:
    table = report.table(RESULT)
    assert "end to end: total" in table
    assert "1,500" in table  # chunks per second
    assert "p95 < 1,000" in table
    assert "resume seconds 1.5 / 2.5" in table
    assert "01234567, modified" in table


def test_each_run_has_a_file_of_its_own(tmp_path: Path) -> None:
    assert report.default_path(RESULT).name == "speed-20260131T102030-01234567.json"
    report.write(RESULT, tmp_path / "new" / "result.json")
    assert json.loads((tmp_path / "new" / "result.json").read_text()) == RESULT


def test_the_command_takes_several_repositories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["speed", "--repo", "/a", "/b", "--repo", "/c", "--quick"])
    arguments = speed._arguments()
    assert arguments.repo == [Path("/a"), Path("/b"), Path("/c")]
    assert arguments.quick
    assert arguments.out is None


def test_tokens_are_those_of_the_o200k_vocabulary() -> None:
    pytest.importorskip("bpe_openai", reason="there is no wheel of bpe-openai for this platform")
    assert count_tokens("x = 1\n=== src/a.py:10-42 function total\nfoo()\n") == 18
    assert count_tokens("<|endoftext|>") == 7


def test_tools_are_counted_by_what_a_model_sees_of_them() -> None:
    pytest.importorskip("bpe_openai", reason="there is no wheel of bpe-openai for this platform")
    tool = {"name": "search", "description": "Finds code.", "inputSchema": {"type": "object"}}
    hidden = {"title": "Search", "outputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
    assert count_tool_tokens([tool]) == count_tool_tokens([tool | hidden]) == {"search": 18}


def answer_read(target: str, limit: int = 5) -> answer_tokens.Read:
    pytest.importorskip("bpe_openai", reason="there is no wheel of bpe-openai for this platform")
    checkout = Checkout(AnnotatedRepository("shop", "python", None, ()), Path("/src/shop"), Path("/src/shop"))
    vat = a_hit(file_path="/src/shop/vat.py", content="VAT = 1.2\n")
    structured = an_answer(a_hit(), vat, next_offset=2).model_dump(mode="json")
    query = AnnotatedQuery("tax", "semantic", (Target(target),))
    return answer_tokens.read(checkout, query, limit, structured)


def test_an_answer_is_read_up_to_the_first_right_hit_and_in_vain_to_its_end() -> None:
    first, second, none = answer_read("tax.py"), answer_read("vat.py"), answer_read("other.py")
    assert (first.rank, second.rank, none.rank) == (1, 2, None)
    assert first.text_first_right < second.text_first_right < none.text_first_right == none.text
    assert first.structured_first_right < second.structured_first_right < none.structured_first_right
    assert none.structured_first_right == none.structured
    assert none.code < none.text < none.structured


def test_tokens_of_answers_are_means_by_limit() -> None:
    found = [answer_read("tax.py"), answer_read("other.py"), answer_read("other.py", limit=10)]
    results = answer_tokens.summary(found, (5, 10))
    assert [results[limit]["right"] for limit in ("5", "10")] == [0.5, 0]
    assert results["5"]["answers"] == 2
    header, five, ten = answer_tokens.table(results).splitlines()
    assert len({len(header), len(five), len(ten)}) == 1
