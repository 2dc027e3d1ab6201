"""What a release writes into the tree, what it refuses, and what it ships for other programs to read."""

from __future__ import annotations

import base64
import json
import re
import shutil
import tomllib
import zipfile
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from scripts import artifacts
from scripts.release import (
    PLUGIN,
    SERVER,
    VERSIONED,
    Address,
    ReleaseError,
    add_addresses,
    check_version,
    render_readme,
    set_version,
)

import codebase_mcp

ROOT = Path(__file__).parents[2]
GITHUB = Address("https://github.com/somebody/search")
SERVER_COMMAND = {"command": "codebase-mcp", "args": ["serve"]}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a release changes of the repository."""
    for name in ("pyproject.toml", "README.md", "src/codebase_mcp/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "integrations", tmp_path / "integrations")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n### Added\n")
    return tmp_path


def read(path: Path) -> dict[str, object]:
    return json.loads(path.read_text("utf-8"))


@pytest.mark.parametrize(
    "text", ["", "http://github.com/a/b", "github.com/a/b", "https://github.com/a", "https://x:y@github.com/a/b"]
)
def test_a_release_without_the_address_of_a_repository_is_refused(text: str) -> None:
    with pytest.raises(ReleaseError, match="make release URL=https://"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("https://github.com/somebody/search.git", "io.github.somebody/codebase-mcp-server"),
        ("https://git.example.org/team/search/", "org.example.git/codebase-mcp-server"),
    ],
)
def test_the_name_in_the_registry_follows_from_the_address(text: str, name: str) -> None:
    assert Address.parse(text).server_name == name


def test_links_of_the_readme_lead_into_the_repository() -> None:
    text = "<!-- mcp-name: {{mcp-name}} --> [a](docs/a.md#b) [c](https://example.org) [d](#e) [f](LICENSE)"
    assert render_readme(text, GITHUB, "1.2.3") == (
        "<!-- mcp-name: io.github.somebody/codebase-mcp-server -->"
        " [a](https://github.com/somebody/search/blob/v1.2.3/docs/a.md#b) [c](https://example.org) [d](#e)"
        " [f](https://github.com/somebody/search/blob/v1.2.3/LICENSE)"
    )


def test_addresses_are_written_where_they_are_wanted(tree: Path) -> None:
    add_addresses(tree, GITHUB, "1.2.3")
    urls = tomllib.loads((tree / "pyproject.toml").read_text())["project"]["urls"]
    assert urls["Homepage"] == GITHUB.url
    assert all(url.startswith(GITHUB.url) for url in urls.values())
    assert read(tree / PLUGIN / ".claude-plugin/plugin.json")["repository"] == GITHUB.url
    assert read(tree / PLUGIN / ".codex-plugin/plugin.json")["homepage"] == GITHUB.url
    assert "{{" not in (tree / "README.md").read_text()


def test_the_entry_in_the_registry_has_what_the_registry_asks_for(tree: Path) -> None:
    add_addresses(tree, GITHUB, "1.2.3")
    entry = json.loads((tree / SERVER).read_text())
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", entry["name"])
    assert len(entry["description"]) <= 100
    assert entry["repository"] == {"url": GITHUB.url, "source": "github"}
    (package,) = entry["packages"]
    assert (package["registryType"], package["transport"]) == ("pypi", {"type": "stdio"})
    assert [argument["value"] for argument in package["packageArguments"]] == ["serve"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert package["identifier"] == project["name"]
    assert package["identifier"] in project["scripts"], "uvx starts the command of the distribution's name"
    assert f"mcp-name: {entry['name']} " in (tree / "README.md").read_text()


def test_the_tree_has_no_address_of_its_own() -> None:
    for path in (*VERSIONED, *(ROOT / "integrations").rglob("*.json")):
        found = re.findall(r"https?://[^\"]+", (ROOT / path).read_text())
        assert [url for url in found if not url.startswith("https://static.modelcontextprotocol.io/")] == [], path
    assert "urls" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "<!-- mcp-name: {{mcp-name}} -->" in (ROOT / "README.md").read_text()


def test_all_files_say_the_version_of_the_package() -> None:
    assert {str(read(ROOT / path)["version"]) for path in VERSIONED} == {codebase_mcp.__version__}
    assert read(ROOT / SERVER)["packages"][0]["version"] == codebase_mcp.__version__  # type: ignore[index]


def test_a_version_is_written_everywhere_and_heads_what_was_unreleased(tree: Path) -> None:
    with pytest.raises(ReleaseError, match=r"CHANGELOG.md has no section"):
        check_version(tree)
    set_version(tree, "9.8.7", "2030-01-31")
    assert check_version(tree) == "9.8.7"
    assert (tree / "CHANGELOG.md").read_text() == "# Changelog\n\n## [9.8.7] - 2030-01-31\n\n### Added\n"
    assert read(tree / SERVER)["packages"][0]["version"] == "9.8.7"  # type: ignore[index]


def test_a_file_with_another_version_is_named(tree: Path) -> None:
    set_version(tree, "9.8.7", "2030-01-31")
    path = tree / PLUGIN / "gemini-extension.json"
    path.write_text(path.read_text().replace("9.8.7", "9.8.6"))
    with pytest.raises(ReleaseError, match=r"gemini-extension.json says 9.8.6, the package 9.8.7"):
        check_version(tree)


def test_recordings_of_another_version_are_not_released(tree: Path) -> None:
    set_version(tree, "9.8.7", "2030-01-31")
    recording = tree / "src/codebase_mcp/server/recordings/all-text.jsonl"
    recording.parent.mkdir(parents=True)
    recording.write_text('{"serverInfo":{"name":"codebase-mcp","version":"9.8.7"}}')
    assert check_version(tree) == "9.8.7"
    recording.write_text('{"serverInfo":{"name":"codebase-mcp","version":"9.8.6"}}')
    with pytest.raises(ReleaseError, match=r"all-text.jsonl was recorded by another version. Run: make recording"):
        check_version(tree)


def test_something_else_than_a_version_is_refused(tree: Path) -> None:
    with pytest.raises(ReleaseError, match="'next' is not a version"):
        set_version(tree, "next", "2030-01-31")


# --- what clients read ---


def test_all_plugins_start_the_same_server() -> None:
    plugin = ROOT / PLUGIN
    (claude_and_codex,) = read(plugin / ".mcp.json")["mcpServers"].values()  # type: ignore[attr-defined]
    assert claude_and_codex == SERVER_COMMAND | {"alwaysLoad": True}
    (gemini,) = read(plugin / "gemini-extension.json")["mcpServers"].values()  # type: ignore[attr-defined]
    assert gemini == SERVER_COMMAND


def test_both_marketplaces_list_the_plugin_that_lies_beside_them() -> None:
    root = ROOT / "integrations"
    (claude,) = read(root / ".claude-plugin/marketplace.json")["plugins"]  # type: ignore[misc]
    (codex,) = read(root / ".agents/plugins/marketplace.json")["plugins"]  # type: ignore[misc]
    for name, path, manifest in (
        (claude["name"], claude["source"], ".claude-plugin/plugin.json"),
        (codex["name"], codex["source"]["path"], ".codex-plugin/plugin.json"),
    ):
        assert read(root / path / manifest)["name"] == name


def test_the_links_that_install_the_server_carry_its_command() -> None:
    readme = (ROOT / "README.md").read_text()
    operations = (ROOT / "docs" / "operations.md").read_text()
    for link in re.findall(r"(?:https://cursor\.com|cursor://)[^\s)]+", readme + operations):
        asked = parse_qs(urlsplit(link).query)
        assert json.loads(base64.b64decode(asked["config"][0])) == SERVER_COMMAND, link
    for link in re.findall(r"https://vscode\.dev[^\s)]+", readme):
        assert json.loads(parse_qs(urlsplit(link).query)["config"][0]) == {"type": "stdio"} | SERVER_COMMAND
    (link,) = re.findall(r"vscode:mcp/install\?(\S+)", operations)
    assert json.loads(unquote(link)) == {"name": "codebase-mcp", "type": "stdio"} | SERVER_COMMAND


# --- artifacts ---

METADATA = "Name: codebase-mcp-server\nProject-URL: Homepage, https://example.org/a/b\n\n<!-- mcp-name: a/b -->"
COMMANDS = "[console_scripts]\ncodebase-mcp = a:b\ncodebase-mcp-server = a:b\n"
GOOD = {
    "codebase_mcp/__init__.py": "",
    "codebase_mcp/indexing/model/model.safetensors": "",
    "codebase_mcp/indexing/model/tokenizer.json": "",
    "codebase_mcp/indexing/queries/python.scm": "",
    "codebase_mcp/jobs/queries.sql": "",
    "codebase_mcp/storage/migrations/control/versions/v1.py": "",
    "codebase_mcp/py.typed": "",
    "x.dist-info/licenses/LICENSE": "",
    "x.dist-info/METADATA": METADATA,
    "x.dist-info/entry_points.txt": COMMANDS,
}


def problems(tmp_path: Path, files: dict[str, str], rebuilt: dict[str, str] | None = None) -> list[str]:
    for name, content in (files if rebuilt is None else rebuilt).items():
        path = tmp_path / "tree" / "src" / name
        if not name.startswith("x.dist-info"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    return artifacts.problems(
        archived(tmp_path / "a.whl", files),
        sdist_of(tmp_path),
        archived(tmp_path / "b.whl", rebuilt or files),
        tmp_path / "tree",
        not_to_be_found=["/home/me"],
    )


def archived(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def sdist_of(tmp_path: Path) -> Path:
    return Path(shutil.make_archive(str(tmp_path / "a"), "gztar", tmp_path / "tree"))


def test_a_complete_wheel_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD) == []


@pytest.mark.parametrize("name", [name for name in GOOD if "METADATA" not in name and "entry_points" not in name])
def test_a_file_that_is_missing_from_the_wheel_is_named(tmp_path: Path, name: str) -> None:
    found = problems(tmp_path, {key: value for key, value in GOOD.items() if key != name}, GOOD)
    assert any(name.rsplit("/", 1)[1].rsplit(".", maxsplit=1)[-1] in one for one in found)
    assert any("differs between the wheels" in one for one in found)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"tests/test_a.py": ""}, "tests/test_a.py does not belong into the wheel"),
        ({"codebase_mcp/a.pyc": ""}, "codebase_mcp/a.pyc was made by a tool"),
        ({"codebase_mcp/a.py": "x = '/home/me/a'"}, "codebase_mcp/a.py names the path /home/me of this machine"),
        ({"x.dist-info/METADATA": METADATA.replace("-server", "")}, "the distribution is called codebase-mcp"),
        ({"x.dist-info/METADATA": METADATA.replace("Project-URL", "X")}, "the metadata have no address"),
        ({"x.dist-info/METADATA": METADATA + "{{"}, "the README in the metadata was not rendered"),
        ({"x.dist-info/entry_points.txt": ""}, "there is no command codebase-mcp"),
    ],
)
def test_what_does_not_belong_is_named(tmp_path: Path, change: dict[str, str], complaint: str) -> None:
    assert complaint in problems(tmp_path, GOOD | change)
