-- Every statement of the job engine. The clock is the database's: clock_timestamp(), because now() stands still
-- inside a transaction. `attempt` is the fencing token: each claim raises it and each write compares it.
-- Each transition writes its event in the same statement, so that the audit trail cannot miss one.
-- A part with a name in capitals is no statement: its text stands for its name in the others.

-- name: TOTALS
jsonb_build_object('files_total', files_total, 'files_indexed', files_indexed,
    'files_unchanged', files_unchanged, 'files_skipped', files_skipped, 'files_failed', files_failed,
    'chunks_created', chunks_created, 'progress_percentage', progress_percentage)

-- name: INTERVAL_SECONDS
greatest(0, CAST(extract(epoch FROM statement_timestamp() - coalesce(measured_at, statement_timestamp()))
        AS double precision))

-- name: BLOCK_COUNT
coalesce(CAST(metadata ->> 'block_count' AS integer), 0)

-- name: UNEXPECTED_ERRORS
coalesce(CAST(metadata ->> 'unexpected_errors' AS integer), 0)

-- name: start
-- Prevents: two active jobs for one repository. No row back means that one is active already. The same path on another
-- host is another repository.
WITH started AS (
  INSERT INTO codebase_mcp.indexing_jobs
    (id, repo_path, repo_name, project_id, host_id, force_reindex, metadata, progress_message)
  VALUES (:id, :repo_path, :repo_name, :project_id, :host_id, :force_reindex, CAST(:metadata AS jsonb),
    'waiting for a worker')
  ON CONFLICT (project_id, host_id, repo_path) WHERE status IN ('pending', 'running', 'blocked') DO NOTHING
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'created', jsonb_build_object('repo_path', repo_path, 'force_reindex', force_reindex) FROM started
)
SELECT * FROM started;

-- name: active_job
SELECT * FROM codebase_mcp.indexing_jobs
WHERE project_id = :project_id AND host_id = :host_id AND repo_path = :repo_path
  AND status IN ('pending', 'running', 'blocked');

-- name: fail_hopeless
-- Prevents: a file that kills the worker each time from doing so for ever.
WITH hopeless AS (
  SELECT id FROM codebase_mcp.indexing_jobs
  WHERE host_id = :host_id AND status = 'running' AND fruitless_attempts >= :fruitless_limit
    AND lease_expires_at < clock_timestamp()
  FOR UPDATE SKIP LOCKED
), last_file AS (
  SELECT hopeless.id, (SELECT relative_path FROM codebase_mcp.job_files f
    WHERE f.job_id = hopeless.id AND f.state = 'pending' ORDER BY f.ordinal LIMIT 1) AS path FROM hopeless
), failed AS (
  UPDATE codebase_mcp.indexing_jobs j
  SET status = 'failed', phase = 'done', slot = NULL, worker_id = NULL, lease_expires_at = NULL,
      finished_at = clock_timestamp(), error_type = 'WorkerDied',
      error_message = format('The worker died %s times in a row without progress, last before %s. '
        'Exclude that file with .mcpignore and start again; what was indexed is kept.',
        j.fruitless_attempts + 1, coalesce(quote_literal(l.path),
          CASE WHEN j.files_total > 0 THEN 'the index was finished' ELSE 'the files were listed' END)),
      progress_message = 'failed'
  FROM last_file l WHERE j.id = l.id
  RETURNING j.*
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'failed', TOTALS || jsonb_build_object('error_type', error_type, 'error_message', error_message)
  FROM failed
)
SELECT * FROM failed;

