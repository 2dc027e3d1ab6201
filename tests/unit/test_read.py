"""Reading one file: bytes, hash, text, or an honest reason."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codebase_mcp.domain import FileStat
from codebase_mcp.indexing.file_stat import UNSETTLED, found_stat, recorded_stat
from codebase_mcp.indexing.read import (
    DETECTION_SAMPLE_BYTES,
    SourceText,
    UnreadableFile,
    decode,
    is_minified,
    read_bytes,
    read_source,
)
from tests.support.repositories import folder_for_anybody, ordinary_user, settle

LIMIT = 1_000_000
RUSSIAN = "// Проверка кодировки файла и его содержимого\nint main() { return 0; }\n" * 3
JAPANESE = "// 日本語のコメントです。ファイルの文字コードを検出する。\nint main() { return 0; }\n" * 3
CHINESE = "// 检查文件的编码和它的内容，这是一个测试\nint main() { return 0; }\n" * 3
GERMAN = "# Größe der Straße in Metern, für Jürgen Müller\nsize = 3\n" * 3


def put(root: Path, content: bytes, name: str = "a.py") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def read(root: Path, name: str = "a.py", limit: int = LIMIT) -> SourceText:
    return read_source(root, name, limit)


def reason(root: Path, name: str = "a.py", limit: int = LIMIT) -> str:
    with pytest.raises(UnreadableFile) as refused:
        read(root, name, limit)
    return refused.value.reason


def test_a_file_comes_with_its_text_hash_size_and_time(tmp_path: Path) -> None:
    content = "größe = 1\r\n".encode()
    os.utime(path := put(tmp_path, content, "d/e/a.py"), ns=(5, 1_234_567_891))
    settle(tmp_path)
    stat = FileStat(len(content), 1_234_567_891, path.stat().st_ctime_ns, path.stat().st_ino)
    expected = SourceText("größe = 1\r\n", "utf-8", hashlib.sha256(content).digest(), stat)
    assert read(tmp_path, "d/e/a.py") == expected


def stat_result(*, ctime_ns: int = 10**18 + 1, mtime_ns: int = 5, inode: int = 3) -> os.stat_result:
    seconds = (mtime_ns // 10**9, ctime_ns // 10**9)
    fields = (0o100644, inode, 1, 1, 0, 0, 7, 0, *seconds, 0.0, *map(float, seconds), 0, mtime_ns, ctime_ns)
    return os.stat_result(fields)


@pytest.mark.parametrize(
    ("ctime_ns", "age_ns", "is_settled"),
    [
        (10**18 + 1, 49_000_000, False),
        (10**18 + 1, 51_000_000, True),
        (10**18 + 1, -49_000_000, False),
        (10**18 + 1, -(10**12), True),
        (10**18, 51_000_000, False),
        (10**18, 2_400_000_000, False),
        (10**18, 2_600_000_000, True),
    ],
)
def test_a_stamp_that_a_later_write_could_get_too_is_not_kept(ctime_ns: int, age_ns: int, is_settled: bool) -> None:
    """Whole seconds come from file systems that keep no finer time."""
    stat = recorded_stat(stat_result(ctime_ns=ctime_ns), now_ns=ctime_ns + age_ns)
    assert stat.ctime_ns == (ctime_ns if is_settled else UNSETTLED)


def test_a_stat_fits_the_integers_of_the_database() -> None:
    found = found_stat(stat_result(mtime_ns=2**64, inode=2**64 - 1))
    assert (found.mtime_ns, found.inode) == (2**63 - 1, -1)
    assert found_stat(stat_result(mtime_ns=-(2**65))).mtime_ns == -(2**63)


@pytest.mark.parametrize("content", [b"\0", b"x" * 30_000, b"\xff\xfe\0\xd8"])
def test_a_file_that_its_content_rules_out_comes_with_what_was_read(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, content)
    with pytest.raises(UnreadableFile) as refused:
        read(tmp_path, limit=len(content))
    assert refused.value.raw is not None
    assert refused.value.raw.content_hash == hashlib.sha256(content).digest()


def test_an_empty_file_is_an_empty_text(tmp_path: Path) -> None:
    put(tmp_path, b"")
    assert read(tmp_path).text == ""


def test_bytes_can_be_had_without_being_text(tmp_path: Path) -> None:
    put(tmp_path, b"\0\xff")
    raw = read_bytes(tmp_path, "a.py", LIMIT)
    assert (raw.content, raw.content_hash) == (b"\0\xff", hashlib.sha256(b"\0\xff").digest())


def test_a_file_at_the_limit_is_read_and_one_above_is_not(tmp_path: Path) -> None:
    put(tmp_path, b"x" * 100)
    assert len(read(tmp_path, limit=100).text) == 100
    assert reason(tmp_path, limit=99) == "too large (100 bytes, limit 99)"


# Text


def test_a_byte_order_mark_stays_in_the_text(tmp_path: Path) -> None:
    put(tmp_path, b"\xef\xbb\xbfx = 1\n")
    assert read(tmp_path).text == "\ufeffx = 1\n"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_marked_wide_encoding_is_read(tmp_path: Path, encoding: str) -> None:
    put(tmp_path, "\ufeffx = 'é😀'\n".encode(encoding))
    source = read(tmp_path)
    assert (source.text, source.encoding) == ("\ufeffx = 'é😀'\n", encoding)


@pytest.mark.parametrize("position", [0, 9_000, 200_000])
def test_a_nul_anywhere_means_binary(tmp_path: Path, position: int) -> None:
    content = bytearray(b"x = 1 \n" * 30_000)
    content[position] = 0
    put(tmp_path, bytes(content))
    assert reason(tmp_path) == "binary"


def test_a_nul_within_a_wide_encoding_means_binary(tmp_path: Path) -> None:
    put(tmp_path, "\ufeffa\0b".encode("utf-16-le"))
    assert reason(tmp_path) == "binary"


def test_half_a_character_after_a_wide_mark_means_binary(tmp_path: Path) -> None:
    put(tmp_path, b"\xff\xfea\0b")
    assert reason(tmp_path) == "binary"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((GERMAN, "cp1252"), (RUSSIAN, "cp1251"), (RUSSIAN, "koi8_r")),
        *((JAPANESE, "cp932"), (JAPANESE, "euc_jp"), (CHINESE, "gb18030")),
    ],
)
def test_a_legacy_encoding_is_recognised(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding))[0] == text


def test_western_text_is_read_as_its_commonest_encoding() -> None:
    assert decode("# café\n".encode("cp1252")) == ("# café\n", "cp1252")


def test_a_character_at_the_edge_of_the_sample_is_not_cut() -> None:
    text = "x" + "".join(f"日本語のコメントです。{number}\n" for number in range(10_000))
    content = text.encode("euc_jp")
    padding = next(n for n in range(9) if not is_whole((b"x" * n + content)[:DETECTION_SAMPLE_BYTES]))
    assert decode(b"x" * padding + content)[0] == "x" * padding + text


def is_whole(sample: bytes) -> bool:
    try:
        sample.decode("euc_jp")
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    "content",
    [
        ("größe\n" * 40).encode() + b"\xff\n",
        bytes(range(1, 256)) * 4,
        GERMAN.encode("cp1252") * 1000 + b"\x81\n",
    ],
    ids=["damaged UTF-8", "every byte", "undefined byte after the sample"],
)
def test_what_no_encoding_explains_is_undecodable(content: bytes) -> None:
    with pytest.raises(UnreadableFile, match="undecodable"):
        decode(content)


def decoded(content: bytes) -> str | None:
    try:
        return decode(content)[0]
    except UnreadableFile:
        return None


@given(st.binary(max_size=300))
def test_any_text_that_comes_out_can_be_stored(content: bytes) -> None:
    text = decoded(content) or ""
    assert "\0" not in text
    assert text.encode("utf-8").decode("utf-8") == text


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_utf8_text_comes_back_as_it_was(text: str) -> None:
    assert decode(text.encode())[0] == text


# Minified


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("a.js", "x=1;" * 2000, True),
        ("a.js", "x = 1;\n" * 2000, False),
        ("a.css", ("a{}" * 170 + "\n") * 12, True),
        ("a.json", "[" + "1," * 1000 + "1]", False),
        ("a.py", "x\n" * 10_000 + "y" * 20_001, True),
        ("a.py", "x\n" * 10_000 + "y" * 20_000, False),
        ("a.md", "word " * 20_000, False),
        ("README", "x\n" * 3000, False),
    ],
    ids=["one line", "many lines", "long lines", "small data", "a huge line", "a long line", "prose", "no suffix"],
)
def test_lines_nobody_types_mean_minified(path: str, text: str, expected: bool) -> None:
    assert is_minified(path, text) is expected


def test_a_minified_file_is_refused(tmp_path: Path) -> None:
    put(tmp_path, b"x=1;" * 2000, "bundle.js")
    assert reason(tmp_path, "bundle.js") == "minified or generated"


# What can happen between listing and reading


def test_a_file_that_is_gone_was_deleted(tmp_path: Path) -> None:
    assert reason(tmp_path) == "deleted while indexing"
    assert reason(tmp_path, "gone/a.py") == "deleted while indexing"


def test_a_file_that_became_a_folder_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").mkdir()
    assert reason(tmp_path) == "not a regular file"


def test_a_file_that_became_a_pipe_does_not_hold_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.py")
    assert reason(tmp_path) == "not a regular file"


def test_a_file_that_became_a_symlink_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, b"secret", "outside.py")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.py").symlink_to("../outside.py")
    assert reason(tmp_path / "root") == "replaced by a symlink while indexing"


def test_a_folder_that_became_a_symlink_is_not_followed(tmp_path: Path) -> None:
    put(tmp_path, b"secret", "outside/a.py")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/d").symlink_to("../outside")
    assert "replaced" in reason(tmp_path / "root", "d/a.py")


def test_a_folder_that_became_a_file_is_told(tmp_path: Path) -> None:
    put(tmp_path, b"x", "d")
    assert reason(tmp_path, "d/a.py") == "its directory was replaced while indexing"


@pytest.mark.parametrize("path", ["../a.py", "/etc/hostname", "d/../../a.py", ""])
def test_a_path_out_of_the_root_is_refused(tmp_path: Path, path: str) -> None:
    assert reason(tmp_path / "root", path) == "path leaves the root"


def test_a_root_may_itself_be_a_symlink(tmp_path: Path) -> None:
    put(tmp_path, b"x = 1", "real/a.py")
    (tmp_path / "root").symlink_to("real")
    assert read(tmp_path / "root").text == "x = 1"


def test_a_forbidden_file_or_folder_is_told() -> None:
    with folder_for_anybody() as root:
        put(root, b"x").chmod(0)
        put(root, b"x", "d/b.py").parent.chmod(0)
        with ordinary_user(root):
            assert reason(root) == "permission denied"
            assert reason(root, "d/b.py") == "permission denied"


def test_a_name_no_file_can_have_is_told_in_the_systems_words(tmp_path: Path) -> None:
    assert reason(tmp_path, "x" * 300) == "cannot be read: File name too long"


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    put(tmp_path, b"x", "d/e/a.py")
    before = len(os.listdir("/dev/fd"))
    for name in ("d/e/a.py", "d/e", "d/gone", "d/e/a.py/x"):
        try:
            read(tmp_path, name)
        except UnreadableFile:
            continue
    assert len(os.listdir("/dev/fd")) == before
