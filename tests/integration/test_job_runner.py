"""What a whole job does to an index: everything at first, then exactly what changed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from codebase_mcp.domain import FileState, JobStatus
from codebase_mcp.errors import RepositoryUnreadableError
from codebase_mcp.jobs import batches, capture, finishing, runner
from codebase_mcp.service import reports
from codebase_mcp.storage import vector_index
from codebase_mcp.storage.vector_index import VectorIndex
from tests.support import index, jobs
from tests.support.jobs import together
from tests.support.repositories import commit, git_settings
from tests.support.runs import SHOP, Bench, counts


async def test_a_work_tree_without_its_repository_is_indexed_and_the_report_says_so(bench: Bench) -> None:
    bench.write({".git": "gitdir: ../.git/modules/shop\n"})
    job = await bench.run()
    assert (job.status, job.files_indexed, job.metadata["head_commit"]) == (JobStatus.COMPLETED, 5, None)
    (warning,) = reports.report(job, job.created_at, [], [], None, owner=reports.Owner()).warnings
    assert f"{bench.root} is indexed without git" in warning
    assert "not a git repository" in warning


async def test_a_first_job_indexes_every_file(bench: Bench) -> None:
    job = await bench.run()
    assert (job.status, job.progress_percentage) == (JobStatus.COMPLETED, 100)
    assert counts(job) == (len(SHOP), 0, 0, 0)
    assert job.progress_message == f"completed: 5 indexed, 0 unchanged of 5 files, {job.chunks_created} chunks"
    assert await bench.indexed() == SHOP
    repository = await bench.repository()
    assert (repository.is_complete, repository.file_count, repository.name) == (True, 5, "shop")
    assert job.repository_id == repository.id
    assert repository.last_indexed_at is not None
    assert await jobs.event_types(bench.database, job.id) == ["created", "started", "captured", "completed"]


async def test_the_commit_that_was_listed_is_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in git_settings().items():
        monkeypatch.setenv(name, value)
    commit(bench.root, "new.py")
    await bench.run()
    assert len((await bench.repository()).indexed_commit) == 40


async def test_a_second_job_without_changes_writes_no_chunk(bench: Bench) -> None:
    await bench.run()
    digest, embedded = await bench.digest(), list(bench.embedder.texts)
    job = await bench.run()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (0, 5, 0, 0))
    assert await bench.digest() == digest
    assert bench.embedder.texts == embedded


async def test_exactly_what_was_edited_renamed_and_deleted_is_done(bench: Bench) -> None:
    await bench.run()
    bench.embedder.texts.clear()
    (bench.root / "shop" / "cart.py").write_text("class Basket:\n    pass\n")
    (bench.root / "shop" / "pay.py").rename(bench.root / "shop" / "charge.py")
    (bench.root / "README.md").unlink()
    job = await bench.run()
    assert counts(job) == (2, 2, 0, 0)
    expected = SHOP | {"shop/cart.py": "class Basket:\n    pass\n", "shop/charge.py": SHOP["shop/pay.py"]}
    del expected["README.md"], expected["shop/pay.py"]
    assert await bench.indexed() == expected
    assert len(bench.embedder.texts) == job.chunks_created
    fresh = Bench(bench.database, bench.settings, bench.root, project_id="fresh")
    await fresh.run()
    assert await bench.digest() == await fresh.digest()


async def test_a_touched_file_is_unchanged_and_its_new_time_remembered(bench: Bench) -> None:
    await bench.run()
    os.utime(bench.root / "README.md", ns=(1, 1))
    job = await bench.run()
    assert counts(job) == (0, 5, 0, 0)
    assert (await jobs.file_states(bench.database, job.id))["README.md"] == FileState.UNCHANGED
    bench.on_point = lambda _point: pytest.fail("nothing is left to read") if _point == "fenced" else None
    assert counts(await bench.run()) == (0, 5, 0, 0)


async def test_force_reads_everything_again_to_the_same_index(bench: Bench) -> None:
    await bench.run()
    digest = await bench.digest()
    assert counts(await bench.run(force_reindex=True)) == (5, 0, 0, 0)
    assert await bench.digest() == digest


async def test_a_new_fingerprint_reads_everything_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.run()
    monkeypatch.setattr(runner, "index_fingerprint", lambda _identity: "newer")
    assert counts(await bench.run()) == (5, 0, 0, 0)
    assert counts(await bench.run()) == (0, 5, 0, 0)


async def test_many_small_batches_give_the_index_of_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(12):
        bench.write({f"more/m{n}.py": f"def function_{n}():\n    return ShoppingCart() or function_{n - 1}()\n"})
    await bench.run()
    small = Bench(bench.database, bench.settings, bench.root, project_id="small")
    small.configure(batch_files=1)
    monkeypatch.setattr(batches, "PENDING_PAGE", 3)
    monkeypatch.setattr(batches, "MERGE_FAN_IN", 4)
    monkeypatch.setattr(finishing, "VANISHED_PER_STEP", 2)
    monkeypatch.setattr(finishing, "TERMS_PER_STEP", 3)
    monkeypatch.setattr(finishing, "FILES_PER_STEP", 4)
    points: list[str] = []
    small.on_point = points.append
    job = await small.run()
    assert counts(job) == (17, 0, 0, 0)
    assert points.count("committed") == 17
    assert await small.digest() == await bench.digest()
    levels = await jobs.execute(
        bench.database, f"SELECT level, count(*) FROM {small.schema}.lexical_segments GROUP BY level"
    )
    assert all(row.count < finishing.MERGE_FAN_IN for row in levels)


async def test_a_batch_ends_before_it_gets_too_many_bytes(bench: Bench) -> None:
    points: list[str] = []
    bench.on_point = points.append
    bench.configure(batch_bytes=max(len(text) for text in SHOP.values()))
    await bench.run()
    assert 3 <= points.count("committed") < 5


async def test_references_are_counted_without_the_file_itself(bench: Bench) -> None:
    await bench.run()
    counted = await jobs.execute(
        bench.database, f"SELECT relative_path, reference_count FROM {bench.schema}.code_files"
    )
    assert dict(map(tuple, counted))["shop/cart.py"] == 2
    (bench.root / "tests" / "test_cart.py").unlink()
    await bench.run()
    counted = await jobs.execute(
        bench.database, f"SELECT relative_path, reference_count FROM {bench.schema}.code_files"
    )
    assert dict(map(tuple, counted))["shop/cart.py"] == 1


async def test_what_cannot_be_indexed_is_skipped_with_its_reason(bench: Bench) -> None:
    (bench.root / "logo.bin").write_bytes(b"\0\1\2")
    (bench.root / "mixed.py").write_bytes("größe = 'é'\n".encode() * 20 + b"\xff\xfe\x80\x81" * 3 + "ü".encode() * 50)
    bench.write({".env": "TOKEN=1\n", "large.py": "x = 1\n" * 400, "odd.min.js": "a;" * 20_000})
    bench.configure(max_file_bytes=2_000)
    job = await bench.run()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 5, 0))
    reasons = await jobs.reasons(bench.database, job.id)
    assert reasons["logo.bin"] == "binary"
    assert "undecodable" in reasons["mixed.py"]
    assert "too large" in reasons["large.py"]
    assert "secret" in reasons[".env"].lower()
    assert ", 5 skipped (1 binary, 1 may hold secrets, 1 minified, " in job.progress_message
    assert "1 too large" in job.progress_message
    assert ") of 10 files, " in job.progress_message
    assert await bench.indexed() == SHOP


async def test_a_file_that_becomes_unfit_leaves_the_index(bench: Bench) -> None:
    await bench.run()
    (bench.root / "README.md").write_bytes(b"\0\1")
    job = await bench.run()
    assert counts(job) == (0, 4, 1, 0)
    assert "README.md" not in await bench.indexed()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system refuses such names")
async def test_a_file_name_that_is_not_utf8_costs_one_file(bench: Bench) -> None:
    (bench.root / os.fsdecode(b"b\xff.py")).write_text("x = 1\n")
    job = await bench.run()
    assert (job.status, counts(job)) == (JobStatus.COMPLETED, (5, 0, 1, 0))


async def test_a_repository_of_empty_files_completes(bench: Bench) -> None:
    shutil.rmtree(bench.root)
    bench.write({"a.py": "", "b/__init__.py": ""})
    job = await bench.run()
    assert (job.status, counts(job), job.chunks_created) == (JobStatus.COMPLETED, (2, 0, 0, 0), 0)
    assert counts(await bench.run()) == (0, 2, 0, 0)


async def test_rows_below_an_unreadable_directory_are_kept(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    await bench.run()

    def list_with_closed_folder(*arguments: object) -> None:
        list_files(*arguments)
        listing = arguments[-1]
        listing.files[:] = [file for file in listing.files if not file.relative_path.startswith("shop/")]
        listing.unreadable_paths.append("shop")

    list_files = capture.list_files
    monkeypatch.setattr(capture, "list_files", list_with_closed_folder)
    (bench.root / "README.md").unlink()
    job = await bench.run()
    assert job.metadata["unreadable_paths"] == ["shop"]
    assert await bench.indexed() == {path: text for path, text in SHOP.items() if path != "README.md"}


@pytest.mark.parametrize("reason", ["permission denied", "cannot be read: Input/output error"])
async def test_a_file_that_cannot_be_read_keeps_its_rows(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    await bench.run()

    def prepare(request: batches.BatchRequest) -> batches.PreparedBatch:
        outcomes = tuple(batches.FileOutcome(path, FileState.SKIPPED, reason) for path in request.relative_paths)
        return batches.PreparedBatch((), outcomes, {})

    monkeypatch.setattr(batches, "prepare_batch", prepare)
    (bench.root / "README.md").write_text("changed")
    job = await bench.run()
    assert counts(job) == (0, 4, 1, 0)
    assert await bench.indexed() == SHOP


# --- roots that go away ---


async def test_a_root_that_is_missing_at_the_start_fails_the_job_and_keeps_the_index(bench: Bench) -> None:
    await bench.run()
    bench.root.rename(bench.root.with_name("elsewhere"))
    job = await bench.run()
    assert (job.status, job.error_type) == (JobStatus.FAILED, "RepositoryUnreadableError")
    assert "does not exist" in str(job.error_message)
    assert await bench.indexed() == SHOP


def many(bench: Bench) -> dict[str, str]:
    texts = {f"m{n:02}.py": f"value_{n} = {n}\n" for n in range(12)}
    bench.write(texts)
    bench.configure(batch_files=1)
    return SHOP | texts


@pytest.mark.parametrize("is_emptied", [False, True])
async def test_a_root_that_vanishes_during_the_job_fails_it_and_keeps_the_index(bench: Bench, is_emptied: bool) -> None:
    texts = many(bench)
    await bench.run()

    def vanish(point: str) -> None:
        if point == "committed" and (bench.root / "README.md").exists():
            shutil.rmtree(bench.root)
            if is_emptied:
                bench.root.mkdir()

    bench.on_point = vanish
    job = await bench.run(force_reindex=True)
    assert (job.status, job.error_type) == (JobStatus.FAILED, "RepositoryUnreadableError")
    assert "became unreadable or empty while it was being indexed; its index is kept" in str(job.error_message)
    assert await bench.indexed() == texts
    assert not (await bench.repository()).is_complete


def test_a_root_that_cannot_be_opened_is_not_read_as_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    capture.refuse_an_empty_root(str(tmp_path))
    for root in (tmp_path / "gone", tmp_path / "file"):
        with pytest.raises(RepositoryUnreadableError, match="became unreadable or empty"):
            capture.refuse_an_empty_root(str(root))


async def test_a_file_deleted_during_the_job_leaves_the_index(bench: Bench) -> None:
    texts = many(bench)
    await bench.run()
    last = bench.root / "tests" / "test_cart.py"
    bench.on_point = lambda point: last.unlink(missing_ok=True) if point == "committed" else None
    job = await bench.run(force_reindex=True)
    assert job.status is JobStatus.COMPLETED
    assert await jobs.reasons(bench.database, job.id) == {"tests/test_cart.py": "deleted while indexing"}
    assert (await bench.indexed()).keys() == texts.keys() - {"tests/test_cart.py"}


# --- checkpoints, neighbours, the vector index ---


async def progress_events(bench: Bench, **settings: float) -> list[int]:
    """How many files were done at each progress event of a job of seventeen batches."""
    many(bench)
    bench.configure(**settings)
    job = await bench.run()
    rows = await jobs.execute(
        bench.database,
        "SELECT event_data -> 'files_done' FROM codebase_mcp.job_events WHERE event_type = 'progress' AND job_id = :id"
        " ORDER BY id",
        id=job.id,
    )
    return [row[0] for row in rows]


async def test_a_checkpoint_is_told_of_every_so_many_files(bench: Bench) -> None:
    assert await progress_events(bench, checkpoint_files=5) == [5, 10, 15]


async def test_a_checkpoint_is_told_of_every_so_many_seconds(bench: Bench) -> None:
    assert await progress_events(bench, checkpoint_seconds=0.0001) == list(range(1, 18))


async def test_two_repositories_of_a_project_are_indexed_beside_each_other(bench: Bench) -> None:
    other = Bench(bench.database, bench.settings, bench.root.with_name("other"))
    other.write({"only.py": "x = 1\n"})
    await together(bench.start(), other.start())
    finished = await together(bench.carry_on(), other.carry_on())
    assert {job.status for job in finished} == {JobStatus.COMPLETED}
    assert await bench.indexed() == SHOP
    assert await other.indexed() == {"only.py": "x = 1\n"}


async def test_a_bulk_load_drops_the_vector_index_and_a_small_job_keeps_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.run()
    of_project = VectorIndex(bench.schema, 1, index.DIMENSIONS)
    assert await vector_index.build(bench.database, of_project, least_rows=1)

    async def is_ready() -> bool:
        async with bench.database.transaction("writers") as connection:
            return await vector_index.is_ready(connection, of_project)

    await bench.run(force_reindex=True)
    assert await is_ready()
    monkeypatch.setattr(runner, "BULK_LOAD_FILES", 5)
    await bench.run(force_reindex=True)
    assert not await is_ready()


async def test_deleted_ids_are_cleaned_out_once_they_are_many(bench: Bench) -> None:
    await bench.run()
    await bench.run(force_reindex=True)
    assert (await bench.repository()).deleted_chunk_count == 0
    ids = await jobs.execute(
        bench.database, f"SELECT sum(df) FROM {bench.schema}.lexical_postings WHERE space = 'stem' AND term = 'cart'"
    )
    stems = await jobs.execute(
        bench.database, f"SELECT count(*) FROM {bench.schema}.code_files WHERE relative_path LIKE '%cart.py'"
    )
    assert ids[0][0] == stems[0][0] == 2
