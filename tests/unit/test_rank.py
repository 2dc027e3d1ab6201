from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codebase_mcp.domain import Definition, ParsedFile, Role
from codebase_mcp.indexing.terms import fold_name
from codebase_mcp.search.catalogue import build_corpus
from codebase_mcp.search.definitions import main_definitions, named_definitions, single_word_values, start_bonus
from codebase_mcp.search.dense import NO_COSINES, HeaderCosines
from codebase_mcp.search.lexical import score_chunks
from codebase_mcp.search.mentioned import MentionedFile, mentioned_files, mentions
from codebase_mcp.search.models import SearchRequest
from codebase_mcp.search.query import analyse
from codebase_mcp.search.rank import (
    COSINE_IN_CHUNK,
    Evidence,
    best_chunks,
    candidate_files,
    features_of,
    likeliest_chunks,
    rank_files,
)
from codebase_mcp.search.scope import pushed_down_files
from codebase_mcp.search.signals import SIGNALS, contributions, explained
from codebase_mcp.search.stems import explained_share
from codebase_mcp.storage.search_store import ChunkLines, SymbolRow
from tests.support.corpus import stored
from tests.support.parsed import defined, parsed_file


def evidence_of(
    text: str, files: Sequence[ParsedFile], *, references: Mapping[str, int] | None = None, **request: bool
) -> Evidence:
    held = stored(files, references=references)
    corpus = build_corpus([held.files])
    query = analyse(text)
    rows = [row for row in held.rows if row[0] in query.weights]
    wanted = {fold_name(identifier) for identifier in query.identifiers}
    symbols = [
        SymbolRow(500 + number, d.name, fold_name(d.name), d.kind, d.start_line, d.end_line, d.depth, d.is_declaration)
        for number, file in enumerate(files)
        for d in file.definitions
        if fold_name(d.name) in wanted
    ]
    asked = SearchRequest(query=text, project_id="p", **request)
    return Evidence(
        corpus=corpus,
        query=query,
        lexical=score_chunks(corpus, rows, query.weights),
        stem_share=explained_share(corpus.stems, query),
        named=named_definitions(corpus, query, symbols),
        pushed_down=pushed_down_files(corpus, asked, query),
    )


def cosines_of(chunks: Mapping[int, float], files: Mapping[int, float] | None = None) -> HeaderCosines:
    positions = sorted(chunks)
    return HeaderCosines(
        np.array(positions, np.int64), np.array([chunks[place] for place in positions]), dict(files or {}), []
    )


def ranked_paths(evidence: Evidence) -> list[str]:
    files = candidate_files(evidence, [], None)
    return [evidence.corpus.paths[item.file] for item in rank_files(evidence, NO_COSINES, files)]


def place(evidence: Evidence, path: str) -> int:
    return evidence.corpus.paths.index(path)


# --- the table of signals ---


def test_every_signal_has_a_feature_and_every_feature_a_signal() -> None:
    evidence = evidence_of("cookie", [parsed_file("a.py", "cookie\n")])
    assert set(features_of(evidence, NO_COSINES, [0])) == {signal.name for signal in SIGNALS}


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_each_signal_moves_the_score_by_its_weight(signal: object) -> None:
    zeros = {item.name: np.zeros(1) for item in SIGNALS}
    parts = contributions(zeros | {signal.name: np.ones(1)})
    assert parts.sum() == signal.weight
    assert explained(parts[:, 0].tolist()) == {signal.name: signal.weight}


def test_an_explanation_is_the_whole_score_the_weightiest_signal_first() -> None:
    evidence = evidence_of("cookie parser", [parsed_file("http/cookie.py", "cookie parser\n")])
    [item] = rank_files(evidence, NO_COSINES, [0])
    told = explained(item.parts)
    assert sum(told.values()) == pytest.approx(item.score, abs=1e-3)
    assert [abs(value) for value in told.values()] == sorted((abs(value) for value in told.values()), reverse=True)


