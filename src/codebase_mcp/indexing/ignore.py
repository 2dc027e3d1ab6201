"""Ignore files with git's meaning: nested, negated, anchored, and nothing below an excluded folder comes back.

Patterns become regular expressions over bytes, because git compares bytes. Each `*` and `**/` is matched leftmost
and never reconsidered, so a hostile pattern such as `*a*a*a*b` costs linear, not exponential, time.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

MAX_IGNORE_FILE_BYTES = 10_000_000

_STAR, _SLASH = "*", "/"
_Token = bytes | str
"""Bytes are a regular expression of fixed width; the two strings mark a run of stars and a separator."""

_TRAILING_SPACES = re.compile(rb"((?:\\.|[^\\])*?) +", re.DOTALL)
# Git compares the literal start of a path pattern on its own; stars glued to it then count as a whole component.
_GLUED_STARS = re.compile(rb"([^*?\[\\]*[^*?\[\\/])\*{2,}(?:/|$)")
_NAMED_CLASS = re.compile(rb"\[:([^\]]*):\]")
_POSIX_CLASSES = {
    b"alnum": b"a-zA-Z0-9",
    b"alpha": b"a-zA-Z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": b"0-9",
    b"graph": b"!-~",
    b"lower": b"a-z",
    b"print": b" -~",
    b"punct": rb"!-/:-@\[-`{-~",
    b"space": rb"\s",
    b"upper": b"A-Z",
    b"xdigit": b"0-9a-fA-F",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an ignore file. A rule without a slash looks at the last path component only."""

    expression: re.Pattern[bytes]
    is_negated: bool
    is_for_directories: bool
    is_for_names: bool

    def matches(self, path: bytes, name: bytes, is_directory: bool) -> bool:
        if self.is_for_directories and not is_directory:
            return False
        return self.expression.fullmatch(name if self.is_for_names else path) is not None


class InvalidPatternError(ValueError):
    """A pattern git would never match, such as one with an unterminated set."""


def parse_rules(content: bytes) -> tuple[Rule, ...]:
    """The rules of an ignore file, last line first, because the last match decides."""
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    rules = (_parse_rule(line.removesuffix(b"\r")) for line in reversed(lines))
    return tuple(rule for rule in rules if rule is not None)


def _parse_rule(line: bytes) -> Rule | None:
    if line.startswith(b"#"):
        return None
    if (trimmed := _TRAILING_SPACES.fullmatch(line)) is not None:
        line = trimmed[1]
    is_negated = line.startswith(b"!")
    pattern = line.removeprefix(b"!")
    is_for_directories = pattern.endswith(b"/")
    pattern = pattern.removesuffix(b"/")
    if not pattern:
        return None
    try:
        expression = re.compile(_expression(pattern), re.DOTALL)
    except InvalidPatternError:
        return None
    return Rule(expression, is_negated, is_for_directories, is_for_names=b"/" not in pattern)


def _expression(pattern: bytes) -> bytes:
    path = pattern.removeprefix(b"/")
    if b"/" not in pattern or (glued := _GLUED_STARS.match(path)) is None:
        return _path_expression(_tokens(path))
    prefix, rest = re.escape(glued[1]), path[glued.end() :]
    return prefix + (b"(?:.*/)?" + _path_expression(_tokens(rest)) if rest else b".*")


def _tokens(pattern: bytes) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(pattern):
        token, position = _token_at(pattern, position)
        tokens.append(token)
    return tokens


def _token_at(pattern: bytes, position: int) -> tuple[_Token, int]:
    """The token that starts at `position`, and where the next one starts."""
    match pattern[position : position + 1]:
        case b"*":
            end = position
            while pattern[end : end + 1] == b"*":
                end += 1
            return _STAR * min(end - position, 2), end
        case b"?":
            return b"[^/]", position + 1
        case b"[":
            return _set_at(pattern, position)
        case b"/":
            return _SLASH, position + 1
        case b"\\":
            return _literal(pattern[position + 1 : position + 2]), position + 2
        case character:
            return re.escape(character), position + 1


def _literal(character: bytes) -> _Token:
    if not character:
        raise InvalidPatternError("a pattern cannot end with a backslash")
    return _SLASH if character == b"/" else re.escape(character)


def _set_at(pattern: bytes, position: int) -> tuple[bytes, int]:
    """A bracket set as a regular expression. It never matches a slash, whatever it lists."""
    start = position + 1
    is_negated = pattern[start : start + 1] in (b"!", b"^")
    members, end = _set_members(pattern, start + is_negated)
    if is_negated:
        return b"[^/" + b"".join(members) + b"]", end
    return (b"(?!/)[" + b"".join(members) + b"]" if members else b"(?!)"), end


def _set_members(pattern: bytes, position: int) -> tuple[list[bytes], int]:
    """What a bracket set lists, and the position after its closing bracket. A bracket that comes first is a member."""
    members: list[bytes] = []
    first = position
    while position == first or pattern[position : position + 1] != b"]":
        if (named := _NAMED_CLASS.match(pattern, position)) is not None:
            members.append(_posix_class(named[1]))
            position = named.end()
            continue
        low, position = _set_character(pattern, position)
        high = low
        if pattern[position : position + 1] == b"-" and pattern[position + 1 : position + 2] not in (b"]", b""):
            high, position = _set_character(pattern, position + 1)
        if low <= high:
            members.append(re.escape(low) + b"-" + re.escape(high))
    return members, position + 1