-- name: claim
-- Prevents: a job that is carried out on a host whose tree it is not about. Every part looks at the jobs of one host.
-- Prevents, too: more than three running jobs of a host (one_job_per_slot decides between racing claims) and starved orphans (an
-- orphan keeps its slot and comes first). A lease further ahead than twice the longest that settings allow is the
-- mark of a clock set back, and so is a job that was blocked in the future. A worker that takes back its own job has
-- outlived an outage of the database, which is no fruitless attempt.
-- Prevents, too: a job that overtakes an older one because somebody is just claiming that. There are as many places in
-- the line as free slots, and who holds a place keeps it until its claim is committed.
-- And: jobs that die with a worker because of another job's file. From its second fruitless attempt a job is a
-- suspect, and until it commits something it runs alone in its worker. One that nobody could take alone for a while is
-- taken all the same, so that busy workers cannot keep it waiting for ever.
WITH free AS (
  SELECT s FROM generate_series(1, 3) s
  WHERE NOT EXISTS (SELECT 1 FROM codebase_mcp.indexing_jobs r
    WHERE r.host_id = :host_id AND r.status = 'running' AND r.slot = s)
), line AS (
  SELECT id FROM codebase_mcp.indexing_jobs j
  WHERE host_id = :host_id AND (status = 'pending' OR (status = 'blocked' AND (retry_at <= clock_timestamp()
    OR (SELECT e.created_at FROM codebase_mcp.job_events e
      WHERE e.job_id = j.id AND e.event_type = 'blocked' ORDER BY e.id DESC LIMIT 1) > clock_timestamp())))
  ORDER BY created_at, id LIMIT (SELECT count(*) FROM free)
), candidate AS (
  SELECT id, slot, status AS old_status, worker_id AS old_worker_id FROM codebase_mcp.indexing_jobs j
  WHERE host_id = :host_id AND ((status IN ('pending', 'blocked') AND id IN (SELECT id FROM line))
     OR (status = 'running' AND (lease_expires_at < clock_timestamp()
           OR lease_expires_at > clock_timestamp() + make_interval(secs => 120))))
    AND NOT EXISTS (SELECT 1 FROM codebase_mcp.indexing_jobs mine
      WHERE mine.status = 'running' AND mine.worker_id = :worker_id AND mine.id <> j.id
        AND (mine.fruitless_attempts >= :suspect_from
          OR (j.fruitless_attempts + CASE WHEN j.status = 'running' THEN 1 ELSE 0 END >= :suspect_from
            AND coalesce(j.lease_expires_at, j.retry_at, j.progressed_at, j.created_at)
              > clock_timestamp() - make_interval(secs => :suspect_wait_seconds))))
  ORDER BY (status = 'running') DESC, created_at, id
  LIMIT 1 FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE codebase_mcp.indexing_jobs j
  SET status = 'running', attempt = attempt + 1, claimed_attempt = attempt + 1,
      fruitless_attempts = fruitless_attempts
        + CASE WHEN c.old_status = 'running' AND c.old_worker_id <> :worker_id THEN 1 ELSE 0 END,
      slot = coalesce(c.slot, (SELECT s FROM free ORDER BY random() LIMIT 1)), worker_id = :worker_id, host = :host,
      lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds), retry_at = NULL,
      started_at = coalesce(started_at, clock_timestamp()),
      phase = CASE WHEN files_total > 0 THEN 'indexing' ELSE 'discovering' END,
      progress_message = CASE WHEN files_total > 0 THEN 'indexing' ELSE 'listing files' END,
      progressed_at = clock_timestamp(), measured_at = clock_timestamp(),
      error_message = NULL, error_type = NULL, error_traceback = NULL
  FROM candidate c
  WHERE j.id = c.id
  RETURNING j.*, c.old_status
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, CASE WHEN old_status = 'blocked' THEN 'unblocked' WHEN attempt = 1 THEN 'started' ELSE 'resumed' END,
         jsonb_build_object('attempt', attempt, 'worker_id', worker_id, 'host', host, 'slot', slot,
           'after', old_status)
  FROM claimed
)
SELECT * FROM claimed;

-- name: renew
-- Prevents: a worker that lost its job (cancelled, or reclaimed after it froze) from going on.
-- No row back when :attempt is no longer the job's; the runner then stops. A lapsed lease that nobody took may be
-- renewed.
UPDATE codebase_mcp.indexing_jobs
SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
    progressed_at = CASE WHEN CAST(:has_advanced AS boolean) OR files_scanned < :files_scanned
      THEN clock_timestamp() ELSE progressed_at END,
    files_scanned = greatest(files_scanned, :files_scanned),
    progress_message = coalesce(:progress_message, progress_message)
