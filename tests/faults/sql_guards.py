"""The guards in the job engine's statements and tables: how each is taken out, and the tests that must notice."""

from __future__ import annotations

from tests.faults.mutation import Edit, Mutant

SQL = "src/codebase_mcp/jobs/queries.sql"
STORE = "src/codebase_mcp/jobs/store.py"
TABLES = "src/codebase_mcp/storage/tables.py"
MIGRATION = "src/codebase_mcp/storage/migrations/control/versions/v0003_hosts_and_file_identity.py"

CLAIMS = "tests/integration/test_job_claims.py"
FENCE = "tests/integration/test_job_fence.py"
RECORDS = "tests/integration/test_job_records.py"
RUNS = "tests/integration/test_job_runner.py"
TROUBLE = "tests/integration/test_job_trouble.py"
UNLUCKY = "tests/integration/test_job_guards.py"
SUSPECTS = "tests/integration/test_job_suspects.py"
HOSTS = "tests/integration/test_hosts.py"
ADOPTION = "tests/integration/test_adoption.py"
UPGRADED = "tests/integration/test_unowned.py"
ZOMBIES = "tests/faults/test_zombies.py"
RACES = "tests/faults/test_claims.py"
HISTORIES = "tests/integration/test_job_state_machine.py::test_every_history_of_calls_leaves_what_the_model_foretells"

FENCED = ("commit_batch", "renew", "fence", "finish", "fail", "block", "release")
TOKEN = "attempt = :attempt"
NO_TOKEN = "(attempt = :attempt OR true)"


def _statement(name: str) -> str:
    return f"-- name: {name}\n"


def _sql(statement: str, old: str, new: str) -> Edit:
    return Edit(SQL, old, new, within=_statement(statement))


def _stale(write: str) -> str:
    return f"{FENCE}::test_a_stale_attempt_writes_nothing[_{write}]"


def _token(statement: str, write: str) -> Mutant:
    return Mutant(
        f"token of {statement}",
        f"`attempt` is no longer compared by `{statement}`",
        (_sql(statement, TOKEN, NO_TOKEN),),
        (_stale(write), HISTORIES),
    )


def _status(statement: str, write: str) -> Mutant:
    return Mutant(
        f"status of {statement}",
        f"`{statement}` writes for a job that no longer runs",
        (_sql(statement, "AND status = 'running'", ""),),
        (f"{FENCE}::test_a_cancelled_job_is_written_no_more[_{write}]",),
    )


TOKENS = (
    *(
        _token(statement, statement.removesuffix("_batch").removesuffix("_repository"))
        for statement in (*FENCED, "attach_repository")
    ),
    Mutant(
        "token of capture",
        "`attempt` is no longer compared when the list of files is stored",
        (_sql("may_capture", TOKEN, NO_TOKEN), _sql("capture", TOKEN, NO_TOKEN)),
        (_stale("capture"),),
    ),
    Mutant(
        "token of redo_files",
        "`attempt` is no longer compared by `redo_files`",
        (_sql("redo_files", TOKEN, NO_TOKEN),),
        (HISTORIES,),
    ),
    Mutant(
        "every token, with processes",
        "`attempt` is compared nowhere",
        tuple(
            _sql(statement, TOKEN, NO_TOKEN)
            for statement in (*FENCED, "attach_repository", "may_capture", "capture", "redo_files")
        ),
        (f"{ZOMBIES}::test_a_worker_that_stood_still_before_a_batch_writes_none_of_it_and_goes_on_with_other_work",),
    ),
    *(_status(statement, statement.removesuffix("_batch")) for statement in ("commit_batch", "renew", "fail", "block")),
    Mutant(
        "terminal guard of cancel",
        "a job that has ended can be cancelled",
        (_sql("cancel", "AND status IN ('pending', 'running', 'blocked')", ""),),
        (f"{FENCE}::test_cancelling_a_job_that_has_ended_changes_nothing",),
    ),
    Mutant(
        "nothing left to do",
        "`finish` completes a job with pending files",
        (_sql("finish", "AND f.state = 'pending'", "AND false"),),
        (f"{FENCE}::test_a_job_with_a_file_left_to_do_does_not_finish", HISTORIES),
    ),
    Mutant(
        "one list of files",
        "the list can be captured twice",
        (
            _sql("may_capture", "AND files_total = 0", ""),
            _sql("capture", "AND files_total = 0", ""),
        ),
        (f"{FENCE}::test_a_list_is_captured_once",),
    ),
    Mutant(
        "a file moves once",
        "a file can leave its final state",
        (_sql("mark_files", "AND f.state = 'pending'", ""),),
        (f"{FENCE}::test_a_file_is_moved_out_of_pending_once",),
    ),
)

