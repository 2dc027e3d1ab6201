from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.errors import InvalidInputError
from codebase_mcp.search.catalogue import Corpus, build_corpus
from codebase_mcp.search.globs import absolute_directories, glob_pattern, matching_files
from tests.support.corpus import repository, stored
from tests.support.parsed import parsed_file


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("*.py", ["a.py", "x/y/a.py"], ["a.pyi", "a.py2"]),
        ("src", ["src/a.py", "x/src/b/c.py"], ["srcs/a.py"]),
        ("src/", ["src/a.py"], ["a/source.py"]),
        ("src/*.py", ["src/a.py"], ["src/x/a.py", "lib/src/a.py"]),
        ("/src", ["src/a.py"], ["x/src/a.py"]),
        ("src/**/*.py", ["src/a.py", "src/x/y/a.py"], ["lib/src/a.py", "src/a.js"]),
        ("**/tests/**", ["tests/a.py", "x/tests/y/a.py"], ["x/test/a.py"]),
        ("src/**", ["src/a", "src/x/a"], ["src2/a"]),
        ("./src/a.py", ["src/a.py"], ["x/src/a.py"]),
        ("te?t.py", ["test.py", "x/text.py"], ["tet.py", "te/t.py"]),
        ("[ab].py", ["a.py", "b.py"], ["c.py", "ab.py"]),
        ("[!ab].py", ["c.py"], ["a.py"]),
        ("*.{ts,tsx}", ["a.ts", "x/a.tsx"], ["a.js", "ts"]),
        ("{src,lib}/*.py", ["src/a.py", "lib/a.py"], ["x/a.py"]),
        ("a+(b).py", ["a+(b).py"], ["aab.py"]),
        ("*a*b*.py", ["xaxbx.py", "ab.py"], ["ba.py", "a/b.py"]),
        ("a**b.py", ["ab.py", "axxb.py"], ["a/b.py"]),
        ("new\nline.py", ["new\nline.py", "x\n/new\nline.py"], ["newline.py"]),
    ],
)
def test_a_glob_matches_like_gitignore(glob: str, matching: list[str], others: list[str]) -> None:
    pattern = glob_pattern(glob)
    assert [path for path in matching + others if pattern.match(path)] == matching


def test_a_hostile_glob_does_not_take_long() -> None:
    started = time.process_time()
    assert glob_pattern("*a" * 100 + "b").match("a" * 5_000) is None
    assert glob_pattern("**/*a*a/**/*a*a*b").match("/".join(["a" * 20] * 40)) is None
    assert time.process_time() - started < 2


@given(st.text("ab*?[]!{},/.\\^-", max_size=12), st.text("ab/.", max_size=8))
def test_any_glob_either_compiles_or_is_refused(glob: str, path: str) -> None:
    with contextlib.suppress(InvalidInputError):
        glob_pattern(glob).match(path)


def corpus_at(roots: dict[str, list[str]]) -> Corpus:
    """Repositories at these roots, each with files at these paths."""
    return build_corpus(
        [
            stored(
                [parsed_file(path, "x\n") for path in paths],
                owner=repository(number, path=root),
                first_chunk_id=1000 * number,
                first_file_id=1000 * number,
            ).files
            for number, (root, paths) in enumerate(roots.items(), start=1)
        ]
    )


def matched(corpus: Corpus, glob: str) -> list[str]:
    return sorted(corpus.absolute_path(int(file)) for file in matching_files(corpus, glob).nonzero()[0])


CODE = {"/code/shop": ["src/a.py", "src/b.ts", "tests/t.py", "A.PY"], "/code/api": ["src/a.py", "lib/x.go"]}
SRC_OF_SHOP = ["/code/shop/src/a.py", "/code/shop/src/b.ts"]


