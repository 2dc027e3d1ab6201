"""What a search says of the index it rests on: how much of a repository it has, and what has changed since."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from codebase_mcp.errors import DatabaseUnavailableError
from codebase_mcp.indexing import verify
from codebase_mcp.indexing.file_stat import recorded_stat
from codebase_mcp.indexing.listing import Look
from codebase_mcp.indexing.verify import Verification
from codebase_mcp.jobs.runner import JobRunner
from codebase_mcp.search.models import RepositoryFreshness
from codebase_mcp.service import Service, changes, looks
from codebase_mcp.service.looks import Looks
from tests.support import jobs
from tests.support.jobs import HOST
from tests.support.repositories import git, git_settings, settle
from tests.support.runs import SHOP, Bench, GatedPool


async def told(service: Service, repository: str | None = None) -> RepositoryFreshness:
    """What a search says of one repository."""
    (fresh,) = (await service.search("ShoppingCart", repository=repository)).freshness
    return fresh


async def covered(service: Service) -> tuple[int, int, int, int] | None:
    """(found, indexed, skipped, failed)."""
    coverage = (await told(service)).coverage
    if coverage is None:
        return None
    return coverage.files_found, coverage.files_indexed, coverage.files_skipped, coverage.files_failed


# --- coverage ---


async def test_a_search_tells_how_much_of_the_repository_is_indexed(service: Service, bench: Bench) -> None:
    (bench.root / "logo.dat").write_bytes(b"\0")
    job = await bench.run()
    assert await covered(service) == (6, 5, 1, 0)
    await jobs.set_column(bench.database, job.id, "files_failed = 1, files_indexed = 4")
    assert await covered(service) == (6, 5, 1, 1)


async def test_coverage_grows_with_a_first_job(service: Service, bench: Bench) -> None:
    await service.start_indexing(str(bench.root))
    assert await covered(service) is None
    bench.configure(batch_files=1)
    bench.pool = gated = GatedPool(2)
    running = asyncio.create_task(JobRunner(await bench.claim(), bench.tools).run())
    await asyncio.wait_for(gated.waits.wait(), 20)
    partial = await covered(service)
    gated.gate.set()
    await running
    assert partial is not None
    assert (partial[0], partial[2:]) == (5, (0, 0))
    assert partial[1] < 5
    assert await covered(service) == (5, 5, 0, 0)


async def test_coverage_is_that_of_the_last_job(service: Service, bench: Bench) -> None:
    await bench.run()
    bench.write({"shop/new.py": "x = 1\n"})
    (bench.root / "README.md").unlink()
    (bench.root / "logo.dat").write_bytes(b"\0")
    await bench.run()
    assert await covered(service) == (6, 5, 1, 0)
    listing = await bench.start()
    await jobs.set_column(bench.database, listing.id, f"repository_id = {(await bench.repository()).id}")
    assert await covered(service) == (6, 5, 1, 0)


async def test_coverage_is_not_known_when_the_last_job_is_no_longer_on_record(service: Service, bench: Bench) -> None:
    await bench.run()
    await jobs.execute(bench.database, "DELETE FROM codebase_mcp.indexing_jobs")
    assert await covered(service) is None


async def test_each_repository_has_its_own_coverage(service: Service, bench: Bench) -> None:
    other = Bench(bench.database, bench.settings, bench.root.parent / "other")
    other.write({"x.py": "x = 1\n"})
    await other.run()
    await bench.run()
    found = {one.repository: one.coverage for one in (await service.search("ShoppingCart")).freshness}
    assert {name: one.files_found for name, one in found.items() if one} == {"shop": len(SHOP), "other": 1}


# --- changed files ---


@pytest.fixture
def work_tree(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same repository as a git work tree with a commit."""
    for name, value in git_settings().items():
        monkeypatch.setenv(name, value)
    git(bench.root, "init", "-q")
    save(bench, "first")
    return bench


def save(bench: Bench, message: str) -> None:
    git(bench.root, "add", "-A")
    git(bench.root, "commit", "-q", "-m", message)


