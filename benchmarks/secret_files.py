"""What is not indexed of real trees because it may hold secrets: `python -m benchmarks.secret_files FOLDER ...`.

To be read by a person: each line is something found, or a false positive.
"""

from __future__ import annotations

import sys
from pathlib import Path

from codebase_mcp.indexing.discover import discover
from codebase_mcp.indexing.read import UnreadableFile, read_source
from codebase_mcp.indexing.skip_rules import SECRET

MAX_FILE_BYTES = 1_000_000


def report(root: Path) -> str:
    """The counts of one tree, and each file of it."""
    lines: list[str] = []
    files = 0
    for file in discover(root, max_file_bytes=MAX_FILE_BYTES):
        files += 1
        if file.skip_reason == SECRET:
            lines.append(f"  by name     {file.relative_path}")
        if file.skip_reason is not None:
            continue
        try:
            if read_source(root, file.relative_path, MAX_FILE_BYTES).is_redacted:
                lines.append(f"  keys taken out {file.relative_path}")
        except UnreadableFile as error:
            if error.reason == SECRET:
                lines.append(f"  by content  {file.relative_path}")
    return "\n".join([f"{root.name}: {files:,} files, {len(lines)} found", *lines])


def main() -> None:
    for folder in sys.argv[1:]:
        print(report(Path(folder).resolve()))


if __name__ == "__main__":
    main()
