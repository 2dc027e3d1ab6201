"""The guards in the code around the statements: how each is taken out, and the tests that must notice."""

from __future__ import annotations

from tests.faults.mutation import Edit, Mutant

RUNNER = "src/codebase_mcp/jobs/runner.py"
BATCHES = "src/codebase_mcp/jobs/batches.py"
POOL = "src/codebase_mcp/indexing/pool.py"
FENCED = "src/codebase_mcp/jobs/fenced.py"
FINISHING = "src/codebase_mcp/jobs/finishing.py"
WORKER = "src/codebase_mcp/jobs/worker.py"
SPAWN = "src/codebase_mcp/jobs/spawn.py"
DOMAIN = "src/codebase_mcp/domain.py"
FILE_STAT = "src/codebase_mcp/indexing/file_stat.py"
CAPTURE = "src/codebase_mcp/jobs/capture.py"
GIT_PROCESS = "src/codebase_mcp/indexing/git_process.py"
DATABASE = "src/codebase_mcp/storage/database.py"
DRIVER = "src/codebase_mcp/storage/driver_errors.py"

POOLS = "tests/unit/test_pool.py"
TROUBLE = "tests/integration/test_job_trouble.py"
WORKERS = "tests/integration/test_job_worker.py"
LINKS = "tests/integration/test_database.py"
FRESHNESS = "tests/integration/test_freshness.py"
HUNG = "tests/faults/test_hanging_file_system.py"
GITS = "tests/unit/test_git_process.py"
ZOMBIES = "tests/faults/test_zombies.py"
KILLED = "tests/faults/test_killed_worker.py"
UNLUCKY = "tests/integration/test_job_guards.py"
AT_ANY_POINT = f"{KILLED}::test_a_kill_at_any_point_of_a_batch_keeps_what_was_committed_and_nothing_else"

FENCE_APART = (
    Edit(
        BATCHES,
        "            await self._fence(connection, counts)\n",
        '            async with self._tools.database.transaction("writers") as first:\n'
        "                await self._fence(first, counts)\n",
    ),
)
WRITING = (
    Mutant(
        "one transaction: the fence",
        "the counters are committed before the rows",
        FENCE_APART,
        (f"{UNLUCKY}::test_a_batch_that_fails_at_its_end_leaves_nothing",),
    ),
    Mutant(
        "one transaction, with processes",
        "the same, in a worker that is killed",
        FENCE_APART,
        (AT_ANY_POINT,),
    ),
    Mutant(
        "one transaction: the states",
        "the states of the files are committed before the rows",
        (
            Edit(
                BATCHES,
                "            await store.mark_files(connection, self._claim, ordinals)\n",
                '            async with self._tools.database.transaction("writers") as second:\n'
                "                await store.mark_files(second, self._claim, ordinals)\n",
            ),
        ),
        (f"{UNLUCKY}::test_a_batch_that_fails_at_its_end_leaves_nothing",),
    ),
    Mutant(
        "no start in a full disk's last bytes",
        "a running job goes on until the disk is full",
        (Edit(BATCHES, "        await self._tools.require_free_disk()\n", ""),),
        (f"{UNLUCKY}::test_a_running_job_is_blocked_before_the_disk_is_full",),
    ),
    Mutant(
        "no file list in a full disk's last bytes",
        "the list of files is stored until the disk is full",
        (Edit(RUNNER, "        await self._tools.require_free_disk()\n", "", within="    async def _capture("),),
        (f"{UNLUCKY}::test_a_list_of_files_is_not_stored_in_the_last_bytes_of_a_disk",),
    ),
    Mutant(
        "no step of the end in a full disk's last bytes",
        "a job's last steps go on until the disk is full",
        (Edit(FENCED, "        await self.tools.require_free_disk()\n", ""),),
        (f"{UNLUCKY}::test_deleted_files_are_not_removed_in_the_last_bytes_of_a_disk",),
    ),
    Mutant(
        "a newer project schema",
        "a job fails because a newer program has migrated its project",
        (Edit(RUNNER, "if isinstance(error, SchemaMismatchError):", "if False:"),),
        (f"{UNLUCKY}::test_a_job_waits_for_a_newer_worker_when_its_project_was_migrated_by_one",),
    ),
    Mutant(
        "mass deletion at the end",
        "an empty root removes every file",
        (
            Edit(
                FINISHING,
                "await run_on_root(job.repo_path, functools.partial(refuse_an_empty_root, job.repo_path))",
                "pass",
            ),
        ),
        (f"{UNLUCKY}::test_a_root_that_goes_away_before_deleted_files_are_removed_keeps_them",),
    ),
    Mutant(
        "mass deletion in a batch",
        "files of an empty root count as deleted",
        (Edit(BATCHES, "        refuse_an_empty_root(self._job.repo_path)\n", ""),),
        (f"{UNLUCKY}::test_a_root_that_is_away_only_while_a_batch_is_read_deletes_nothing",),
    ),
)

