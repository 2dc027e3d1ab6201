"""Globs over the files of repositories, as gitignore has them, and what else callers mean by one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from codebase_mcp.errors import InvalidInputError
from codebase_mcp.lenient import real_path
from codebase_mcp.search.models import MAX_GLOB_LENGTH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from codebase_mcp.search.catalogue import Corpus

MAX_ALTERNATIVES = 64
MAX_WILD_DIRECTORIES = 4
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_WILDCARD = re.compile(r"\*+|\?|\[[!^]?(?:\][^\]]*|[^\]]+)\]")
_NOTHING = re.compile(r"(?!)")


def matching_files(corpus: Corpus, glob: str) -> NDArray[np.bool_]:
    """Which files a glob means: those that it matches to the letter, else those of the first reading that matches any.

    Read are: paths below the repository's root, where an absolute path into it counts from there; absolute paths; globs
    between commas; brackets as they stand in names (`app/[id]`); and all of it without regard to case.
    """
    roots = [repository.path for repository in corpus.repositories]
    owners = corpus.repository_of.tolist()
    mask = np.zeros(corpus.file_count, dtype=bool)
    for patterns in _readings(glob, roots):
        found = (patterns[owner].match(path) is not None for owner, path in zip(owners, corpus.paths, strict=True))
        mask = np.fromiter(found, dtype=bool, count=corpus.file_count)
        if mask.any():
            break
    return mask


def _readings(glob: str, roots: Sequence[str]) -> Iterator[list[re.Pattern[str]]]:
    """The patterns of each reading, one for each root."""
    texts = [glob, *filter(_is_usable, _rewritten(glob))]
    for text in texts:
        yield _below_roots(text, roots)
        if any(part.startswith("/") for part in _alternatives(text)):
            yield [_compiled(_from_the_top(text, root)) for root in roots]
    for text in texts:
        yield _below_roots(text, roots, re.IGNORECASE)


def _rewritten(glob: str) -> Iterator[str]:
    if "," in _BRACES.sub("", glob):
        yield f"{{{glob}}}"
    if "[" in glob:
        yield glob.replace("[", "[[]")


def _is_usable(glob: str) -> bool:
    try:
        glob_pattern(glob)
    except InvalidInputError:
        return False
    return True


def _below_roots(glob: str, roots: Sequence[str], flags: re.RegexFlag = re.NOFLAG) -> list[re.Pattern[str]]:
    """A path into one of the roots means what lies there; any other counts from every root."""
    globs: list[list[str]] = [[] for _ in roots]
    for part in _alternatives(glob):
        absolute = _follow_links(part) if part.startswith("/") else None
        is_inside = absolute is not None and any(is_within(literal_directory(absolute), root) for root in roots)
        for below, root in zip(globs, roots, strict=True):
            below.extend(_continued(absolute, root) if absolute is not None and is_inside else [part])
    return [_compiled(below, flags) for below in globs]


def _from_the_top(glob: str, root: str) -> list[str]:
    absolute = [_follow_links(part) for part in _alternatives(glob) if part.startswith("/")]
    return [rest for part in absolute for rest in _continued(part, root)]


def _continued(glob: str, root: str) -> list[str]:
    """What is left of an absolute glob below a root that its beginning matches; empty when it does not lead there."""
    return sorted({_join(rest) for rest in _rests(_segments(glob), _segments(root))})


def _rests(glob: list[str], root: list[str]) -> Iterator[list[str]]:
    if not glob:
        yield []  # it matches a directory at or above the root, and so everything below
    elif not root:
        yield glob
    elif glob[0] == "**":
        yield from _rests(glob[1:], root)
        yield from _rests(glob, root[1:])
    elif re.fullmatch(_segment(glob[0]), root[0], re.DOTALL):
        yield from _rests(glob[1:], root[1:])


def _segments(path: str) -> list[str]:
    return [segment for segment in path.split("/") if segment]


def _join(segments: Sequence[str]) -> str:
    return "/" + "/".join(segments or ["**"])


def absolute_directories(glob: str) -> list[str]:
    """The directories, links followed, that the alternatives of an absolute glob name; none when one is relative."""
    parts = _alternatives(glob)
    if not all(part.startswith("/") for part in parts):
        return []
    return [literal_directory(_follow_links(part)) for part in parts]


def literal_directory(glob: str) -> str:
    """What comes before the first segment with a wildcard; all of a glob without one."""
    kept = itertools.takewhile(lambda segment: not _WILDCARD.search(segment), _segments(glob))
    return "/" + "/".join(kept)


def is_within(path: str, root: str) -> bool:
    """Whether an absolute path is a directory or lies below it."""
    return path == root or path.startswith(root.rstrip("/") + "/")


def _follow_links(glob: str) -> str:
    literal = literal_directory(glob)
    rest = _segments(glob)[len(_segments(literal)) :]
    return "/".join([real_path(literal).rstrip("/"), *rest]) or "/"


def glob_pattern(glob: str) -> re.Pattern[str]:
    """A regular expression for a gitignore-like glob over relative paths.

    `*` and `?` stay within a name, `**` spans directories, `{a,b}` are alternatives. Without a slash it matches a
    name at any depth; what matches a directory matches everything below it.
    """
    if not glob.strip() or len(glob) > MAX_GLOB_LENGTH or glob.startswith("!") or "\0" in glob:
        raise _unusable_glob(glob)
    try:
        return _compiled(_alternatives(glob))
    except re.error as error:
        raise _unusable_glob(glob) from error


def _compiled(parts: Sequence[str], flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    return re.compile("|".join(map(_one_glob, parts)), re.DOTALL | flags) if parts else _NOTHING


def _unusable_glob(glob: str) -> InvalidInputError:
    return InvalidInputError(
        f"path_glob {glob[:80]!r} is not usable: use one like 'src/**/*.py'; the limit is {MAX_GLOB_LENGTH} letters."
    )


def _alternatives(glob: str) -> list[str]:
    """The same without braces."""
    done: list[str] = []
    waiting = [glob]
    while waiting:
        pattern = waiting.pop(0)
        braces = _BRACES.search(pattern)
        if braces is None:
            done.append(pattern.strip())
        else:
            waiting += [pattern[: braces.start()] + part + pattern[braces.end() :] for part in braces[1].split(",")]
        if len(done) + len(waiting) > MAX_ALTERNATIVES:
            raise InvalidInputError(
                f"path_glob {glob!r} has more than {MAX_ALTERNATIVES} alternatives. Ask more simply."
            )
    return done


def _one_glob(glob: str) -> str:
    trimmed = glob.removeprefix("./").strip("/")
    segments = trimmed.split("/")
    if segments.count("**") > MAX_WILD_DIRECTORIES:
        raise InvalidInputError(f"path_glob {glob!r} has more than {MAX_WILD_DIRECTORIES} '**'. Ask more simply.")
    is_anchored = "/" in glob.removeprefix("./").rstrip("/")
    start = "" if is_anchored else "(?:.*/)?"
    parts = []
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        if segment == "**":
            parts.append(".*" if following is None else "(?:.*/)?")
        else:
            parts.append(_segment(segment) + ("" if following is None else "/"))
    return rf"(?:{start}{''.join(parts)}(?:/.*)?\Z)"


def _segment(segment: str) -> str:
    """One name. What follows a star is sought once and kept (an atomic group), so that matching stays linear."""
    pieces = [""]
    place = 0
    for wildcard in _WILDCARD.finditer(segment):
        pieces[-1] += re.escape(segment[place : wildcard.start()])
        place = wildcard.end()
        if wildcard[0].startswith("*"):
            pieces.append("")
        else:
            pieces[-1] += "[^/]" if wildcard[0] == "?" else _character_class(wildcard[0])
    pieces[-1] += re.escape(segment[place:])
    first, *rest = pieces
    if not rest:
        return first
    middle = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1])
    return f"{first}{middle}[^/]*{rest[-1]}"


def _character_class(text: str) -> str:
    inside = text[1:-1]
    negated = "^" if inside[:1] in ("!", "^") else ""
    members = inside[1:] if negated else inside
    escaped = members.replace("\\", "\\\\").replace("]", "\\]").replace("[", "\\[").replace("^", "\\^")
    return f"(?!/)[{negated}{escaped}]"