WHERE id = :id AND attempt = :attempt AND status = 'running'
RETURNING id;

-- name: attach_repository
-- Prevents: a stale worker from pointing the job at a repository row.
UPDATE codebase_mcp.indexing_jobs SET repository_id = :repository_id
WHERE id = :id AND attempt = :attempt AND status = 'running'
RETURNING id;

-- name: may_capture
SELECT id FROM codebase_mcp.indexing_jobs
WHERE id = :id AND attempt = :attempt AND status = 'running' AND files_total = 0;

-- name: capture
-- Prevents: a file list captured twice. It comes after the list was copied into job_files, in the same transaction, so
-- that the job's row is not locked, and its lease not renewed, for as long as that takes.
WITH captured AS (
  UPDATE codebase_mcp.indexing_jobs
  SET files_total = :files_total, files_scanned = :files_total, files_unchanged = :files_unchanged,
      files_skipped = :files_skipped, files_failed = :files_failed, bytes_total = :bytes_total, phase = 'indexing',
      fruitless_attempts = 0, progress_message = 'indexing', metadata = metadata || CAST(:metadata AS jsonb),
      progressed_at = clock_timestamp(), measured_at = clock_timestamp(),
      lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds)
  WHERE id = :id AND attempt = :attempt AND status = 'running' AND files_total = 0
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'captured', jsonb_build_object('files_total', files_total, 'files_unchanged', files_unchanged,
    'files_skipped', files_skipped, 'files_failed', files_failed, 'bytes_total', bytes_total)
  FROM captured
)
SELECT id FROM captured;

-- name: commit_batch
-- Prevents: a write for a job that was cancelled or taken over. It is the first statement of the transaction that
-- replaces the files' rows; no row back means roll back and stop. Progress is never lowered.
-- The recent sums fade by a factor e each 25 seconds, so that their ratio is the pace of late, whatever the rhythm of
-- the batches. The interval begins at the last batch or claim: waiting, blocked and dead time are no part of it. Both
-- bounds only keep the arithmetic from underflowing.
WITH committed AS (
  UPDATE codebase_mcp.indexing_jobs
  SET files_indexed = files_indexed + :indexed, files_unchanged = files_unchanged + :unchanged,
      files_skipped = files_skipped + :skipped, files_failed = files_failed + :failed,
      chunks_created = chunks_created + :chunks, bytes_done = bytes_done + :bytes,
      fruitless_attempts = 0, phase = 'indexing', progress_message = 'indexing',
      lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
      progressed_at = statement_timestamp(), measured_at = statement_timestamp(),
      recent_seconds = INTERVAL_SECONDS + greatest(recent_seconds, 1e-9) * exp(-least(INTERVAL_SECONDS, 250) / 25),
      recent_bytes = :bytes + greatest(recent_bytes, 1e-9) * exp(-least(INTERVAL_SECONDS, 250) / 25),
      recent_files = CAST(:indexed + :unchanged + :skipped + :failed AS integer)
        + greatest(recent_files, 1e-9) * exp(-least(INTERVAL_SECONDS, 250) / 25),
      progress_percentage = greatest(progress_percentage,
        least(99, 100 * (bytes_done + :bytes) / greatest(bytes_total, 1))),
      metadata = CASE WHEN :is_checkpoint
        THEN (metadata - 'block_count' - 'unexpected_errors') || jsonb_build_object('checkpoint', jsonb_build_object(
          'files_done', files_indexed + files_unchanged + files_skipped + files_failed
            + CAST(:indexed + :unchanged + :skipped + :failed AS integer),
          'files_total', files_total, 'chunks_created', chunks_created + CAST(:chunks AS integer),
          'at', clock_timestamp()))
        ELSE metadata - 'block_count' - 'unexpected_errors' END
        || CASE WHEN CAST(:as_text AS integer) = 0 THEN '{}' ELSE jsonb_build_object('files_as_text',
          coalesce(CAST(metadata ->> 'files_as_text' AS integer), 0) + CAST(:as_text AS integer)) END
  WHERE id = :id AND attempt = :attempt AND status = 'running'
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'progress', (metadata -> 'checkpoint') || jsonb_build_object('progress_percentage', progress_percentage)
  FROM committed WHERE :is_checkpoint
)
SELECT * FROM committed;

