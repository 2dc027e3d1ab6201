from __future__ import annotations

import pytest
from tree_sitter import Parser

from codebase_mcp.indexing.language_table import ROWS
from codebase_mcp.indexing.languages import (
    Language,
    canonical_language,
    closest_language,
    detect_language,
    known_languages,
    language_named,
)
from codebase_mcp.indexing.syntax import grammar_named

BY_NAME = [
    ("src/app.py", "python"),
    ("src/stub.pyi", "python"),
    ("web/index.mjs", "javascript"),
    ("web/View.tsx", "typescript"),
    ("main.go", "go"),
    ("go.mod", "gomod"),
    ("lib.rs", "rust"),
    ("Main.java", "java"),
    ("main.c", "c"),
    ("main.C", "c++"),
    ("main.cc", "c++"),
    ("Program.cs", "c#"),
    ("app.rb", "ruby"),
    ("Gemfile", "ruby"),
    ("index.php", "php"),
    ("App.swift", "swift"),
    ("App.kt", "kotlin"),
    ("build.gradle.kts", "kotlin"),
    ("App.scala", "scala"),
    ("init.lua", "lua"),
    ("run.sh", "bash"),
    (".bashrc", "bash"),
    ("app.ex", "elixir"),
    ("Main.hs", "haskell"),
    ("main.zig", "zig"),
    ("schema.sql", "sql"),
    ("index.HTML", "html"),
    ("site.css", "css"),
    ("README.md", "markdown"),
    ("package.json", "json"),
    ("ci.yml", "yaml"),
    ("pyproject.toml", "toml"),
    ("Dockerfile", "dockerfile"),
    ("docker/Dockerfile.dev", "dockerfile"),
    ("api.dockerfile", "dockerfile"),
    ("main.tf", "terraform"),
    ("Makefile", "make"),
    ("makefile.inc", "make"),
    ("CMakeLists.txt", "cmake"),
    ("requirements-test.txt", "requirements"),
    ("notes.txt", "text"),
    ("config.h.in", "c"),
    ("settings.py.example", "python"),
    (".gitignore", "gitignore"),
    ("BUILD.bazel", "starlark"),
    ("unknown.qqq", "text"),
    ("LICENSE", "text"),
    ("", "text"),
]

BY_HEAD = [
    ("bin/tool", "#!/usr/bin/env python3.11\n", "python"),
    ("bin/tool", "#!/bin/sh -e\n", "bash"),
    ("bin/tool", "#!/usr/bin/env -S node --flag\n", "javascript"),
    ("bin/tool", "#! /usr/bin/perl\n", "perl"),
    ("bin/tool", "#!/opt/unheard-of\n", "text"),
    ("feed", '\ufeff<?xml version="1.0"?>', "xml"),
    ("page", "<!DOCTYPE html>\n<html>", "html"),
    ("page.inc", "<?php echo 1;", "php"),
    ("a.h", "#ifndef A_H\nint add(int a, int b);\n", "c"),
    ("a.h", "#pragma once\nnamespace a {\n", "c++"),
    ("a.h", "#include <vector>\n", "c++"),
    ("a.h", "#import <Foundation/Foundation.h>\n", "objective-c"),
    ("a.m", "#import <UIKit/UIKit.h>\n", "objective-c"),
    ("a.m", "function y = twice(x)\n", "matlab"),
    ("a.v", "module adder(input a);\n", "verilog"),
    ("a.v", "fn main() {\n", "v"),
    ("a.v", "Require Import List.\n", "coq"),
    ("a.pl", "use strict;\n", "perl"),
    ("a.pl", ":- module(lists, []).\n", "prolog"),
    ("a.fs", "module A\n", "f#"),
    ("a.fs", "#version 330\n", "glsl"),
    ("a.ts", "export {}\n", "typescript"),
    ("a.ts", '<?xml version="1.0"?><!DOCTYPE TS>', "xml"),
    ("a.d", "module a;\n", "d"),
    ("a.d", "main.o: main.c\n", "make"),
    ("a.cls", "\\NeedsTeXFormat{LaTeX2e}\n", "latex"),
    ("a.cls", "public class A {}\n", "apex"),
    ("a.cl", "(defun a ())\n", "common lisp"),
    ("a.cl", "__kernel void a() {}\n", "opencl"),
    ("a.pp", "unit A;\n", "pascal"),
    ("a.pp", "class a {}\n", "puppet"),
]


@pytest.mark.parametrize(("path", "name"), BY_NAME)
def test_a_file_name_tells_the_language(path: str, name: str) -> None:
    assert detect_language(path, "").name == name


@pytest.mark.parametrize(("path", "head", "name"), BY_HEAD)
def test_the_first_lines_settle_what_the_name_leaves_open(path: str, head: str, name: str) -> None:
    assert detect_language(path, head).name == name


def test_dialects_share_a_name_and_keep_their_grammars() -> None:
    assert detect_language("a.tsx", "") == Language("typescript", "tsx")
    assert detect_language("a.mli", "") == Language("ocaml", "ocaml_interface")


@pytest.mark.parametrize("row", ROWS.strip().splitlines(), ids=lambda row: row.split("|")[0].strip())
def test_every_language_of_the_table_has_a_grammar_that_loads(row: str) -> None:
    cells = [cell.strip() for cell in row.split("|")]
    assert len(cells) == 7
    assert cells[1] in ("code", "config", "markup", "prose")
    grammar = {"-": None, "=": cells[0]}.get(cells[2], cells[2])
    if grammar is not None:
        assert Parser(grammar_named(grammar)).parse(b"a\n").root_node is not None


def test_known_languages_are_many_sorted_and_without_doubles() -> None:
    names = known_languages()
    assert len(names) > 150
    assert list(names) == sorted(set(names))
    assert all(canonical_language(name) == name for name in names)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("py", "python"),
        ("TS", "typescript"),
        ("tsx", "typescript"),
        ("js", "javascript"),
        ("c++", "c++"),
        ("cpp", "c++"),
        ("c#", "c#"),
        ("golang", "go"),
        (".rs", "rust"),
        (" Python ", "python"),
        ("hpp", "c++"),
        (".py", "python"),
        ("*.py", "python"),
        ("**/*.ts", "typescript"),
        ("klingon", None),
    ],
)
def test_a_filter_may_use_another_name_or_an_extension(word: str, name: str | None) -> None:
    assert canonical_language(word) == name


def test_a_misspelt_language_is_matched_to_one_that_is_spelt_nearly_so() -> None:
    assert closest_language("pyhton") == "python"
    assert closest_language("TypScript") == "typescript"
    assert closest_language("javasript") == "javascript"


@pytest.mark.parametrize("word", ["klingon", "any", "cat", "xy", "", "🦄" * 1000])
def test_what_resembles_no_language_is_matched_to_none(word: str) -> None:
    assert closest_language(word) is None


def test_a_language_is_found_by_its_canonical_name() -> None:
    assert language_named("typescript") == Language("typescript", "typescript")
    with pytest.raises(KeyError):
        language_named("ts")
