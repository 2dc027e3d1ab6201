"""The packages that the embedding learns from: a pinned list, fetched through the clients of their registries.

    python training/fetch.py

sources.json names each package with its registry, version, file, sha256, licence and split (`train` or
`validation`). Nothing is built or run: archives are only read. Debian's need a `deb-src` line in apt's configuration.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CACHE = HERE / ".cache"
ARCHIVES = CACHE / "archives"


@dataclass(frozen=True, slots=True)
class Source:
    """One package; `slug` is its name as a file name."""

    name: str
    registry: str
    version: str
    file: str
    sha256: str
    licence: str
    split: str

    @property
    def slug(self) -> str:
        return f"{self.registry}-{self.name.strip('@').replace('/', '-')}"


def sources() -> list[Source]:
    return [Source(**row) for row in json.loads((HERE / "sources.json").read_bytes())]


def archive_of(source: Source) -> Path:
    return ARCHIVES / source.file


def main() -> None:
    ARCHIVES.mkdir(parents=True, exist_ok=True)
    for source in sources():
        if not archive_of(source).exists():
            FETCHERS[source.registry](source)
        found = hashlib.sha256(archive_of(source).read_bytes()).hexdigest()
        if found != source.sha256:
            raise SystemExit(f"{archive_of(source)} has sha256 {found}, not {source.sha256}; remove it and try again")


def _debian_source(source: Source) -> None:
    apt = ["apt-get", "source", "--download-only", "--tar-only", "-qq", f"{source.name}={source.version}"]
    subprocess.run(apt, cwd=ARCHIVES, check=True)


def _debian_package(source: Source) -> None:
    subprocess.run(["apt-get", "download", "-qq", f"{source.name}={source.version}"], cwd=ARCHIVES, check=True)


def _npm(source: Source) -> None:
    subprocess.run(["npm", "pack", "--silent", f"{source.name}@{source.version}"], cwd=ARCHIVES, check=True)


def _pypi(source: Source) -> None:
    """Fetches the archive alone; `pip download` would first run the build of what it downloads, compilers and all."""
    from pip._internal.commands import create_command

    command: Any = create_command("download")
    options, _ = command.parse_args(["--no-binary", ":all:", "--quiet"])
    with command.main_context():
        session = command.get_default_session(options)
        candidates = command._build_package_finder(options, session).find_all_candidates(source.name)
        link = next(candidate.link for candidate in candidates if candidate.link.filename == source.file)
        with session.get(link.url_without_fragment, stream=True) as response, archive_of(source).open("wb") as file:
            response.raise_for_status()
            file.writelines(response.iter_content(1 << 16))


FETCHERS = {"debian-source": _debian_source, "debian": _debian_package, "npm": _npm, "pypi": _pypi}

if __name__ == "__main__":
    sys.exit(main())