-- name: mark_files
UPDATE codebase_mcp.job_files f SET state = u.state, reason = u.reason
FROM unnest(CAST(:ordinals AS integer[]), CAST(:states AS text[]), CAST(:reasons AS text[]))
  AS u(ordinal, state, reason)
WHERE f.job_id = :id AND f.ordinal = u.ordinal AND f.ordinal = ANY(CAST(:ordinals AS integer[]))
  AND f.state = 'pending';

-- name: redo_files
-- Prevents: an index made by two models, or by two versions of the program, when a job goes on with another than it
-- began with. What was done counts as not done; the percentage stays, because it must not fall.
WITH mine AS (
  UPDATE codebase_mcp.indexing_jobs
  SET files_indexed = 0, files_unchanged = 0, chunks_created = 0, bytes_done = 0,
      bytes_total = (SELECT coalesce(sum(f.size_bytes), 0) FROM codebase_mcp.job_files f
        WHERE f.job_id = :id AND f.state IN ('pending', 'indexed', 'unchanged')),
      metadata = (metadata - 'files_as_text')
        || jsonb_build_object('index_fingerprint', CAST(:index_fingerprint AS text))
  WHERE id = :id AND attempt = :attempt AND status = 'running'
  RETURNING id
), redone AS (
  UPDATE codebase_mcp.job_files f SET state = 'pending'
  FROM mine WHERE f.job_id = mine.id AND f.state IN ('indexed', 'unchanged')
)
SELECT id FROM mine;

-- name: fence
-- Prevents: the same as commit_batch, for the upkeep of the index that moves no file to another state.
UPDATE codebase_mcp.indexing_jobs
SET lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds), phase = CAST(:phase AS text),
    progress_percentage = CASE WHEN CAST(:phase AS text) = 'finishing' THEN 99 ELSE progress_percentage END,
    progress_message = :progress_message, progressed_at = clock_timestamp()
WHERE id = :id AND attempt = :attempt AND status = 'running'
RETURNING id;

-- name: finish
-- Prevents: 'completed' with a file left to do, and a second terminal event.
WITH finished AS (
  UPDATE codebase_mcp.indexing_jobs
  SET status = 'completed', phase = 'done', progress_percentage = 100, progress_message = :progress_message,
      slot = NULL, worker_id = NULL, lease_expires_at = NULL,
      completed_at = clock_timestamp(), finished_at = clock_timestamp()
  WHERE id = :id AND attempt = :attempt AND status = 'running'
    AND NOT EXISTS (SELECT 1 FROM codebase_mcp.job_files f WHERE f.job_id = :id AND f.state = 'pending')
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'completed', TOTALS || jsonb_build_object('left_out', CAST(:left_out AS jsonb)) FROM finished
)
SELECT * FROM finished;

-- name: fail
-- Prevents: a stale worker from failing its successor's run.
WITH failed AS (
  UPDATE codebase_mcp.indexing_jobs
  SET status = 'failed', phase = 'done', slot = NULL, worker_id = NULL, lease_expires_at = NULL,
      finished_at = clock_timestamp(), error_type = :error_type, error_message = :error_message,
      error_traceback = :error_traceback, progress_message = 'failed'
  WHERE id = :id AND attempt = :attempt AND status = 'running'
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'failed', TOTALS || jsonb_build_object('error_type', error_type, 'error_message', error_message)
  FROM failed
)
SELECT * FROM failed;