RUNNING = (
    Mutant(
        "passing trouble blocks",
        "an error that may pass fails the job",
        (Edit(RUNNER, "if isinstance(error, CodebaseMcpError) and error.is_transient:", "if False:"),),
        (f"{TROUBLE}::test_a_passing_trouble_blocks_the_job_and_the_next_claim_completes_it",),
    ),
    Mutant(
        "lasting trouble fails",
        "every error blocks the job",
        (Edit(RUNNER, "if isinstance(error, CodebaseMcpError) and error.is_transient:", "if True:"),),
        (f"{TROUBLE}::test_what_waiting_cannot_cure_fails_the_job_with_its_trace",),
    ),
    Mutant(
        "an unexpected error is not the end",
        "an error that nobody foresaw fails the job at once",
        (Edit(RUNNER, "if _is_unexpected(error) and (", "if False and ("),),
        (f"{TROUBLE}::test_an_error_that_nobody_foresaw_fails_the_job_only_when_it_comes_again_and_again",),
    ),
    Mutant(
        "a job outlives the program that it runs in",
        "a worker whose files were removed fails its jobs",
        (
            Edit(
                RUNNER,
                "if changed := await asyncio.to_thread(self._tools.program_files.find_change):",
                "if changed := None:",
            ),
        ),
        (f"{TROUBLE}::test_a_job_is_given_back_when_the_programs_files_have_changed",),
    ),
    Mutant(
        "a worker notices that its files have changed",
        "a worker runs on after an upgrade or a removal",
        (Edit(WORKER, "if changed := self._tools.program_files.find_change():", "if changed := None:"),),
        ("tests/faults/test_upgrade.py::test_a_worker_whose_library_is_replaced_leaves",),
    ),
    Mutant(
        "parsers that cannot start",
        "files are given up because nothing can be parsed at all",
        (Edit(BATCHES, "if not await self._tools.pool.can_start():", "if False:"),),
        (f"{TROUBLE}::test_no_file_is_given_up_when_nothing_can_be_parsed_at_all",),
    ),
    Mutant(
        "bounds of a file: time",
        "a file may take any time of the processor",
        (Edit(POOL, "    signal.setitimer(signal.ITIMER_PROF, _item_seconds)\n", ""),),
        (f"{POOLS}::test_an_item_that_takes_too_much_time_is_named",),
    ),
    Mutant(
        "bounds of a file: memory",
        "a parsing process may take any memory",
        (
            Edit(POOL, "            _bound_memory(bounds.memory_bytes)\n", ""),
            Edit(POOL, "if self._grown_bytes() > self._bounds.memory_bytes:", "if False:"),
        ),
        (f"{POOLS}::test_an_item_that_takes_too_much_memory_is_named",),
    ),
    Mutant(
        "bounds of a file: growth",
        "a parsing process that has grown is used on",
        (Edit(POOL, "        if process.has_grown():", "        if False:"),),
        (f"{POOLS}::test_a_process_that_has_grown_is_replaced",),
    ),
    Mutant(
        "over its bound a file is text",
        "a file that exceeds a bound has failed",
        (Edit(BATCHES, "[as_text] if cause is Cause.TOO_SLOW else [request, as_text]", "[request]"),),
        ("tests/faults/test_bounds.py::test_files_too_hard_to_parse_are_text_and_memory_stays_bounded",),
    ),
    Mutant(
        "a server that shuts down comes back",
        "a terminated connection is an error of the program",
        (Edit(DRIVER, '    "57P01": "it is shutting down",\n', ""),),
        ("tests/unit/test_database.py::test_an_error_of_the_database_becomes_ours",),
    ),
    Mutant(
        "trust in one's own lease",
        "a worker that cannot renew goes on",
        (
            Edit(
                RUNNER,
                "elif time.monotonic() > trusted_until:",
                "elif time.monotonic() > trusted_until + 1000:",
            ),
        ),
        (f"{TROUBLE}::test_a_runner_that_cannot_renew_stops_before_its_lease_ends",),
    ),
    Mutant(
        "a lost job is let go",
        "a renewal that is refused stops nothing",
        (Edit(RUNNER, "        if not still_ours:\n            raise LeaseLostError\n", ""),),
        (f"{TROUBLE}::test_a_cancelled_job_stops_and_keeps_what_it_committed",),
    ),
    Mutant(
        "release at a stop",
        "a stopped worker keeps its jobs until their leases lapse",
        (Edit(RUNNER, "            await self._release()\n", ""),),
        (f"{TROUBLE}::test_a_stopped_runner_gives_the_job_back_and_another_goes_on",),
    ),
    Mutant(
        "the claim loop never dies",
        "an unexpected error ends the worker",
        (Edit(WORKER, '        except Exception:\n            log.exception("turn failed")\n', ""),),
        (f"{WORKERS}::test_a_worker_survives_whatever_a_turn_raises",),
    ),
    Mutant(
        "newer schema",
        "an old worker writes into a schema that a newer program made",
        (Edit(WORKER, "            require_known(", "            0 and require_known("),),
        (f"{WORKERS}::test_a_worker_leaves_a_schema_that_a_newer_program_has_migrated",),
    ),
    Mutant(
        "last look of an idle worker",
        "a worker leaves although there is work",
        (
            Edit(
                WORKER, "        if work.active and await asyncio.to_thread(self._host_lock.take):", "        if False:"
            ),
        ),
        (f"{WORKERS}::test_a_worker_never_leaves_while_a_job_is_active_anywhere",),
    ),
    Mutant(
        "host lock",
        "every start spawns a worker of its own",
        (Edit(SPAWN, '        while not lock.try_acquire("exclusive"):', "        while False:"),),
        ("tests/unit/test_spawn.py::test_the_host_lock_has_one_holder",),
    ),
    Mutant(
        "spawn in spite of the lock",
        "a frozen holder of the host lock is never replaced",
        (Edit(SPAWN, "if work.longest_lapse_seconds > LAPSE_SECONDS and", "if False and"),),
        ("tests/unit/test_spawn.py::test_a_worker_that_lets_leases_lapse_gets_a_second_beside_it",),
    ),
    Mutant(
        "few helpers",
        "each server of a busy machine starts one more worker",
        (
            Edit(
                SPAWN,
                "for worker in living_workers(self._settings)) < MOST_WORKERS",
                "for worker in ()) < MOST_WORKERS",
            ),
        ),
        ("tests/unit/test_spawn.py::test_many_processes_that_see_a_lapse_start_no_more_helpers_than_jobs_can_run",),
    ),
    Mutant(
        "patience with a helper",
        "a server starts one more worker every five seconds",
        (
            Edit(
                SPAWN,
                'self._spawn(HELPER_SECONDS, "--ignore-host-lock")',
                'self._spawn(RESPAWN_SECONDS, "--ignore-host-lock")',
            ),
        ),
        (
            "tests/unit/test_spawn.py"
            "::test_while_a_helper_lives_the_process_that_started_it_starts_no_other_for_half_a_minute",
        ),
    ),
)