def _posix_class(name: bytes) -> bytes:
    if name not in _POSIX_CLASSES:
        raise InvalidPatternError(f"unknown character class {name!r}")
    return _POSIX_CLASSES[name]


def _set_character(pattern: bytes, position: int) -> tuple[bytes, int]:
    if pattern[position : position + 1] == b"\\":
        position += 1
    character = pattern[position : position + 1]
    if not character:
        raise InvalidPatternError("a set is not closed")
    return character, position + 1


def _path_expression(tokens: list[_Token]) -> bytes:
    """Stars stay within a segment; a segment that is just `**` stands for any number of segments, none included."""
    segments = _split(tokens, [_SLASH])
    if segments == [["**"]]:
        return b".+"
    if len(segments) == 1:
        return _segment_expression(segments[0])
    blocks: list[list[bytes]] = [[]]
    for segment in segments:
        if segment == ["**"]:
            blocks.append([])
        else:
            blocks[-1].append(_segment_expression(segment))
    first, *others = [b"/".join(block) for block in blocks]
    if not others:
        return first
    last = others.pop()
    inner = b"".join(b"(?>(?:[^/]+/)*?" + block + b"/)" for block in others if block)
    return (first + b"/" if first else b"") + inner + (b"(?:[^/]+/)*" + last if last else b".+")


def _segment_expression(segment: list[_Token]) -> bytes:
    if not segment:
        raise InvalidPatternError("an empty path component matches nothing")
    first, *others = [b"".join(map(_as_bytes, part)) for part in _split(segment, ["*", "**"])]
    if not others:
        return first
    last = others.pop()
    return first + b"".join(b"(?>[^/]*?" + part + b")" for part in others) + b"[^/]*" + last


def _as_bytes(token: _Token) -> bytes:
    assert isinstance(token, bytes)
    return token


def _split(tokens: list[_Token], separators: list[str]) -> list[list[_Token]]:
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if token in separators:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


@dataclass(frozen=True, slots=True)
class _RuleFile:
    """Rules and the number of bytes to cut from a path to make it relative to their folder."""

    prefix_bytes: int
    rules: tuple[Rule, ...]

    def verdict(self, path: bytes, name: bytes, is_directory: bool) -> bool | None:
        """True for excluded, False for included again, None when no rule matches."""
        relative_path = path[self.prefix_bytes :]
        for rule in self.rules:
            if rule.matches(relative_path, name, is_directory):
                return not rule.is_negated
        return None


@dataclass(frozen=True, slots=True)
class _Folder:
    is_excluded: bool
    rule_files: tuple[_RuleFile, ...]
    """Those in force, the deepest folder's first."""


class IgnoreTree:
    """All ignore files of one name below a root, read as their folders are met.

    A folder whose ignore file exists but cannot be read counts as excluded, because what its owner wanted left out is
    unknown; `unreadable_directories` names it.
    """

    def __init__(self, root: Path, file_name: str) -> None:
        self._root = os.fspath(root)
        self._file_name = file_name
        self._folders: dict[str, _Folder] = {}
        self.unreadable_directories: set[str] = set()

    def excludes(self, relative_path: str, *, is_directory: bool = False) -> bool:
        """Whether a posix path below the root, or a folder above it, is excluded."""
        folder = self._folder(relative_path.rpartition("/")[0])
        return folder.is_excluded or _is_excluded(folder, relative_path, is_directory)

    def _folder(self, relative_path: str) -> _Folder:
        if (known := self._folders.get(relative_path)) is not None:
            return known
        folder = self._enter("", _Folder(False, ()))
        slash = 0
        while relative_path and slash != -1:
            slash = relative_path.find("/", slash + 1)
            folder = self._enter(relative_path if slash == -1 else relative_path[:slash], folder)
        return folder

    def _enter(self, relative_path: str, parent: _Folder) -> _Folder:
        folder = self._folders.get(relative_path)
        if folder is None:
            folder = self._folders[relative_path] = self._read_folder(relative_path, parent)
        return folder

    def _read_folder(self, relative_path: str, parent: _Folder) -> _Folder:
        if parent.is_excluded or _is_excluded(parent, relative_path, True):
            return _Folder(True, ())
        try:
            content = read_if_regular(os.path.join(self._root, relative_path, self._file_name))
        except OSError:
            self.unreadable_directories.add(relative_path)
            return _Folder(True, ())
        rules = parse_rules(content)
        if not rules:
            return _Folder(False, parent.rule_files)
        prefix_bytes = len(os.fsencode(relative_path)) + 1 if relative_path else 0
        return _Folder(False, (_RuleFile(prefix_bytes, rules), *parent.rule_files))


def _is_excluded(folder: _Folder, relative_path: str, is_directory: bool) -> bool:
    if not folder.rule_files:
        return False
    path = os.fsencode(relative_path)
    name = path.rpartition(b"/")[2]
    verdicts = (rule_file.verdict(path, name, is_directory) for rule_file in folder.rule_files)
    return next((verdict for verdict in verdicts if verdict is not None), False)


def read_if_regular(path: str) -> bytes:
    """The bytes of a small file, none where there is no regular one; follows no symlink, as git does not either."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return b""
    except (FileNotFoundError, NotADirectoryError):
        return b""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        return file.read(MAX_IGNORE_FILE_BYTES)