ACTIVE_CONFLICT = (
    "ON CONFLICT (project_id, host_id, repo_path) WHERE status IN ('pending', 'running', 'blocked') DO NOTHING"
)
DROP_SLOT_INDEX = 'op.drop_index("one_job_per_slot", "indexing_jobs", schema=SCHEMA)'
NO_SLOT_INDEX = (
    Edit(TABLES, "unique=True,", "", within='sa.Index(\n    "one_job_per_slot"'),
    Edit(MIGRATION, 'replace_index("one_job_per_slot", ["host_id", "slot"], RUNNING)', DROP_SLOT_INDEX),
)
INDEXES = (
    Mutant(
        "slot index",
        "`one_job_per_slot` is no unique index; free slots are only counted",
        NO_SLOT_INDEX,
        (f"{CLAIMS}::test_many_claimers_never_run_more_than_three_jobs", HISTORIES),
    ),
    Mutant(
        "slot index, with processes",
        "the same, raced for by the processes of the fault suite",
        NO_SLOT_INDEX,
        (f"{RACES}::test_eight_who_race_for_three_slots_never_run_four_jobs_and_finish_all",),
    ),
    Mutant(
        "one active job",
        "`one_active_job_per_repository` is no unique index; `start` looks before it inserts",
        (
            Edit(TABLES, "unique=True,", "", within='sa.Index(\n    "one_active_job_per_repository"'),
            Edit(
                MIGRATION,
                'replace_index("one_active_job_per_repository", ["project_id", "host_id", "repo_path"], ACTIVE)',
                'op.drop_index("one_active_job_per_repository", "indexing_jobs", schema=SCHEMA)',
            ),
            _sql("start", "VALUES (", "SELECT * FROM (VALUES ("),
            _sql(
                "start",
                ACTIVE_CONFLICT,
                ") AS new WHERE NOT EXISTS (SELECT 1 FROM codebase_mcp.indexing_jobs WHERE project_id = :project_id"
                " AND host_id = :host_id AND repo_path = :repo_path AND status IN ('pending', 'running', 'blocked'))",
            ),
        ),
        (f"{CLAIMS}::test_twenty_starts_of_one_repository_at_once_give_one_job", HISTORIES),
    ),
    Mutant(
        "the active job is found",
        "`start` without `ON CONFLICT`",
        (_sql("start", ACTIVE_CONFLICT, ""),),
        (f"{CLAIMS}::test_twenty_starts_of_one_repository_at_once_give_one_job",),
    ),
)

