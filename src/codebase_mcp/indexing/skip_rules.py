"""What a file's name alone rules out, and how that is worded."""

from __future__ import annotations

from codebase_mcp.indexing.secret_files import is_secret_name

MAX_PATH_BYTES = 2_000
"""A longer path does not fit the database's unique index."""

LOCK_FILE = "generated (lock file)"
MINIFIED = "minified"
SECRET = "may hold secrets"
BINARY = "binary"
TOO_LARGE = "too large"

_LOCK_FILES = frozenset(
    {"bun.lock", "bun.lockb", "cargo.lock", "cartfile.resolved", "chart.lock", "composer.lock", "conan.lock"}
    | {"conda-lock.yml", "deno.lock", "flake.lock", "gemfile.lock", "gems.locked", "go.sum", "go.work.sum"}
    | {"gopkg.lock", "gradle.lockfile", "mix.lock", "module.bazel.lock", "npm-shrinkwrap.json", "package-lock.json"}
    | {"package.resolved", "packages.lock.json", "pdm.lock", "pipfile.lock", "pixi.lock", "pnpm-lock.yaml"}
    | {"podfile.lock", "poetry.lock", "pubspec.lock", "shrinkwrap.yaml", ".terraform.lock.hcl", "uv.lock", "yarn.lock"}
)
_MINIFIED_ENDINGS = (".min.js", ".min.mjs", ".min.cjs", ".min.css", ".map")

# Only names that are never text; whatever else holds a NUL is found when it is read.
_BINARY_SUFFIXES = frozenset(
    # pictures, sound, film, fonts
    {"png", "jpg", "jpeg", "gif", "bmp", "ico", "icns", "webp", "avif", "heic", "tif", "tiff", "psd", "xcf", "sketch"}
    | {"mp3", "wav", "ogg", "oga", "flac", "m4a", "aac", "mid", "mp4", "m4v", "mov", "avi", "mkv", "webm"}
    | {"woff", "woff2", "ttf", "otf", "eot", "ttc"}
    # archives, packages, disks
    | {"zip", "gz", "tgz", "bz2", "tbz2", "xz", "txz", "zst", "lz4", "br", "7z", "rar", "tar", "jar", "war", "ear"}
    | {"whl", "egg", "gem", "nupkg", "crate", "deb", "rpm", "apk", "aab", "ipa", "dmg", "iso", "msi", "cab"}
    # what compilers and interpreters leave
    | {"o", "a", "so", "dylib", "dll", "exe", "pdb", "class", "dex", "pyc", "pyo", "pyd", "beam", "elc"}
    | {"wasm", "rlib", "rmeta", "gch", "pch", "ilk"}
    # data and models
    | {"db", "sqlite", "sqlite3", "mdb", "parquet", "arrow", "feather", "avro", "orc", "npy", "npz", "pickle"}
    | {"h5", "hdf5", "pth", "onnx", "tflite", "safetensors", "gguf", "ckpt", "rdb", "bin", "lmdb"}
    # documents and drawings
    | {"pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "odt", "ods", "odp", "epub", "blend", "fbx", "glb", "3ds"}
    | {"swf", "fla", "der", "pcap", "pcapng"}
)


def skip_reason(relative_path: str) -> str | None:
    """Why a file of this name is never read, or None. Letter case is ignored."""
    path = relative_path.lower()
    name = path.rpartition("/")[2]
    if is_secret_name(path):
        return SECRET
    if name in _LOCK_FILES:
        return LOCK_FILE
    if name.endswith(_MINIFIED_ENDINGS):
        return MINIFIED
    return BINARY if name.rpartition(".")[2] in _BINARY_SUFFIXES and "." in name else None


def too_large(size_bytes: int, max_file_bytes: int) -> str:
    return f"{TOO_LARGE} ({size_bytes:,} bytes, limit {max_file_bytes:,})"
