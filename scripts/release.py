"""`make release URL=https://…`: the distributions and the registry's entry of one commit, built and checked, in dist/.

No address of the project is in the tree. What needs one gets it here, in a copy of the commit: the links of the
package's metadata and of its README, the name of the server in the registry of MCP, and the manifests of the plugins.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from scripts import artifacts

ROOT = Path(__file__).parents[1]
DISTRIBUTION = "codebase-mcp-server"
SERVER = Path("integrations/server.json")
PLUGIN = Path("integrations/codebase-mcp")
MANIFESTS = tuple(PLUGIN / name for name in (".claude-plugin/plugin.json", ".codex-plugin/plugin.json"))
VERSIONED = (SERVER, *MANIFESTS, PLUGIN / "gemini-extension.json")
"""What repeats the version of the package."""
RECORDINGS = "src/codebase_mcp/server/recordings/*.jsonl"
"""What the server says in a handshake, its version included."""
FORGES = {"github.com": "github", "gitlab.com": "gitlab", "bitbucket.org": "bitbucket"}


class ReleaseError(Exception):
    """What keeps this commit from being released, and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the repository is published. Everything else is derived from it."""

    url: str

    @classmethod
    def parse(cls, text: str) -> Address:
        url = text.strip().rstrip("/").removesuffix(".git")
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path.count("/") < 2 or parts.query or parts.username:
            raise ReleaseError(
                f"{text!r} is not the address of a repository. Say where it is published: "
                "make release URL=https://<host>/<owner>/<repository>"
            )
        return cls(url)

    @property
    def host(self) -> str:
        return str(urlsplit(self.url).hostname)

    @property
    def server_name(self) -> str:
        """The registry of MCP proves who owns a name by the account at GitHub, elsewhere by the domain."""
        if self.host == "github.com":
            return f"io.github.{urlsplit(self.url).path.split('/')[1]}/{DISTRIBUTION}"
        return f"{'.'.join(reversed(self.host.split('.')))}/{DISTRIBUTION}"

    def file(self, path: str, version: str) -> str:
        return f"{self.url}/blob/v{version}/{path}"


def version_of(tree: Path) -> str:
    found = re.search(r'^__version__ = "(.+)"$', (tree / "src/codebase_mcp/__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise ReleaseError("src/codebase_mcp/__init__.py has no __version__.")
    return found[1]


def check_version(tree: Path) -> str:
    """The version, when all files agree on it and the CHANGELOG has its section."""
    version = version_of(tree)
    for path in VERSIONED:
        said = json.loads((tree / path).read_text())["version"]
        if said != version:
            raise ReleaseError(f"{path} says {said}, the package {version}. Run: make version VERSION={version}")
    for recording in sorted(tree.glob(RECORDINGS)):
        if f'"version":"{version}"' not in recording.read_text("utf-8"):
            raise ReleaseError(f"{recording.name} was recorded by another version. Run: make recording")
    if f"\n## [{version}]" not in (tree / "CHANGELOG.md").read_text():
        raise ReleaseError(f"CHANGELOG.md has no section [{version}]. Run: make version VERSION={version}")
    return version


def add_addresses(tree: Path, address: Address, version: str) -> None:
    """Writes the addresses into a copy of the repository."""
    project = tree / "pyproject.toml"
    urls = {
        "Homepage": address.url,
        "Documentation": address.file("docs/tools.md", version),
        "Changelog": address.file("CHANGELOG.md", version),
        "Issues": f"{address.url}/issues",
    }
    table = "\n".join(f'{name} = "{url}"' for name, url in urls.items())
    project.write_text(f"{project.read_text()}\n[project.urls]\n{table}\n")
    readme = tree / "README.md"
    readme.write_text(render_readme(readme.read_text(), address, version))
    for path in MANIFESTS:
        _update(tree / path, homepage=address.url, repository=address.url)
    repository = {"url": address.url, "source": FORGES.get(address.host, address.host)}
    _update(tree / SERVER, name=address.server_name, repository=repository, websiteUrl=address.url)


def render_readme(text: str, address: Address, version: str) -> str:
    """The package index shows the README by itself: links to files of the repository need its address."""
    text = text.replace("{{mcp-name}}", address.server_name)
    return re.sub(r"\]\((?![a-z]+:|#)([^)]+)\)", lambda link: f"]({address.file(link[1], version)})", text)


def _update(path: Path, **fields: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=2) + "\n")


def set_version(tree: Path, version: str, today: str) -> None:
    """Writes the version everywhere, and gives what is unreleased in the CHANGELOG its heading."""
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise ReleaseError(f"{version!r} is not a version. Run: make version VERSION=1.2.3")
    package = tree / "src/codebase_mcp/__init__.py"
    package.write_text(re.sub(r'^__version__ = ".+"$', f'__version__ = "{version}"', package.read_text(), flags=re.M))
    for path in VERSIONED:
        file = tree / path
        file.write_text(re.sub(r'("version": )"[^"]+"', rf'\1"{version}"', file.read_text()))
    changelog = tree / "CHANGELOG.md"
    text = changelog.read_text()
    if f"\n## [{version}]" not in text:
        changelog.write_text(text.replace("## [Unreleased]\n", f"## [{version}] - {today}\n", 1))


def release(address: Address, dist: Path) -> list[Path]:
    """Builds and checks everything from the committed tree; returns what was written."""
    with tempfile.TemporaryDirectory(prefix="codebase-mcp-release-") as folder:
        tree = Path(folder) / "tree"
        _export(tree)
        version = check_version(tree)
        add_addresses(tree, address, version)
        shutil.rmtree(dist, ignore_errors=True)
        _run("build", "--outdir", str(dist), str(tree))  # the wheel is built from the source distribution
        _run("build", "--wheel", "--outdir", str(Path(folder) / "direct"), str(tree))
        wheel, sdist = next(dist.glob("*.whl")), next(dist.glob("*.tar.gz"))
        _run("twine", "check", "--strict", str(wheel), str(sdist))
        direct = next((Path(folder) / "direct").glob("*.whl"))
        built_at = (str(ROOT), folder)
        problems = artifacts.problems(wheel, sdist, direct, tree, not_to_be_found=built_at)
        if problems:
            raise ReleaseError("These files are not fit for release:\n" + "\n".join(f"- {one}" for one in problems))
        shutil.copytree(tree / "integrations", dist / "integrations")
    return [wheel, sdist, dist / "integrations"]


def _export(tree: Path) -> None:
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    if changed.stdout:
        raise ReleaseError(f"A release is made of a commit. Commit or remove first:\n{changed.stdout}")
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(tree, filter="data")


def _run(module: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReleaseError(f"{module} {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.release", description=__doc__)
    parser.add_argument("url", nargs="?", default="", help="the address of the published repository")
    parser.add_argument("--set-version", metavar="VERSION", help="write this version everywhere instead")
    options = parser.parse_args()
    try:
        if options.set_version is not None:
            set_version(ROOT, options.set_version, datetime.now(UTC).date().isoformat())
            return 0
        for path in release(Address.parse(options.url), ROOT / "dist"):
            print(path.relative_to(ROOT))
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