async def counted(service: Service) -> RepositoryFreshness:
    """What a search tells once the files were looked at."""
    answer = await service.search("ShoppingCart")
    (fresh,) = (await service.count_changes(answer, seconds=20)).freshness
    return fresh


async def changed(service: Service) -> tuple[int, int | None, int]:
    """(modified, added, deleted), by a look that begins now."""
    service._looks._remembered.clear()
    fresh = await counted(service)
    assert fresh.changed_files is not None, fresh.changed_files_unknown
    return fresh.changed_files.modified, fresh.changed_files.added, fresh.changed_files.deleted


def rewrite(path: Path) -> None:
    """Other content of the same size and modification time, as `cp -p` and build tools leave it."""
    status = path.stat()
    path.write_bytes(path.read_bytes().translate(bytes.maketrans(b"abe", b"eab")))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit(bench: Bench) -> None:
    """Two files modified, one of them with its size and time restored, one added and one deleted."""
    bench.write({"shop/cart.py": "class Basket: ...\n", "shop/new.py": "x = 1\n"})
    rewrite(bench.root / "shop/pay.py")
    (bench.root / "README.md").unlink()


async def test_nothing_has_changed_right_after_an_index(service: Service, bench: Bench) -> None:
    await bench.run()
    assert await changed(service) == (0, 0, 0)


async def test_changes_of_a_folder_are_counted(service: Service, bench: Bench) -> None:
    await bench.run()
    edit(bench)
    assert await changed(service) == (2, 1, 1)
    await bench.run()
    assert await changed(service) == (0, 0, 0)


async def test_changes_of_a_work_tree_are_counted_committed_or_not(service: Service, work_tree: Bench) -> None:
    await work_tree.run()
    edit(work_tree)
    assert await changed(service) == (2, 1, 1)
    save(work_tree, "second")
    assert await changed(service) == (2, 1, 1)
    fresh = await counted(service)
    assert fresh.head_commit != fresh.indexed_commit


async def test_a_commit_of_what_is_indexed_changes_no_file(service: Service, work_tree: Bench) -> None:
    edit(work_tree)
    await work_tree.run()
    save(work_tree, "second")
    assert await changed(service) == (0, 0, 0)


async def test_a_file_that_is_ignored_from_now_on_counts_as_deleted(service: Service, work_tree: Bench) -> None:
    await work_tree.run()
    work_tree.write({".mcpignore": "README.md\n"})
    assert await changed(service) == (0, 1, 1)


async def test_what_the_last_job_left_out_is_no_change_until_it_is_written_again(
    service: Service, bench: Bench
) -> None:
    (bench.root / "data.bin2").write_bytes(b"\0")
    (bench.root / "logo.png").write_bytes(b"\0")
    await bench.run()
    assert await changed(service) == (0, 0, 0)
    (bench.root / "data.bin2").write_bytes(b"\0\0")
    (bench.root / "logo.png").write_bytes(b"\0\0")
    assert await changed(service) == (1, 0, 0)


@pytest.mark.parametrize("path", ["shop/pay.py", "data.dat"])
async def test_a_file_rewritten_with_its_size_and_time_is_modified_and_indexed_anew(
    service: Service, bench: Bench, path: str
) -> None:
    """Prevents: an index that stays stale for ever, and is called fresh, after `cp -p`, `rsync -t` or `touch -r`."""
    (bench.root / "data.dat").write_bytes(b"abc\0")
    await bench.run()
    rewrite(bench.root / path)
    assert await changed(service) == (1, 0, 0)
    job = await bench.run()
    assert job.files_indexed == (1 if path.endswith(".py") else 0)
    assert await changed(service) == (0, 0, 0)


async def test_a_file_replaced_by_another_of_its_size_and_time_is_modified(service: Service, bench: Bench) -> None:
    """Its status change may be older than the index: only the inode tells."""
    await bench.run()
    path = bench.root / "shop/pay.py"
    rewrite(copied := Path(shutil.copy2(path, bench.root.parent / "pay.py")))
    await _as_if_of_another_inode(bench, "shop/pay.py", copied)
    assert await changed(service) == (1, 0, 0)