def test_the_published_table_has_each_signal_with_its_weight() -> None:
    text = (Path(__file__).parents[2] / "docs" / "ranking.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (-?[\d.]+) \|", text, re.MULTILINE)
    assert [(name, float(weight)) for name, weight in rows] == [(item.name, item.weight) for item in SIGNALS]


# --- features ---


def test_features_of_a_file_are_what_the_formula_says() -> None:
    files = [
        parsed_file("http/cookies/parse_cookie.py", "cookie cookie\n", "def x\n", definitions=[defined("x", line=2)]),
        parsed_file("http/other.py", "cookie\n"),
    ]
    evidence = evidence_of("cookie parsing", files, references={"http/cookies/parse_cookie.py": 6})
    first, second = place(evidence, "http/cookies/parse_cookie.py"), place(evidence, "http/other.py")
    features = features_of(evidence, cosines_of({0: 0.6, 1: 0.4}, {first: 0.6}), [first, second])
    assert features["best_chunk"].tolist() == pytest.approx(
        [1.0, evidence.lexical.files[second] / evidence.lexical.files[first]]
    )
    assert features["coverage"][0] == 1.0
    assert features["together"].tolist() == pytest.approx([1.0 + COSINE_IN_CHUNK * 0.6, features["best_chunk"][1]])
    assert features["directory"].tolist() == pytest.approx([1.0, features["coverage"][1]])
    assert features["header"].tolist() == [0.6, 0.0]
    assert features["chunks"].tolist() == pytest.approx([np.log(3), np.log(2)])
    assert features["stem"].tolist() == [1.0, 0.0]
    assert features["stem_of_many"].tolist() == [0.0, 0.0]
    assert features["parent"].tolist() == [1.0, 0.0]
    assert features["stem_length"].tolist() == [2.0, 1.0]
    assert features["definitions"].tolist() == pytest.approx([np.log(2), 0.0])
    assert features["references"].tolist() == pytest.approx([np.log(7), 0.0])


def test_a_query_that_nothing_answers_gives_zeros_not_errors() -> None:
    evidence = evidence_of("zebra", [parsed_file("a.py", "cookie\n")])
    assert candidate_files(evidence, [], None) == []
    assert rank_files(evidence, NO_COSINES, []) == []
    assert features_of(evidence, NO_COSINES, [0])["best_chunk"].tolist() == [0.0]


# --- definitions ---


def test_a_class_is_the_main_definition_before_a_longer_function() -> None:
    files = [
        parsed_file("a.py", "Session\n" * 9, definitions=[defined("Session", "function", 1, end=9)]),
        parsed_file("b.py", "Session\n", definitions=[defined("Session", "class")]),
    ]
    evidence = evidence_of("where is the Session class", files)
    assert main_definitions(evidence.named) == {place(evidence, "b.py"): 1.0}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (defined("run"), defined("run", depth=1)),
        (defined("run", line=1, end=3), defined("run", line=1, end=2)),
        (defined("run"), defined("Run", "class")),
        (defined("run", "constant"), defined("run", declared=True)),
        (defined("run", depth=2), defined("run", "extension")),
    ],
)
def test_the_main_definition_is_exact_then_outermost_then_longest(better: Definition, worse: Definition) -> None:
    files = [
        parsed_file("worse.py", "x\n" * 3, definitions=[worse]),
        parsed_file("z.py", "x\n" * 3, definitions=[better]),
    ]
    evidence = evidence_of("run", files)
    assert main_definitions(evidence.named) == {place(evidence, "z.py"): 1.0}


def test_a_file_has_at_most_two_main_definitions() -> None:
    names = ["parseOne", "parseTwo", "parseThree"]
    files = [parsed_file("a.py", "x\n" * 3, definitions=[defined(name, line=1 + i) for i, name in enumerate(names)])]
    assert main_definitions(evidence_of("parseOne parseTwo parseThree", files).named) == {0: 2.0}