HOSTING = (
    Mutant(
        "host of claim",
        "a worker claims the jobs of every host",
        (
            _sql("claim", "WHERE host_id = :host_id AND (status = 'pending'", "WHERE (status = 'pending'"),
            _sql("claim", "WHERE host_id = :host_id AND ((status", "WHERE ((status"),
        ),
        (f"{HOSTS}::test_a_job_is_claimed_on_its_own_host_only",),
    ),
    Mutant(
        "host of a take-over",
        "a worker takes over the orphans of every host",
        (_sql("claim", "WHERE host_id = :host_id AND ((status", "WHERE ((status"),),
        (f"{HOSTS}::test_an_orphan_is_taken_over_on_its_own_host_only",),
    ),
    Mutant(
        "slots of a host",
        "running jobs of other hosts take up slots",
        (_sql("claim", "WHERE r.host_id = :host_id AND r.status", "WHERE r.status"),),
        (f"{HOSTS}::test_each_host_has_its_own_slots",),
    ),
    Mutant(
        "host of a start",
        "a start on another host joins the job at the same path",
        (
            _sql("active_job", "AND host_id = :host_id ", ""),
            _sql("start", "ON CONFLICT (project_id, host_id, repo_path)", "ON CONFLICT (project_id, repo_path)"),
            Edit(
                MIGRATION,
                'replace_index("one_active_job_per_repository", ["project_id", "host_id", "repo_path"], ACTIVE)',
                "pass",
            ),
            Edit(
                TABLES,
                "    indexing_jobs.c.host_id,\n",
                "",
                within='sa.Index(\n    "one_active_job_per_repository"',
            ),
        ),
        (f"{HOSTS}::test_the_same_path_on_two_hosts_is_two_repositories",),
    ),
    Mutant(
        "hosts of waiting work",
        "a server starts workers for the jobs of other hosts",
        (_sql("waiting_work", "WHERE host_id = :host_id AND status IN", "WHERE status IN"),),
        (f"{HOSTS}::test_the_work_of_another_host_is_none_of_this_one",),
    ),
    Mutant(
        "programs of the older revision",
        "a worker that knows no hosts can claim",
        (
            Edit(MIGRATION, "\"status <> 'running' OR claimed_attempt = attempt\"", '"true"'),
            Edit(TABLES, "\"status <> 'running' OR claimed_attempt = attempt\"", '"true"'),
        ),
        (f"{UPGRADED}::test_a_program_of_the_older_revision_claims_nothing",),
    ),
    Mutant(
        "adoption of the living",
        "a repository is taken from a host that works on it",
        (
            _sql(
                "prepare_adoption",
                "status = 'running' AND lease_expires_at >= clock_timestamp() AS is_living",
                "false AS is_living",
            ),
        ),
        (f"{ADOPTION}::test_what_a_living_worker_is_at_is_not_adopted",),
    ),
    Mutant(
        "one owner",
        "a host takes a repository of the older revision that another one took in the same moment",
        (
            Edit(
                "src/codebase_mcp/storage/hosts.py",
                '" WHERE r.host_id IS NOT DISTINCT FROM CAST(:from_host AS text) AND',
                '" WHERE (true OR r.host_id IS NOT DISTINCT FROM CAST(:from_host AS text)) AND',
            ),
        ),
        (f"{UPGRADED}::test_of_two_hosts_that_open_at_once_one_owns_a_repository",),
    ),
)

