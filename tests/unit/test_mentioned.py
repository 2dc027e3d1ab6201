from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from codebase_mcp.indexing.terms import file_stem_terms
from codebase_mcp.search.mentioned import Mention, MentionedFile, mentioned_files, mentions
from codebase_mcp.search.stems import build_stem_index

PATHS = ["ast/ast.go", "internal/ast/ast.go", "internal/ast/BUILD.bazel", "cmd/past.go", "app.py", "web/app.py"]


def mentioned_in(text: str, paths: Sequence[str] = PATHS) -> dict[int, MentionedFile]:
    names = [file_stem_terms(path) for path in paths]
    tokens = {token for name in names for token in name}
    postings = {token: np.array([i for i, name in enumerate(names) if token in name]) for token in tokens}
    return mentioned_files(mentions(text), paths, build_stem_index(postings, len(paths)))


@pytest.mark.parametrize(
    ("text", "parts", "line"),
    [
        ("src/shop/cart.py", "src/shop/cart.py", 0),
        ("see ./src/Shop/Cart.py, please", "src/Shop/Cart.py", 0),
        ("what does src/shop/cart.py do?", "src/shop/cart.py", 0),
        ("cart.py:120", "cart.py", 120),
        ("src/output/fix.rs:60:14:", "src/output/fix.rs", 60),
        ('  File "/srv/shop/app.py", line 739, in add', "srv/shop/app.py", 739),
        ("at org.shop.Cart.add(Cart.java:56)", "Cart.java", 56),
        (r"in D:\build\src\Cart.cs:line 69", "build/src/Cart.cs", 69),
        ("at Cart.add (webpack:///./src/Cart.js:58:19)", "src/Cart.js", 58),
        ("/go/pkg/mod/shop@v0.22.0/value.go:362 +0x1a5", "go/pkg/mod/shop@v0.22.0/value.go", 362),
        ("Cart.cs(12,5): error CS1002", "Cart.cs", 12),
    ],
)
def test_paths_are_found_as_people_and_programs_write_them(text: str, parts: str, line: int) -> None:
    assert Mention(tuple(parts.split("/")), line) in mentions(text)


@pytest.mark.parametrize("text", ["how are carts stored", "and/or", "1.5 seconds", "ends here. Then", "", "..."])
def test_what_is_no_path_is_not_taken_for_one(text: str) -> None:
    assert mentions(text) == []


def test_the_file_that_shares_most_of_the_path_counts_most() -> None:
    found = mentioned_in("internal/ast/ast.go")
    assert found == {0: MentionedFile(pytest.approx(2 / 3), ()), 1: MentionedFile(1.0, ())}


def test_a_path_from_another_machine_ends_like_ours() -> None:
    found = mentioned_in('File "/srv/site-packages/web/app.py", line 7')
    assert found == {4: MentionedFile(0.5, ()), 5: MentionedFile(1.0, (7,))}


def test_a_bare_name_means_every_file_of_that_name() -> None:
    assert {file: item.share for file, item in mentioned_in("app.py").items()} == {4: 1.0, 5: 1.0}


def test_a_file_named_for_its_place_is_found_with_its_directory_and_without() -> None:
    assert list(mentioned_in("crates/audit/mod.rs", ["crates/audit/mod.rs", "crates/audit.rs", "fix/mod.rs"])) == [0]
    assert list(mentioned_in("src/lib.rs:7", ["lib.rs", "fix.rs"])) == [0]


def test_the_case_of_directories_is_that_of_the_system_that_wrote_it() -> None:
    assert list(mentioned_in("D:\\Build\\WEB\\app.py")) == [4, 5]


def test_a_dotted_name_means_no_file() -> None:
    assert mentioned_in("request.session.get") == {}


def test_a_long_text_is_read_in_no_time() -> None:
    began = time.perf_counter()
    for text in ("a." * 50_000, "a" * 100_000, "a/" * 50_000, "a.b " * 25_000, "a.b:" * 25_000):
        mentions(text)
    assert time.perf_counter() - began < 2