@pytest.mark.parametrize(
    ("definition", "value"),
    [
        (defined("Session", "class"), 1.0),
        (defined("Session", "function"), 0.9),
        (defined("Session", "variable"), 0.5),
        (defined("Session", "class", declared=True), 0.5),
        (defined("Session", "extension"), 0.5),
        (defined("Session", "class", depth=1), 0.7),
        (defined("session", "class"), 0.8),
        (defined("SESSION", "method", depth=1), 0.9 * 0.7 * 0.8),
    ],
)
def test_a_query_of_one_word_values_its_definition(definition: Definition, value: float) -> None:
    evidence = evidence_of("Session", [parsed_file("a.py", "x\n", definitions=[definition])])
    assert single_word_values(evidence.query, evidence.named) == {0: pytest.approx(value)}


def test_a_sentence_has_no_single_word_value() -> None:
    evidence = evidence_of("the Session class", [parsed_file("a.py", "x\n", definitions=[defined("Session")])])
    assert single_word_values(evidence.query, evidence.named) == {}


def test_a_heading_is_no_definition() -> None:
    evidence = evidence_of("Session", [parsed_file("a.md", "x\n", definitions=[defined("Session", "section")])])
    assert evidence.named == []


def test_a_symbol_of_a_file_outside_the_corpus_is_ignored() -> None:
    corpus = build_corpus([stored([parsed_file("a.py", "x\n")]).files])
    row = SymbolRow(9_999, "run", "run", "function", 1, 1, 0, False)
    assert named_definitions(corpus, analyse("run"), [row]) == []


# --- candidates ---


def test_candidates_are_the_best_by_chunk_by_name_and_by_vector() -> None:
    files = [
        parsed_file("content.py", "cookie\n"),
        parsed_file("cookie.py", "x\n"),
        parsed_file("near.py", "y\n"),
        parsed_file("far.py", "z\n"),
    ]
    evidence = evidence_of("cookie", files)
    found = candidate_files(evidence, [place(evidence, "near.py")], None)
    assert {evidence.corpus.paths[file] for file in found} == {"content.py", "cookie.py", "near.py"}


def test_tests_do_not_crowd_out_the_source() -> None:
    tests = [parsed_file(f"tests/test_{i}.py", "cookie cookie cookie\n", role=Role.TEST) for i in range(40)]
    evidence = evidence_of("cookie", [*tests, parsed_file("src/a.py", "a b c d e f g cookie\n")])
    assert place(evidence, "src/a.py") in candidate_files(evidence, [], None)
    assert ranked_paths(evidence)[0] == "src/a.py"


def test_near_tests_do_not_crowd_out_near_source() -> None:
    files = [*(parsed_file(f"t{i}.py", "x\n", role=Role.TEST) for i in range(30)), parsed_file("s.py", "x\n")]
    evidence = evidence_of("zebra", files)
    assert place(evidence, "s.py") in candidate_files(evidence, range(31), None)


def test_the_defining_file_is_a_candidate_even_when_others_use_the_name_more() -> None:
    users = [parsed_file(f"use{i}.py", "flushAll flushAll flushAll\n") for i in range(40)]
    definer = parsed_file("z.py", "a " * 900 + "flushAll\n", definitions=[defined("flushAll")])
    evidence = evidence_of("flushAll", [*users, definer])
    assert place(evidence, "z.py") in candidate_files(evidence, [], None)


def test_files_that_are_not_allowed_or_empty_are_no_candidates() -> None:
    evidence = evidence_of("cookie", [parsed_file("a.py", "cookie\n"), parsed_file("cookie.py")])
    assert [evidence.corpus.paths[file] for file in candidate_files(evidence, [], None)] == ["a.py"]
    assert candidate_files(evidence, [], np.array([False, False])) == []


# --- tests and examples ---


@pytest.mark.parametrize("role", [Role.TEST, Role.EXAMPLE, Role.DOCS])
def test_what_is_about_the_code_ranks_below_the_code(role: Role) -> None:
    files = [parsed_file("a.py", "cookie cookie\n", role=role), parsed_file("b.py", "cookie\n")]
    assert ranked_paths(evidence_of("cookie", files)) == ["b.py", "a.py"]