-- name: block
-- Prevents: a slot held while waiting. The delay doubles from 1 to 60 seconds with jitter; a committed batch resets it.
-- And: a job that fails for good because of one error that nobody foresaw (a program that is being upgraded, a bug that
-- strikes now and then). After so many of them in a row, without a committed batch, no row comes back.
WITH blocked AS (
  UPDATE codebase_mcp.indexing_jobs
  SET status = 'blocked', slot = NULL, worker_id = NULL, lease_expires_at = NULL,
      retry_at = clock_timestamp() + make_interval(secs => greatest(:retry_after_seconds,
        least(60, power(2, least(6, BLOCK_COUNT))) * (0.8 + 0.4 * random()))),
      metadata = metadata || jsonb_build_object('block_count', least(6, BLOCK_COUNT + 1))
        || CASE WHEN :is_unexpected THEN jsonb_build_object('unexpected_errors', UNEXPECTED_ERRORS + 1)
          ELSE CAST('{}' AS jsonb) END,
      error_type = :error_type, error_message = :error_message, progress_message = :error_message
  WHERE id = :id AND attempt = :attempt AND status = 'running'
    AND NOT (:is_unexpected AND UNEXPECTED_ERRORS + 1 >= :unexpected_limit)
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'blocked', jsonb_build_object('error_type', error_type, 'reason', error_message, 'retry_at', retry_at)
  FROM blocked
)
SELECT * FROM blocked;

-- name: release
-- Prevents: a graceful stop from costing a lease time, or from counting as a death of the worker.
WITH released AS (
  UPDATE codebase_mcp.indexing_jobs
  SET status = 'pending', slot = NULL, worker_id = NULL, lease_expires_at = NULL,
      progressed_at = clock_timestamp(), progress_message = 'waiting for a worker'
  WHERE id = :id AND attempt = :attempt AND status = 'running'
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'released', jsonb_build_object('attempt', attempt) FROM released
)
SELECT * FROM released;

-- name: cancel
-- Prevents: a cancel that waits for a worker. Terminal at once in every active state; the fence shuts in the same
-- instant.
WITH cancelled AS (
  UPDATE codebase_mcp.indexing_jobs
  SET status = 'cancelled', phase = 'done', slot = NULL, worker_id = NULL, lease_expires_at = NULL, retry_at = NULL,
      cancelled_at = clock_timestamp(), finished_at = clock_timestamp(), progress_message = 'cancelled'
  WHERE id = :id AND status IN ('pending', 'running', 'blocked')
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'cancelled', TOTALS FROM cancelled
)
SELECT * FROM cancelled;

-- name: prepare_adoption
-- Prevents: a job that two hosts work on. Locks the active jobs of a repository, so that none is claimed meanwhile, and
-- gives back those whose workers are dead; who adopts them stops at one whose worker lives.
WITH active AS (
  SELECT id, attempt, status, status = 'running' AND lease_expires_at >= clock_timestamp() AS is_living
  FROM codebase_mcp.indexing_jobs
  WHERE project_id = :project_id AND host_id IS NOT DISTINCT FROM CAST(:host_id AS text) AND repo_path = :repo_path
    AND status IN ('pending', 'running', 'blocked')
  FOR UPDATE
), released AS (
  UPDATE codebase_mcp.indexing_jobs j
  SET status = 'pending', slot = NULL, worker_id = NULL, lease_expires_at = NULL,
      progressed_at = clock_timestamp(), progress_message = 'waiting for a worker'
  FROM active a WHERE j.id = a.id AND a.status = 'running' AND NOT a.is_living
  RETURNING j.id, j.attempt
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'released', jsonb_build_object('attempt', attempt) FROM released
)
SELECT id, is_living FROM active;

-- name: note_adoption
INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
SELECT j.id, 'adopted', jsonb_build_object('from_host_id', CAST(:from_host AS text), 'to_host_id', j.host_id)
FROM codebase_mcp.indexing_jobs j WHERE j.id = ANY(CAST(:ids AS uuid[])) AND j.host_id = :to_host
RETURNING job_id;

-- name: hide_first_jobs
-- Jobs that ended before they had a repository to leave a mark on, of a repository that somebody has removed.
UPDATE codebase_mcp.indexing_jobs SET metadata = metadata || jsonb_build_object('hidden_at', clock_timestamp())
WHERE project_id = :project_id AND host_id IS NOT DISTINCT FROM CAST(:host_id AS text) AND repo_path = :repo_path
  AND repository_id IS NULL AND finished_at IS NOT NULL
RETURNING id;