CLAIMING = (
    Mutant(
        "skip locked",
        "`claim` waits for rows that others have locked",
        (_sql("claim", "FOR UPDATE SKIP LOCKED", "FOR UPDATE"),),
        (HISTORIES,),
    ),
    Mutant(
        "lock of the candidate",
        "`claim` does not lock the row it chose",
        (_sql("claim", "FOR UPDATE SKIP LOCKED", ""),),
        (f"{CLAIMS}::test_many_claimers_never_run_more_than_three_jobs", HISTORIES),
    ),
    Mutant(
        "orphans first",
        "orphans wait behind older jobs",
        (_sql("claim", "(status = 'running') DESC, ", ""),),
        (f"{CLAIMS}::test_an_orphan_goes_before_older_work_and_keeps_its_slot",),
    ),
    Mutant(
        "orphans keep their slot",
        "a take-over needs a free slot",
        (
            _sql(
                "claim",
                "slot = coalesce(c.slot, (SELECT s FROM free ORDER BY random() LIMIT 1)), worker_id",
                "slot = (SELECT s FROM free ORDER BY random() LIMIT 1), worker_id",
            ),
            _sql("claim", "WHERE j.id = c.id\n", "WHERE j.id = c.id AND EXISTS (SELECT 1 FROM free)\n"),
        ),
        (f"{CLAIMS}::test_an_orphan_goes_before_older_work_and_keeps_its_slot", HISTORIES),
    ),
    Mutant(
        "places in the line",
        "a job overtakes one that somebody is just claiming",
        (_sql("claim", "AND id IN (SELECT id FROM line)", "AND EXISTS (SELECT 1 FROM free)"),),
        (f"{CLAIMS}::test_a_job_does_not_overtake_an_older_one_that_somebody_is_just_claiming", HISTORIES),
    ),
    Mutant(
        "first come, first served",
        "jobs are claimed in any order",
        (_sql("claim", "created_at, id\n", "md5(CAST(id AS text))\n"),),
        (f"{CLAIMS}::test_jobs_are_claimed_in_the_order_in_which_they_were_started", HISTORIES),
    ),
    Mutant(
        "lapsed leases",
        "a lapsed lease cannot be claimed",
        (_sql("claim", "lease_expires_at < clock_timestamp()", "false"),),
        (_stale("commit"),),
    ),
    Mutant(
        "living leases",
        "a lease that has not lapsed can be claimed",
        (_sql("claim", "lease_expires_at < clock_timestamp()", "true"),),
        (f"{CLAIMS}::test_a_fourth_job_waits_until_a_slot_is_free", HISTORIES),
    ),
    Mutant(
        "clock set back",
        "an endless lease does not count as lapsed",
        (_sql("claim", "OR lease_expires_at > clock_timestamp() + make_interval(secs => 120)", ""),),
        (f"{CLAIMS}::test_a_lease_far_in_the_future_counts_as_lapsed", HISTORIES),
    ),
    Mutant(
        "giving up",
        "a job that kills its worker is claimed for ever",
        (
            _sql(
                "fail_hopeless",
                "fruitless_attempts >= :fruitless_limit",
                "fruitless_attempts >= 1000 + :fruitless_limit",
            ),
        ),
        (f"{CLAIMS}::test_a_job_is_given_up_after_five_fruitless_take_overs", HISTORIES),
    ),
    Mutant(
        "giving up only the dead",
        "a hopeless job is failed under a living worker",
        (_sql("fail_hopeless", "AND lease_expires_at < clock_timestamp()", ""),),
        (f"{CLAIMS}::test_a_hopeless_job_whose_worker_lives_is_left_alone", HISTORIES),
    ),
    Mutant(
        "suspects run alone",
        "jobs whose workers died share a worker with others",
        (_sql("claim", "mine.worker_id = :worker_id AND", "mine.worker_id = :worker_id AND :suspect_from < 0 AND"),),
        (f"{SUSPECTS}::test_after_one_death_all_jobs_are_taken_together_and_after_two_each_alone", HISTORIES),
    ),
    Mutant(
        "suspects do not wait for ever",
        "a suspect that cannot be alone is never taken",
        (
            _sql(
                "claim",
                "clock_timestamp() - make_interval(secs => :suspect_wait_seconds)",
                "clock_timestamp() - make_interval(secs => 1000000 * :suspect_wait_seconds)",
            ),
        ),
        (f"{SUSPECTS}::test_a_suspect_that_nobody_could_take_alone_for_a_while_is_taken_by_a_busy_worker", HISTORIES),
    ),
    Mutant(
        "a cancel throws out",
        "a cancel waits for whoever holds the row",
        (
            Edit(
                STORE,
                '                await _rows(connection, "evict_holder", {"id": job_id})\n',
                "                pass\n",
            ),
        ),
        (f"{UNLUCKY}::test_a_cancel_throws_out_whoever_holds_the_job", HISTORIES),
    ),
    Mutant(
        "unresponsive clients are terminated",
        "a client that stopped responding in a COPY keeps a lapsed job",
        (
            Edit(
                STORE,
                "            if job is None:\n                await _rows",
                "            if False:\n                await _rows",
            ),
        ),
        (f"{UNLUCKY}::test_a_lapsed_job_is_wrested_from_a_client_that_has_fallen_silent",),
    ),
    Mutant(
        "a batch is a fruit",
        "a committed batch does not reset the count of fruitless take-overs",
        (_sql("commit_batch", "fruitless_attempts = 0, ", ""),),
        (f"{CLAIMS}::test_a_captured_list_or_a_committed_batch_resets_the_fruitless_take_overs", HISTORIES),
    ),
    Mutant(
        "waiting is not dying",
        "every claim counts as a take-over",
        (
            _sql(
                "claim",
                "WHEN c.old_status = 'running' AND c.old_worker_id <> :worker_id THEN 1",
                "WHEN :worker_id <> gen_random_uuid() THEN 1",
            ),
        ),
        (f"{CLAIMS}::test_waiting_and_being_released_count_as_no_fruitless_take_over", HISTORIES),
    ),
)