@pytest.mark.parametrize(
    ("text", "request_fields"), [("cookie tests", {}), ("cookie", {"include_tests": True})], ids=["words", "argument"]
)
def test_asking_for_tests_lifts_them(text: str, request_fields: dict[str, bool]) -> None:
    files = [parsed_file("a.py", "cookie cookie tests\n", role=Role.TEST), parsed_file("b.py", "cookie\n")]
    assert ranked_paths(evidence_of(text, files, **request_fields))[0] == "a.py"


def test_asking_for_documentation_does_not_lift_tests() -> None:
    files = [
        parsed_file(path, "cookie docs\n", role=role) for path, role in (("a.py", Role.TEST), ("b.py", Role.SOURCE))
    ]
    assert ranked_paths(evidence_of("cookie docs", files))[0] == "b.py"


@pytest.mark.parametrize("role", [Role.GENERATED, Role.VENDORED])
def test_a_copy_ranks_below_what_it_copies(role: Role) -> None:
    files = [parsed_file("a.py", "cookie cookie\n", role=role), parsed_file("b.py", "cookie\n")]
    assert ranked_paths(evidence_of("cookie", files)) == ["b.py", "a.py"]


def test_data_ranks_below_code_unless_its_language_is_asked_for() -> None:
    files = [
        parsed_file("a.json", "cookie cookie\n", language="json"),
        parsed_file("b.py", "cookie\n", definitions=[defined("x")]),
    ]
    assert ranked_paths(evidence_of("cookie", files)) == ["b.py", "a.json"]
    assert ranked_paths(evidence_of("cookie json", files)) == ["a.json", "b.py"]


def test_files_beside_other_files_of_the_topic_come_first() -> None:
    files = [
        parsed_file("a/one.py", "cookie\n"),
        parsed_file("b/two.py", "cookie\n"),
        parsed_file("b/three.py", "cookie\n"),
    ]
    assert ranked_paths(evidence_of("cookie", files)) == ["b/three.py", "b/two.py", "a/one.py"]


def test_words_and_meaning_in_one_chunk_count_for_more_than_in_two() -> None:
    files = [parsed_file("a.py", "cookie\n", "x\n"), parsed_file("b.py", "cookie\n", "x\n")]
    evidence = evidence_of("cookie", files)
    cosines = cosines_of({1: 0.5, 2: 0.5}, {0: 0.5, 1: 0.5})
    assert [item.file for item in rank_files(evidence, cosines, [0, 1])] == [1, 0]


def test_a_long_question_goes_by_what_the_code_says_a_short_one_by_names() -> None:
    files = [
        parsed_file("file.py", "file\n"),
        parsed_file("checkout.py", "refuse names tree windows\n", "take\n", "git\n", "x\n", "y\n"),
    ]
    long = "refuse file names in a tree that windows would take for a git folder somewhere else"
    assert ranked_paths(evidence_of("file", files))[0] == "file.py"
    evidence = evidence_of(long, files)
    features = features_of(evidence, NO_COSINES, [place(evidence, "file.py"), place(evidence, "checkout.py")])
    assert features["stem_of_many"].tolist() == features["stem"].tolist()
    assert ranked_paths(evidence)[0] == "checkout.py"


def test_equal_files_come_in_order_of_their_paths() -> None:
    files = [parsed_file(name, "cookie\n") for name in ("c.py", "a.py", "b.py")]
    assert ranked_paths(evidence_of("cookie", files)) == ["a.py", "b.py", "c.py"]


# --- what is pasted ---


def test_a_file_that_is_named_by_its_path_is_a_candidate_and_comes_first() -> None:
    files = [
        parsed_file("cart/cart.py", "cart cart cart\n"),
        parsed_file("shop/cart.py", "x\n", "y\n"),
        parsed_file("web/cart.py", "cart cart\n"),
    ]
    evidence = evidence_of("shop/cart.py", files)
    mentioned = mentioned_files(mentions("shop/cart.py"), evidence.corpus.paths, evidence.corpus.stems)
    evidence = replace(evidence, mentioned=mentioned, stem_share=np.zeros(3))
    assert ranked_paths(evidence)[0] == "shop/cart.py"