-- name: evict_holder
-- Prevents: a cancel that waits for a batch, or for the time-out of a worker that froze in one.
SELECT pg_terminate_backend(l.pid) FROM codebase_mcp.indexing_jobs j
JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = j.xmax
WHERE j.id = :id AND l.pid <> pg_backend_pid();

-- name: evict_silent
-- Prevents: a lapsed job that nobody can claim, because its row is locked by a worker that froze, or whose link hangs,
-- in the middle of a COPY: no time-out of the server ends a session that waits for the rest of one.
WITH lapsed AS MATERIALIZED (
  SELECT xmax AS holder FROM codebase_mcp.indexing_jobs
  WHERE host_id = :host_id AND status = 'running' AND lease_expires_at < clock_timestamp()
)
SELECT pg_terminate_backend(a.pid) FROM lapsed
JOIN pg_locks l ON l.locktype = 'transactionid' AND l.granted AND l.transactionid = lapsed.holder
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE a.wait_event = 'ClientRead' AND a.pid <> pg_backend_pid()
  AND a.state_change < clock_timestamp() - make_interval(secs => :silent_seconds);

-- name: prune
-- Prevents: an endless delete. Anybody may run it at any time; it takes only what has been terminal long enough.
WITH old AS (
  SELECT id FROM codebase_mcp.indexing_jobs
  WHERE finished_at < clock_timestamp() - make_interval(days => :retention_days)
  ORDER BY finished_at LIMIT :limit FOR UPDATE SKIP LOCKED
)
DELETE FROM codebase_mcp.indexing_jobs j USING old WHERE j.id = old.id RETURNING j.id;

-- name: job
SELECT * FROM codebase_mcp.indexing_jobs WHERE id = :id;

-- name: events
SELECT event_type, event_data, created_at FROM codebase_mcp.job_events WHERE job_id = :id ORDER BY id;

-- name: files_left_out
SELECT relative_path, state, reason FROM codebase_mcp.job_files
WHERE job_id = :id AND state IN ('skipped', 'failed') ORDER BY (state = 'failed') DESC, ordinal LIMIT :limit;

-- name: reasons_left_out
-- A number in brackets tells of one file; without it, files that were left out for the same reason count as one.
SELECT state, left(regexp_replace(reason, ' \([^()]*[0-9][^()]*\)', '', 'g'), 120) AS kind, count(*) AS files
FROM codebase_mcp.job_files WHERE job_id = :id AND state IN ('skipped', 'failed')
GROUP BY state, kind ORDER BY state, files DESC, kind LIMIT :limit;

-- name: pending_files
SELECT ordinal, relative_path, size_bytes, mtime_ns FROM codebase_mcp.job_files
WHERE job_id = :id AND state = 'pending' AND ordinal > :after ORDER BY ordinal LIMIT :limit;

-- name: failed_files
-- The files that the last completed job of this repository could not index.
SELECT f.relative_path, f.size_bytes, f.mtime_ns, f.ctime_ns, f.inode, f.reason FROM codebase_mcp.job_files f
WHERE f.state = 'failed' AND f.job_id = (
  SELECT id FROM codebase_mcp.indexing_jobs
  WHERE project_id = :project_id AND host_id = :host_id AND repo_path = :repo_path AND status = 'completed'
    AND (CAST(:index_fingerprint AS text) IS NULL OR metadata ->> 'index_fingerprint' = :index_fingerprint)
  ORDER BY created_at DESC LIMIT 1);

-- name: left_out_by_last_job
-- Which of these paths the last completed job of a repository left out. No row: no such job is on record; one without a
-- path: it left out none of them.
SELECT f.relative_path, f.size_bytes, f.mtime_ns, f.ctime_ns, f.inode FROM (
  SELECT id FROM codebase_mcp.indexing_jobs
  WHERE project_id = :project_id AND host_id = :host_id AND repo_path = :repo_path AND status = 'completed'
  ORDER BY created_at DESC LIMIT 1
) AS last
LEFT JOIN codebase_mcp.job_files f
  ON f.job_id = last.id AND f.state IN ('skipped', 'failed') AND f.relative_path = ANY(CAST(:paths AS text[]));