NO_IDLE_TIMEOUT = (
    Edit(
        DATABASE,
        '"idle_in_transaction_session_timeout": str(self.idle_in_transaction_milliseconds)',
        '"idle_in_transaction_session_timeout": "0"',
    ),
)
FREE_IN_TIME = (
    "test_a_job_whose_worker_froze_inside_its_transaction_is_free_in_three_seconds_and_keeps_no_part_of_the_batch"
)
DEADLINES = (
    Mutant(
        "idle in a transaction",
        "a frozen client keeps its row locks",
        NO_IDLE_TIMEOUT,
        (f"{LINKS}::test_a_transaction_that_stands_idle_frees_its_locks",),
    ),
    Mutant(
        "idle in a transaction, with processes",
        "the same, with a worker that is frozen in a batch",
        NO_IDLE_TIMEOUT,
        (f"{ZOMBIES}::{FREE_IN_TIME}",),
    ),
    Mutant(
        "command timeout",
        "a link that hangs is waited for ten times as long",
        (Edit(DATABASE, "command_timeout=command_seconds,", "command_timeout=10 * (command_seconds or 0),"),),
        (f"{LINKS}::test_a_link_that_hangs_is_given_up_and_costs_one_error",),
    ),
    Mutant(
        "statement timeout",
        "a slow statement is not ended by the server",
        (Edit(DATABASE, '"statement_timeout": str(int(self.command_seconds * 900))', '"statement_timeout": "0"'),),
        (f"{LINKS}::test_each_pool_has_its_deadlines",),
    ),
    Mutant(
        "lock timeout",
        "a renewal or cancel waits for a lock as long as for a statement",
        (Edit(DATABASE, '"lock_timeout": str(self.lock_milliseconds)', '"lock_timeout": "0"'),),
        (f"{LINKS}::test_a_lock_held_by_another_transaction_is_given_up",),
    ),
)

