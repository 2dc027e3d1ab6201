from __future__ import annotations

import pytest

from codebase_mcp.indexing.chunk import BUDGET, chunk_file
from codebase_mcp.indexing.languages import language_named

MARKDOWN = """\
# Guide to *things*

Intro.

## Install [here](http://x) ##

```sh
# not a heading
```

Deep
----
text

Next
====

    # code, not a heading
#tag is no heading
- item
---
~~~
# still fenced
```
~~~
### Last
"""

RESTRUCTURED = """\
=====
Title
=====

Part One
--------

text ::

  ---

Sub
^^^

Part Two
--------
"""

ASCIIDOC = "= Title\n\n== One\ntext\n=== Deep\n==not one\n== Two\n"
ORG = "* Top\ntext\n** Sub\n*bold* no heading\n* Next\n"


def outline(source: str, language: str) -> list[tuple[str, int, int, int]]:
    found = chunk_file(source, language_named(language)).definitions
    assert {d.kind for d in found} == {"section"}
    return [(d.name, d.depth, d.start_line, d.end_line) for d in found]


def test_markdown_headings_of_both_kinds_are_sections() -> None:
    assert outline(MARKDOWN, "markdown") == [
        ("Guide to things", 0, 1, 14),
        ("Install here", 1, 5, 10),
        ("Deep", 1, 11, 14),
        ("Next", 0, 15, 26),
        ("Last", 1, 26, 26),
    ]


def test_an_unclosed_fence_hides_what_follows() -> None:
    assert outline("# A\n```\n# B\n", "markdown") == [("A", 0, 1, 3)]


def test_adorned_lines_are_sections_in_the_order_of_their_adornments() -> None:
    assert outline(RESTRUCTURED, "restructuredtext") == [
        ("Title", 0, 1, 16),
        ("Part One", 1, 5, 14),
        ("Sub", 2, 12, 14),
        ("Part Two", 1, 15, 16),
    ]


@pytest.mark.parametrize(
    ("source", "language", "expected"),
    [
        (ASCIIDOC, "asciidoc", [("Title", 0, 1, 7), ("One", 1, 3, 6), ("Deep", 2, 5, 6), ("Two", 1, 7, 7)]),
        (ORG, "org", [("Top", 0, 1, 4), ("Sub", 1, 3, 4), ("Next", 0, 5, 5)]),
        ("= A\n== B\n", "typst", [("A", 0, 1, 2), ("B", 1, 2, 2)]),
    ],
)
def test_marked_headings_are_sections(source: str, language: str, expected: list[tuple[str, int, int, int]]) -> None:
    assert outline(source, language) == expected


def test_prose_is_cut_at_headings_and_small_sections_share_a_chunk() -> None:
    section = "## Part\n\n" + ("word " * 40 + "\n") * 3 + "\n"
    chunks = chunk_file(section * 30, language_named("markdown")).chunks
    assert all(chunk.content.startswith("## Part") for chunk in chunks)
    assert len(chunks) < 30


def test_a_long_section_is_cut_at_its_paragraphs() -> None:
    text = "# Long\n\n" + ("word " * (BUDGET // 8) + "\n\n") * 10 + "# Short\n\nend\n"
    chunks = chunk_file(text, language_named("markdown")).chunks
    assert chunks[0].content.startswith("# Long\n\nword")
    assert chunks[-1].content.startswith("# Short")
    assert (chunks[0].kind, chunks[0].symbol) == ("section", "Long")
    assert (chunks[1].kind, chunks[1].symbol) == ("section", None)


def test_ten_thousand_quote_marks_are_harmless() -> None:
    assert chunk_file("> " * 20_000 + "# x\n", language_named("markdown")).definitions == ()