-- name: waiting_work
-- What a server looks at to decide whether a worker must be spawned: work that a worker of its host could claim now.
SELECT count(*) FILTER (WHERE status = 'pending' OR (status = 'blocked' AND retry_at <= clock_timestamp())
         OR (status = 'running' AND lease_expires_at < clock_timestamp())) AS claimable,
       count(*) FILTER (WHERE status = 'running' AND lease_expires_at >= clock_timestamp()) AS running,
       count(*) AS active,
       greatest(0,
         max(extract(epoch FROM clock_timestamp() - lease_expires_at)) FILTER (WHERE status = 'running'),
         -- A worker takes new work within seconds of a slot's becoming free.
         CASE WHEN count(*) FILTER (WHERE status = 'running') < 3
           THEN max(extract(epoch FROM clock_timestamp() - greatest(coalesce(retry_at, progressed_at, created_at),
               (SELECT max(finished_at) FROM codebase_mcp.indexing_jobs
                 WHERE host_id = :host_id AND finished_at IS NOT NULL))))
             FILTER (WHERE status <> 'running') - 10
         END) AS longest_lapse_seconds
FROM codebase_mcp.indexing_jobs WHERE host_id = :host_id AND status IN ('pending', 'running', 'blocked');

-- name: recent_runs
-- What estimates rest on: the latest jobs of a host that were begun, and how long each lay still. How long one lay still that was
-- taken over from a dead worker, nobody knows.
SELECT j.id, j.repo_name, j.status, j.started_at, coalesce(j.finished_at, clock_timestamp()) AS ended_at,
       j.files_total, j.files_indexed, j.chunks_created, j.metadata -> 'to_index' AS to_index,
       j.metadata ->> 'index_fingerprint' AS index_fingerprint, lulls.paused_seconds, lulls.was_orphaned
FROM codebase_mcp.indexing_jobs j
CROSS JOIN LATERAL (
  SELECT coalesce(sum(extract(epoch FROM until - created_at))
           FILTER (WHERE event_type IN ('blocked', 'released')), 0) AS paused_seconds,
         coalesce(bool_or(event_type = 'resumed' AND event_data ->> 'after' = 'running'), false) AS was_orphaned
  FROM (
    SELECT event_type, event_data, created_at, lead(created_at) OVER (ORDER BY id) AS until
    FROM codebase_mcp.job_events
    WHERE job_id = j.id AND event_type IN ('blocked', 'unblocked', 'released', 'resumed')
  ) AS turns
) AS lulls
WHERE j.host_id = :host_id AND j.started_at IS NOT NULL ORDER BY j.created_at DESC LIMIT 50;

-- name: vanished_files
-- Prevents: hits in files that are gone. PROJECT stands for the project's schema. NOT IN is hashed whatever the planner
-- believes of a job that is not in its statistics yet; NOT EXISTS became a nested loop over all files.
SELECT c.id FROM PROJECT.code_files c
WHERE c.repository_id = :repository_id
  AND c.relative_path NOT IN (SELECT f.relative_path FROM codebase_mcp.job_files f
    WHERE f.job_id = :id
      AND (f.state IN ('pending', 'indexed', 'unchanged')
        OR f.reason LIKE 'permission denied%' OR f.reason LIKE 'cannot be read%'))
  AND NOT EXISTS (SELECT 1 FROM unnest(CAST(:unreadable_paths AS text[])) AS unreadable(path)
    WHERE c.relative_path = unreadable.path OR starts_with(c.relative_path, unreadable.path || '/'))
ORDER BY c.id LIMIT :limit;

-- name: job_with_secret_rules
SELECT id FROM codebase_mcp.indexing_jobs
WHERE project_id = :project_id AND repository_id = :repository_id AND status = 'completed'
  AND metadata ->> 'secret_rules' = :rules
LIMIT 1;

-- name: active_jobs
SELECT * FROM codebase_mcp.indexing_jobs
WHERE project_id = :project_id AND status IN ('pending', 'running', 'blocked') ORDER BY created_at;