def test_the_line_that_a_stack_trace_gives_is_shown() -> None:
    evidence = evidence_of("cookie", [parsed_file("a.py", "cookie cookie\n", "x\n")])
    evidence = replace(evidence, mentioned={0: MentionedFile(1.0, (2,))})
    assert shown_line(evidence, {}, {1: ChunkLines(1001, 2, 2)}) == 1


def test_the_chunk_that_quotes_the_query_is_shown_and_lifts_its_file() -> None:
    evidence = evidence_of(
        "no such cart here", [parsed_file("a.py", "cart cart\n", "here\n"), parsed_file("b.py", "cart\n")]
    )
    evidence = replace(evidence, quoted={1: 1.0})
    assert shown_line(evidence, {}, {}) == 1
    assert features_of(evidence, NO_COSINES, [0, 1])["quoted"].tolist() == [1.0, 0.0]


def test_the_likeliest_chunks_are_the_best_by_words_of_these_files() -> None:
    files = [parsed_file("a.py", "cart cart\n", "x\n", "cart y y y y\n"), parsed_file("b.py", "cart cart cart\n")]
    evidence = evidence_of("cart", files)
    assert likeliest_chunks(evidence, [0], 9).tolist() == [0, 2]
    assert likeliest_chunks(evidence, [0, 1], 1).tolist() == [3]


# --- best chunk ---


def shown_line(evidence: Evidence, cosines: Mapping[int, float], lines: Mapping[int, ChunkLines]) -> int:
    return best_chunks(evidence, cosines_of(cosines), [0], lines)[0]


def test_the_best_chunk_is_the_one_with_most_of_the_query() -> None:
    evidence = evidence_of("cookie parser", [parsed_file("a.py", "x\n", "cookie parser\n", "cookie\n")])
    assert shown_line(evidence, {}, {}) == 1


def test_a_near_header_can_decide_between_chunks() -> None:
    evidence = evidence_of("cookie", [parsed_file("a.py", "cookie\n", "cookie\n")])
    assert shown_line(evidence, {1: 0.5}, {}) == 1


def test_the_chunk_in_which_the_definition_starts_wins() -> None:
    file = parsed_file(
        "a.py", "flush flush\n", "def flush\n", definitions=[defined("flush", "function", 2, declared=False)]
    )
    evidence = evidence_of("flush", [file])
    lines = {0: ChunkLines(1000, 1, 1), 1: ChunkLines(1001, 2, 2)}
    assert shown_line(evidence, {}, lines) == 1


def test_the_exact_spelling_beats_another_definition_in_the_same_file() -> None:
    file = parsed_file(
        "a.py", "class Session\n", "session session session\n",
        definitions=[defined("Session", "class", 1), defined("session", "function", 2)],
    )  # fmt: skip
    evidence = evidence_of("Session", [file])
    assert shown_line(evidence, {}, {0: ChunkLines(1000, 1, 1), 1: ChunkLines(1001, 2, 2)}) == 0


@pytest.mark.parametrize(
    ("definition", "bonus"),
    [
        (defined("flush", "class"), 0.8),
        (defined("flush", "method"), 0.8),
        (defined("flush", "variable"), 0.4),
        (defined("flush", "function", declared=True), 0.1),
    ],
)
def test_a_chunk_gains_by_the_kind_of_definition_that_starts_in_it(definition: Definition, bonus: float) -> None:
    symbol = SymbolRow(1, "flush", "flush", definition.kind, 1, 1, 0, definition.is_declaration)
    assert start_bonus(symbol) == bonus


def test_a_file_without_chunks_has_no_best_chunk() -> None:
    evidence = evidence_of("cookie", [parsed_file("a.py")])
    assert best_chunks(evidence, NO_COSINES, [0], {}) == {}


def test_without_any_evidence_the_first_chunk_is_shown() -> None:
    evidence = evidence_of("zebra", [parsed_file("a.py", "x\n", "y\n")])
    assert best_chunks(evidence, NO_COSINES, [0], {}) == {0: 0}