async def _as_if_of_another_inode(bench: Bench, path: str, other: Path) -> None:
    """Puts the other file in place, and has the index know all of its stat but the inode."""
    inode = (bench.root / path).stat().st_ino
    other.replace(bench.root / path)
    status = (bench.root / path).stat()
    await jobs.execute(
        bench.database,
        f"UPDATE {bench.schema}.code_files SET size_bytes = :size, mtime_ns = :mtime, ctime_ns = :ctime,"
        " inode = :inode WHERE relative_path = :path",
        size=status.st_size, mtime=status.st_mtime_ns, ctime=status.st_ctime_ns, inode=inode, path=path,
    )  # fmt: skip


HARMLESS: dict[str, Callable[[Path], None]] = {
    "touch": lambda path: os.utime(path, ns=(1, 1)),
    "chmod": lambda path: path.chmod(0o600),
    "hard link": lambda path: os.link(path, path.parent.parent.parent / "link"),
    "copied and moved back": lambda path: shutil.move(shutil.copy2(path, path.parent.parent.parent / "copy"), path),
    "far future": lambda path: os.utime(path, ns=(1, 13_000_000_000_000_000_000)),
}


@pytest.mark.parametrize("happening", HARMLESS)
@pytest.mark.parametrize("path", ["shop/pay.py", "data.dat"])
async def test_a_file_with_its_old_content_is_no_change_and_is_read_once(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch, happening: str, path: str
) -> None:
    (bench.root / "data.dat").write_bytes(b"abc\0")
    await bench.run()
    assert await changed(service) == (0, 0, 0)
    HARMLESS[happening](bench.root / path)
    settle(bench.root)
    assert await changed(service) == (0, 0, 0)
    monkeypatch.setattr(verify, "read_bytes", _unwanted)
    assert await changed(service) == (0, 0, 0)
    assert (await bench.run()).bytes_total == 0


def _unwanted(*arguments: object) -> NoReturn:
    raise AssertionError(f"read once more: {arguments}")


async def test_a_file_written_in_the_tick_in_which_it_was_read_is_seen(service: Service, bench: Bench) -> None:
    """What git calls racy: the write after the reading gets the very stamp that the reading found."""
    await bench.run()
    path = bench.root / "shop/pay.py"
    rewrite(path)
    stat = recorded_stat(path.stat(), now_ns=path.stat().st_ctime_ns)
    await jobs.execute(
        bench.database,
        f"UPDATE {bench.schema}.code_files SET mtime_ns = :mtime, ctime_ns = :ctime, inode = :inode"
        " WHERE relative_path = 'shop/pay.py'",
        mtime=stat.mtime_ns, ctime=stat.ctime_ns, inode=stat.inode,
    )  # fmt: skip
    assert await changed(service) == (1, 0, 0)


async def test_rows_of_an_earlier_version_are_taken_for_what_they_know(service: Service, bench: Bench) -> None:
    await bench.run()
    await jobs.execute(bench.database, f"UPDATE {bench.schema}.code_files SET ctime_ns = NULL, inode = NULL")
    assert await changed(service) == (0, 0, 0)
    assert (await bench.run()).bytes_total == 0


