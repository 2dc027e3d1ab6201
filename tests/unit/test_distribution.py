"""Which distributions the doctor finds beside this one."""

from __future__ import annotations

from pathlib import Path

from codebase_mcp.service.distribution import check_distribution, installed_versions


def install(environment: Path, name: str, version: str) -> None:
    folder = environment / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n")


def test_an_environment_of_our_own_is_in_order(tmp_path: Path) -> None:
    install(tmp_path, "codebase-mcp-server", "0.2.0")
    check = check_distribution([str(tmp_path)])
    assert (check.is_ok, check.fix) == (True, None)
    assert check.detail.startswith("codebase-mcp-server 0.2.0")


def test_a_package_of_the_same_command_in_the_same_environment_is_reported_with_the_cure(tmp_path: Path) -> None:
    install(tmp_path, "codebase-mcp-server", "0.2.0")
    install(tmp_path, "codebase-mcp", "0.1.2")
    check = check_distribution([str(tmp_path)])
    assert not check.is_ok
    assert "with the distribution codebase-mcp 0.1.2" in check.detail
    assert "pip uninstall codebase-mcp, then pip install --force-reinstall" in str(check.fix)


def test_sources_without_an_installation_are_no_fault(tmp_path: Path) -> None:
    check = check_distribution([str(tmp_path)])
    assert check.is_ok
    assert "is not installed; running from its source" in check.detail


def test_a_part_without_metadata_is_named_and_ends_nothing() -> None:
    found = installed_versions(["pip-of-nowhere", "numpy"])
    assert found["pip-of-nowhere"] == "not installed"
    assert found["numpy"][0].isdigit()
