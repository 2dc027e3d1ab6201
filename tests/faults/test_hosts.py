"""Two hosts on one database, as processes of their own: a dead host, a path with two contents, a copied identity."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest

from codebase_mcp.domain import JobStatus
from codebase_mcp.storage.tables import schema_name
from tests.faults.checks import completed
from tests.support.freezing import clock_shows, log_lines, slow_worker
from tests.support.processes import CHECKOUT, Site, copy_packages, environment
from tests.support.waiting import until

pytestmark = pytest.mark.faults

KNOBS: dict[str, object] = {"lease_seconds": 3, "renew_seconds": 0.4, "poll_seconds": 0.1}
HERE: dict[str, object] = KNOBS | {"host_id": "here"}
THERE: dict[str, object] = KNOBS | {"host_id": "there"}


def _may_unshare() -> bool:
    return (
        sys.platform == "linux"
        and shutil.which("unshare") is not None
        and subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    )


needs_mounts = pytest.mark.skipif(not _may_unshare(), reason="mounts of its own need Linux and root")


def with_mount(source: Path, target: Path) -> list[str]:
    """What starts a command that sees `source` at the place of `target`."""
    script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, "sh", str(source), str(target)]


def command(
    site: Site, *arguments: str, before: list[str] | None = None, data_dir: Path | None = None, **knobs: object
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*(before or []), sys.executable, "-m", "codebase_mcp", *arguments],
        cwd=CHECKOUT,
        env=environment(data_dir or site.data_dir, site.knobs | {"worker": "external"} | knobs),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


async def answer(process: subprocess.Popen[str]) -> str:
    out, errors = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0, errors
    return out


async def indexed_files(site: Site, host_id: str) -> set[str]:
    schema = schema_name("default")
    rows = await site.rows(
        f"SELECT f.relative_path FROM {schema}.code_files f JOIN {schema}.repositories r ON r.id = f.repository_id"
        " WHERE r.host_id = :host_id",
        host_id=host_id,
    )
    return {row["relative_path"] for row in rows}


async def start_as(site: Site, root: Path, **knobs: object) -> UUID:
    async with site.service(**knobs) as service:
        return (await service.start_indexing(str(root))).job_id


async def test_the_job_of_a_host_that_died_waits_for_it_while_another_host_works(site: Site, tmp_path: Path) -> None:
    root, other = copy_packages(tmp_path / "a", "json"), copy_packages(tmp_path / "b", "http")
    dying = slow_worker(site, "--pace", "committed=0.3", **HERE)
    job_id = await start_as(site, root, **HERE)
    await site.committed(job_id, 1)
    dying.kill()
    lease = (await site.job(job_id)).lease_expires_at
    assert lease is not None
    await clock_shows(site, lease)
    stranger = site.worker(**THERE)
    # It claims and completes what is its own, so that it has looked for work since the lease lapsed.
    await completed(site, await start_as(site, other, **THERE))
    orphan = await site.job(job_id)
    assert (orphan.status, orphan.attempt, orphan.host_id) == (JobStatus.RUNNING, 1, "here")
    async with site.service(**THERE) as service:
        report = await service.job_status(job_id)
        assert (report.host, report.is_waiting_for_host) == ("here", True)
    site.worker(**HERE)
    done = await completed(site, job_id)
    assert (done.attempt, done.host_id) == (2, "here")
    assert stranger.poll() is None


async def test_a_job_adopted_from_a_dead_host_is_finished_by_the_new_one(site: Site, tmp_path: Path) -> None:
    root = copy_packages(tmp_path / "a", "asyncio")
    dying = slow_worker(site, "--pace", "committed=1.5", **HERE)
    job_id = await start_as(site, root, **HERE)
    await site.committed(job_id, 1)
    refused = command(site, "jobs", "adopt", str(job_id), **THERE)
    _, complaint = await asyncio.to_thread(refused.communicate)
    assert refused.returncode != 0
    assert "is being worked on" in complaint
    dying.kill()
    lease = (await site.job(job_id)).lease_expires_at
    assert lease is not None
    await clock_shows(site, lease)
    assert "belongs to this host now. 1 job of it goes on here." in await answer(
        command(site, "jobs", "adopt", str(job_id), **THERE)
    )
    site.worker(**THERE)
    done = await completed(site, job_id)
    assert (done.host_id, done.attempt) == ("there", 2)


@needs_mounts
async def test_the_same_path_with_other_content_keeps_both_indexes(site: Site, tmp_path: Path) -> None:
    root, hidden = copy_packages(tmp_path / "workspace", "json"), copy_packages(tmp_path / "hidden", "http")
    inside = with_mount(hidden, root)
    workers = [command(site, "worker", **HERE), command(site, "worker", before=inside, **THERE)]
    try:
        first = await answer(command(site, "index", str(root), "--json", **HERE))
        second = await answer(command(site, "index", str(root), "--json", before=inside, **THERE))
        again = await answer(command(site, "index", str(root), "--json", **HERE))
    finally:
        for worker in workers:
            worker.terminate()
            await asyncio.to_thread(worker.communicate)
    jobs = [json.loads(text) for text in (first, second, again)]
    assert {job["status"] for job in jobs} == {"completed"}
    assert {Path(path).parts[0] for path in await indexed_files(site, "here")} == {"json"}
    assert {Path(path).parts[0] for path in await indexed_files(site, "there")} == {"http"}
    assert (jobs[2]["files_unchanged"], jobs[2]["files_indexed"]) == (jobs[0]["files_indexed"], 0)


@needs_mounts
async def test_a_path_that_only_one_host_has_fails_nowhere(site: Site, tmp_path: Path) -> None:
    mount_point, tree = tmp_path / "volume", copy_packages(tmp_path / "tree", "json")
    mount_point.mkdir()
    inside = with_mount(tree, mount_point)
    stranger = site.worker(**HERE)
    await log_lines(site, "worker ready", pid=stranger.pid)
    worker = command(site, "worker", before=inside, **THERE)
    try:
        job = json.loads(await answer(command(site, "index", str(mount_point), "--json", before=inside, **THERE)))
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.communicate)
    assert (job["status"], job["attempt"]) == ("completed", 1)
    refused = command(site, "index", str(mount_point / "json"), **HERE)
    _, complaint = await asyncio.to_thread(refused.communicate)
    assert refused.returncode == 2, complaint


@needs_mounts
async def test_a_copied_data_directory_is_another_host_and_says_so(site: Site, tmp_path: Path) -> None:
    root = copy_packages(tmp_path / "a", "json")
    original, copy = tmp_path / "original", tmp_path / "copy"
    knobs: dict[str, object] = KNOBS | {"database_url": site.layout.url}
    worker = command(site, "worker", data_dir=original, **knobs)
    try:
        await answer(command(site, "index", str(root), data_dir=original, **knobs))
    finally:
        worker.terminate()
        await asyncio.to_thread(worker.communicate)
    shutil.copytree(original, copy, ignore=shutil.ignore_patterns("workers", "*.lock", "logs"))
    machine_id = tmp_path / "machine-id"
    machine_id.write_text("0123456789abcdef" * 2 + "\n")
    inside = with_mount(machine_id, Path("/etc/machine-id"))
    listed = json.loads(await answer(command(site, "repos", "list", "--json", before=inside, data_dir=copy, **knobs)))
    (repository,) = listed["repositories"]
    assert repository["host"] is not None, "it is the other machine's"
    doctor = command(site, "doctor", "--json", before=inside, data_dir=copy, **knobs)
    out, _ = await asyncio.to_thread(doctor.communicate)
    host = next(check for check in json.loads(out) if check["name"] == "host")
    first = json.loads((original / "host.json").read_text())["host_id"]
    assert host["is_warning"]
    assert f"this data directory was made on another machine, which is host {first}" in host["detail"]
    started = await answer(
        command(site, "index", str(root), "--no-wait", "--json", before=inside, data_dir=copy, **knobs)
    )
    told = " ".join(json.loads(started)["warnings"])
    assert "that one stays as it is" in told
    assert first in told
    own = json.loads(await answer(command(site, "repos", "list", "--json", data_dir=original, **knobs)))
    assert {(one["host"] is None, one["file_count"]) for one in own["repositories"]} >= {
        (True, repository["file_count"])
    }


async def test_no_worker_is_started_for_a_job_of_another_host(site: Site, tmp_path: Path) -> None:
    root = copy_packages(tmp_path / "a", "json")
    await start_as(site, root, **THERE)
    async with site.client(watch_seconds=0.2, worker="spawn", **HERE) as client:
        own = copy_packages(tmp_path / "b", "http")
        started = await client.call_tool("start_indexing_background", {"repo_path": str(own)}, raise_on_error=False)
        while started.is_error:
            started = await client.call_tool("start_indexing_background", {"repo_path": str(own)}, raise_on_error=False)
        await completed(site, UUID(started.structured_content["job_id"]))
        lines = await log_lines(site, "job claimed")
        assert {line["repo_path"] for line in lines} == {os.path.realpath(own)}

        async def waiting() -> bool:
            rows = await site.rows("SELECT status FROM codebase_mcp.indexing_jobs WHERE host_id = 'there'")
            return [row["status"] for row in rows] == ["pending"]

        await until(waiting, what="the job of the other host to be left alone")