STALENESS = (
    Mutant(
        "change time and inode",
        "a file is taken for unchanged by its size and modification time",
        (Edit(DOMAIN, "in zip(self, other, strict=True)", "in zip(self[:2], other[:2], strict=True)"),),
        (f"{FRESHNESS}::test_a_file_rewritten_with_its_size_and_time_is_modified_and_indexed_anew",),
    ),
    Mutant(
        "a write in the tick of the reading",
        "the stamp of a file that has just been written is kept as it is",
        (Edit(FILE_STAT, "if age_ns < tick_ns else found", "if False else found"),),
        (f"{FRESHNESS}::test_a_file_written_in_the_tick_in_which_it_was_read_is_seen",),
    ),
)
HANGING = (
    Mutant(
        "a listing that stands still",
        "a job waits for a drive that does not answer as long as it does not",
        (Edit(CAPTURE, "raise not_answering(root / look.place, STALLED_SECONDS)", "pass"),),
        (f"{HUNG}::test_folders_that_hang_fail_within_seconds_and_leave_their_slots_to_others",),
    ),
    Mutant(
        "git that stands still",
        "git is waited for until the limit of its whole run",
        (Edit(GIT_PROCESS, ">= stalled_seconds:", ">= 600:"),),
        (f"{GITS}::test_git_that_waits_for_a_pipe_is_ended_and_the_pipe_is_named",),
    ),
    Mutant(
        "git ends with its worker",
        "nobody ends git when its worker is killed",
        (Edit(GIT_PROCESS, "{ read -r _ <&3; kill -9 -$$; }", "{ read -r _ <&3; }"),),
        (f"{GITS}::test_a_program_ends_with_the_process_that_started_it_even_when_that_is_killed",),
    ),
)
MUTANTS = (*WRITING, *RUNNING, *DEADLINES, *STALENESS, *HANGING)