RECORDING = (
    Mutant(
        "event with its transition",
        "`block` writes no event",
        (_sql("block", "FROM blocked\n)", "FROM blocked WHERE false\n)"),),
        (f"{RECORDS}::test_every_transition_leaves_its_event", HISTORIES),
    ),
    Mutant(
        "event in the same transaction",
        "the event of a release is written a moment later",
        (
            _sql("release", "FROM released\n)", "FROM released WHERE false\n)"),
            Edit(
                STORE,
                '    return await _transition(database, "release", claim.token)',
                '    job = await _transition(database, "release", claim.token)\n'
                "    if job:\n"
                "        async with database.transaction() as connection:\n"
                '            told = "INSERT INTO codebase_mcp.job_events (job_id, event_type) VALUES (:id, :told)"\n'
                '            await connection.execute(sa.text(told), {"id": job.id, "told": "released"})\n'
                "    return job",
            ),
        ),
        (HISTORIES,),
    ),
    Mutant(
        "progress never falls",
        "`greatest()` around the percentage",
        (
            _sql(
                "commit_batch",
                "progress_percentage = greatest(progress_percentage,",
                "progress_percentage = greatest(0,",
            ),
        ),
        (f"{RECORDS}::test_progress_never_falls", HISTORIES),
    ),
    Mutant(
        "backoff",
        "a blocked job is tried again each second",
        (_sql("block", "power(2, least(6, ", "power(1, least(6, "),),
        (f"{RECORDS}::test_the_delay_doubles_up_to_a_minute_and_a_batch_resets_it",),
    ),
    Mutant(
        "end of the backoff",
        "a committed batch does not reset the delay",
        (
            _sql("commit_batch", "(metadata - 'block_count' - 'unexpected_errors')", "metadata"),
            _sql("commit_batch", "ELSE metadata - 'block_count' - 'unexpected_errors' END", "ELSE metadata END"),
        ),
        (f"{RECORDS}::test_the_delay_doubles_up_to_a_minute_and_a_batch_resets_it", HISTORIES),
    ),
    Mutant(
        "jitter",
        "all blocked jobs wait equally long",
        (_sql("block", "(0.8 + 0.4 * random())", "1"),),
        (f"{UNLUCKY}::test_jobs_that_are_blocked_together_come_back_one_by_one",),
    ),
    Mutant(
        "retention",
        "`prune` takes jobs that ended just now",
        (
            _sql(
                "prune",
                "finished_at < clock_timestamp() - make_interval(days => :retention_days)",
                "finished_at < clock_timestamp() + 0 * make_interval(days => :retention_days)",
            ),
        ),
        (f"{RECORDS}::test_jobs_that_ended_long_ago_go_with_their_files_and_events", HISTORIES),
    ),
    Mutant(
        "retention of active jobs",
        "`prune` goes by the age of a job, not by its end",
        (_sql("prune", "WHERE finished_at <", "WHERE created_at <"),),
        (f"{RECORDS}::test_an_active_job_is_never_pruned",),
    ),
)

KEEPING = (
    Mutant(
        "unexpected errors come to an end",
        "a job that meets the same error each time is tried for ever",
        (
            _sql(
                "block",
                "AND NOT (:is_unexpected AND UNEXPECTED_ERRORS + 1 >= :unexpected_limit)",
                "AND :unexpected_limit > 0",
            ),
        ),
        (f"{TROUBLE}::test_an_error_that_nobody_foresaw_fails_the_job_only_when_it_comes_again_and_again",),
    ),
    Mutant(
        "progress forgives unexpected errors",
        "errors that came long ago count against a job that gets on",
        (
            _sql(
                "commit_batch",
                "ELSE metadata - 'block_count' - 'unexpected_errors' END",
                "ELSE metadata - 'block_count' END",
            ),
        ),
        (f"{TROUBLE}::test_a_committed_batch_ends_a_row_of_unexpected_errors",),
    ),
    Mutant(
        "unreadable directories",
        "files below a directory that cannot be read are removed",
        (
            _sql(
                "vanished_files",
                "WHERE c.relative_path = unreadable.path OR starts_with",
                "WHERE false AND starts_with",
            ),
        ),
        (f"{RUNS}::test_rows_below_an_unreadable_directory_are_kept",),
    ),
    Mutant(
        "unreadable files",
        "a file that cannot be read is removed",
        (_sql("vanished_files", "OR f.reason LIKE 'permission denied%' OR f.reason LIKE 'cannot be read%'", ""),),
        (f"{RUNS}::test_a_file_that_cannot_be_read_keeps_its_rows",),
    ),
)

MUTANTS = (*TOKENS, *INDEXES, *HOSTING, *CLAIMING, *RECORDING, *KEEPING)