async def test_files_that_cannot_all_be_read_in_time_are_not_called_changed(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    (bench.root / "shop/pay.py").chmod(0o600)
    (bench.root / "shop/cart.py").chmod(0o600)
    monkeypatch.setattr(changes, "verify_contents", lambda *_, **__: Verification(not_read=1))
    fresh = await counted(service)
    assert fresh.changed_files is None
    assert "2 files with a new time or inode could not all be read" in (fresh.changed_files_unknown or "")
    monkeypatch.undo()
    job = await bench.run()
    assert (job.files_indexed, job.files_unchanged) == (0, 5)
    assert await changed(service) == (0, 0, 0)


async def test_a_file_grown_readable_again_is_read_again(service: Service, bench: Bench) -> None:
    """What was left out because of its content is forgotten once it is indexed, or gone."""
    (bench.root / "data.dat").write_bytes(b"abc\0")
    (bench.root / "gone.dat").write_bytes(b"abc\0")
    await bench.run()
    (bench.root / "data.dat").write_bytes(b"abcd")
    (bench.root / "gone.dat").unlink()
    assert (await bench.run()).files_indexed == 1
    assert await jobs.execute(bench.database, f"SELECT * FROM {bench.schema}.not_indexed_files") == []


async def test_a_file_that_grew_too_large_is_modified(service: Service, bench: Bench) -> None:
    await bench.run()
    with (bench.root / "README.md").open("ab") as file:
        file.truncate(2_000_000)
    assert await changed(service) == (1, 0, 0)


async def test_a_file_that_a_new_limit_rules_out_is_modified(service: Service, bench: Bench) -> None:
    await bench.run()
    least = min(len(text) for text in SHOP.values() if text)
    limited = bench.settings.model_copy(update={"max_file_bytes": least})
    service.__dict__["_looks"] = Looks(lambda: bench.database, limited, lambda: HOST.id)
    assert await changed(service) == (3, 0, 0)


async def test_without_a_record_of_the_last_job_new_files_are_not_guessed(service: Service, bench: Bench) -> None:
    (bench.root / "data.bin2").write_bytes(b"\0")
    await bench.run()
    edit(bench)
    await jobs.execute(bench.database, "DELETE FROM codebase_mcp.indexing_jobs")
    assert await changed(service) == (2, None, 1)
    (bench.root / "shop/new.py").unlink()
    assert await changed(service) == (2, 0, 1), "what was left out because of its content is remembered apart from jobs"


async def test_files_below_a_folder_that_cannot_be_read_are_not_deleted(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    real = os.scandir

    def refusing(path: Any) -> Any:
        if str(path).endswith("/tests"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert await changed(service) == (0, 0, 0)


async def test_a_root_that_is_gone_is_said_and_is_no_deletion(service: Service, bench: Bench) -> None:
    await bench.run()
    shutil.rmtree(bench.root)
    fresh = await counted(service)
    assert fresh.changed_files is None
    assert f"{bench.root} does not exist" in (fresh.changed_files_unknown or "")


async def test_a_work_tree_runs_nothing_that_it_brings_along(
    service: Service, work_tree: Bench, tmp_path: Path
) -> None:
    await work_tree.run()
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\ncat\n")
    trap.chmod(0o755)
    work_tree.write({".gitattributes": "*.py filter=evil diff=evil\n"})
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "diff.evil.textconv"):
        git(work_tree.root, "config", key, str(trap))
    for path in ("shop/cart.py", "shop/pay.py"):
        rewrite(work_tree.root / path)
    assert await changed(service) == (2, 1, 0)
    assert not (tmp_path / "sprung").exists()
    git(work_tree.root, "status")
    assert (tmp_path / "sprung").exists(), "the trap works: who asks for the status walks into it"


async def test_a_tree_that_takes_too_long_is_not_counted(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    monkeypatch.setattr(changes, "new_look", lambda: Look(list_deadline=0.0, deadline=0.0))
    monkeypatch.setattr(looks, "new_look", changes.new_look)
    fresh = await counted(service)
    assert fresh.changed_files is None
    assert "too large to be looked through" in (fresh.changed_files_unknown or "")


async def test_an_index_of_too_many_files_is_not_compared(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    monkeypatch.setattr(changes, "MOST_FILES", 4)
    assert "An index of 5 files takes too long" in ((await counted(service)).changed_files_unknown or "")


async def test_a_first_job_has_nothing_to_compare_with(service: Service, bench: Bench) -> None:
    await service.start_indexing(str(bench.root))
    assert "Nothing of" in ((await counted(service)).changed_files_unknown or "")


# --- when the files are looked at ---


async def test_a_search_does_not_wait_for_the_count_and_the_next_one_tells_it(service: Service, bench: Bench) -> None:
    await bench.run()
    edit(bench)
    first = await told(service)
    assert (first.changed_files, first.changed_files_unknown) == (None, looks.NOT_YET)
    await asyncio.wait_for(asyncio.gather(*service._looks._under_way.values()), 20)
    second = await told(service)
    assert second.changed_files is not None
    assert (second.changed_files.modified, second.changed_files_unknown) == (2, None)


async def test_the_other_searches_tell_it_as_well(service: Service, bench: Bench) -> None:
    await bench.run()
    edit(bench)
    await service.find_symbol("ShoppingCart")
    await asyncio.wait_for(asyncio.gather(*service._looks._under_way.values()), 20)
    for answer in (await service.find_symbol("ShoppingCart"), await service.find_related("shop/cart.py", 1)):
        (entry,) = answer.freshness
        assert entry.changed_files is not None
        assert entry.changed_files.modified == 2


async def test_a_count_is_told_for_some_seconds_only(service: Service, bench: Bench) -> None:
    now = 1000.0
    service.__dict__["_looks"] = Looks(lambda: bench.database, bench.settings, lambda: HOST.id, clock=lambda: now)
    await bench.run()
    assert (await counted(service)).changed_files is not None
    now += looks.GOOD_FOR_SECONDS - 1
    assert (await told(service)).changed_files is not None
    now += 1
    assert (await told(service)).changed_files_unknown == looks.NOT_YET


async def test_files_that_take_long_to_look_at_are_left_in_peace_meanwhile(service: Service, bench: Bench) -> None:
    ticks = iter([0.0, 2.0, *[2.0 + looks.GOOD_FOR_SECONDS] * 9])
    service.__dict__["_looks"] = Looks(
        lambda: bench.database, bench.settings, lambda: HOST.id, clock=lambda: next(ticks)
    )
    await bench.run()
    await service._looks.look("default", str(bench.root))
    assert (await told(service)).changed_files_unknown == looks.RESTING
    assert service._looks._under_way == {}


async def test_a_count_is_not_told_of_another_index(service: Service, bench: Bench) -> None:
    await bench.run()
    edit(bench)
    assert (await counted(service)).changed_files is not None
    await bench.run()
    assert (await told(service)).changed_files_unknown == looks.NOT_YET


async def test_only_a_few_repositories_are_looked_at_for_one_search(
    service: Service, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "MOST_REPOSITORIES", 1)
    for name in ("apple", "zebra"):
        other = Bench(bench.database, bench.settings, bench.root.parent / name)
        other.write({"x.py": f"{name} = 1\n"})
        await other.run()
    answer = await service.search("zebra", limit=1)
    entries = (await service.count_changes(answer, seconds=20)).freshness
    assert {one.repository: one.changed_files_unknown for one in entries} == {"apple": looks.TOO_MANY, "zebra": None}


async def test_a_look_that_is_not_done_in_time_is_not_waited_for(service: Service, bench: Bench) -> None:
    await bench.run()
    service._looks._turn = asyncio.Semaphore(0)
    answer = await service.search("ShoppingCart")
    (fresh,) = (await service.count_changes(answer, seconds=0.01)).freshness
    assert fresh.changed_files_unknown == "Counting takes more than 0.01 s."


async def test_closing_ends_the_looks_under_way(service: Service, bench: Bench) -> None:
    await bench.run()
    open_looks = Looks(lambda: bench.database, bench.settings, lambda: HOST.id)
    open_looks._begin("default", await told(service))
    open_looks._open[0] = look = changes.new_look()
    await open_looks.close()
    assert look.must_end()
    assert open_looks._under_way == {}


async def test_a_database_that_goes_away_meanwhile_is_no_concern_of_the_search(service: Service, bench: Bench) -> None:
    await bench.run()

    def away() -> Any:
        raise DatabaseUnavailableError

    service.__dict__["_looks"] = Looks(away, bench.settings, lambda: HOST.id)
    assert (await counted(service)).changed_files_unknown == DatabaseUnavailableError().message