@pytest.mark.parametrize(
    ("glob", "paths"),
    [
        ("/code/shop/src", SRC_OF_SHOP),
        ("/code/shop/src/", SRC_OF_SHOP),
        ("/code/shop/src/**", SRC_OF_SHOP),
        ("/code/shop/src/*.py", ["/code/shop/src/a.py"]),
        ("/code/shop/src/a.py", ["/code/shop/src/a.py"]),
        ("/code/shop/*.ts", []),
        ("/code/shop/**/t.py", ["/code/shop/tests/t.py"]),
        ("/code/api", ["/code/api/lib/x.go", "/code/api/src/a.py"]),
        ("/code/api/", ["/code/api/lib/x.go", "/code/api/src/a.py"]),
        ("/code/*/src/*.py", ["/code/api/src/a.py", "/code/shop/src/a.py"]),
        ("/code/**/*.go", ["/code/api/lib/x.go"]),
        ("/**/*.go", ["/code/api/lib/x.go"]),
        ("/**/api/**/*.go", ["/code/api/lib/x.go"]),
        ("/code/{shop/src,api/lib}/*", [*SRC_OF_SHOP, "/code/api/lib/x.go"]),
        ("{/code/shop/tests,lib}/**", ["/code/api/lib/x.go", "/code/shop/tests/t.py"]),
        ("/code", [f"{root}/{path}" for root, paths in CODE.items() for path in paths]),
        ("/src/*.ts", ["/code/shop/src/b.ts"]),
        ("/code/shopping/**", []),
        ("/elsewhere/**", []),
    ],
)
def test_an_absolute_glob_counts_from_the_root_of_the_disk(glob: str, paths: list[str]) -> None:
    assert matched(corpus_at(CODE), glob) == sorted(paths)


def test_a_glob_below_the_root_of_a_repository_wins_over_an_absolute_one() -> None:
    corpus = corpus_at({"/src/shop": ["src/a.py", "b.py"]})
    assert matched(corpus, "/src/**") == ["/src/shop/src/a.py"]
    assert matched(corpus_at({"/src/shop": ["b.py"]}), "/src/**") == ["/src/shop/b.py"]


def test_an_absolute_glob_leads_through_links(tmp_path: Path) -> None:
    root = tmp_path / "real"
    (root / "src").mkdir(parents=True)
    (tmp_path / "link").symlink_to(root)
    corpus = corpus_at({str(root): ["src/a.py", "b.py"]})
    for glob in ("link/src/*.py", "link/src", "link/src/a.py", "link/sr?/*", "link/gone/../src/*.py"):
        assert matched(corpus, f"{tmp_path}/{glob}") == [f"{root}/src/a.py"], glob
    assert matched(corpus, f"{{{tmp_path}/link/src/*.py,b.py}}") == [f"{root}/b.py", f"{root}/src/a.py"]
    assert absolute_directories(f"{{{tmp_path}/link/src/*.py,{root}/b*}}") == [f"{root}/src", str(root)]
    assert absolute_directories("{src,/code/shop}/**") == []


@pytest.mark.parametrize(
    ("glob", "paths"),
    [
        ("*.PY", ["a.py", "sub/b.py"]),
        ("SUB/*.py", ["sub/b.py"]),
        ("readme.md", ["README.md"]),
        ("*.py", ["a.py", "sub/b.py"]),
        ("*.{PY,MD}", ["README.md", "a.py", "sub/b.py"]),
        ("*.rs", []),
    ],
)
def test_case_counts_unless_nothing_matches(glob: str, paths: list[str]) -> None:
    corpus = corpus_at({"/r": ["a.py", "sub/b.py", "README.md"]})
    assert matched(corpus, glob) == [f"/r/{path}" for path in paths]


def test_where_a_file_matches_to_the_letter_another_case_does_not() -> None:
    corpus = corpus_at({"/r": ["a.py", "b.PY"]})
    assert matched(corpus, "*.PY") == ["/r/b.PY"]


@pytest.mark.parametrize(
    ("glob", "paths"),
    [
        ("app/[id]/page.tsx", ["app/[id]/page.tsx"]),
        ("app/[id]", ["app/[id]/page.tsx"]),
        ("*.go,*.tsx", ["app/[id]/page.tsx", "lib/x.go"]),
        ("lib/**, app/**", ["app/[id]/page.tsx", "lib/x.go"]),
        ("*.{go,rs},*.tsx", ["app/[id]/page.tsx", "lib/x.go"]),
        (",".join(["x"] * 80), []),
    ],
)
def test_brackets_of_names_and_commas_between_globs_are_understood(glob: str, paths: list[str]) -> None:
    corpus = corpus_at({"/r": ["app/[id]/page.tsx", "lib/x.go", "y"]})
    assert matched(corpus, glob) == [f"/r/{path}" for path in paths]


@given(st.text("ab*?[]!{},/.\\^-", max_size=12))
def test_any_usable_glob_has_readings(glob: str) -> None:
    corpus = corpus_at({"/a": ["b/a", "[a]"], "/a/b": ["a"]})
    with contextlib.suppress(InvalidInputError):
        glob_pattern(glob)
        matching_files(corpus, glob)
