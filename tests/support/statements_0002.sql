-- Statements of the program before hosts were known, as it sends them to a database that has been migrated.

-- name: start
-- Prevents: two active jobs for one repository. No row back means that one is active already.
WITH started AS (
  INSERT INTO codebase_mcp.indexing_jobs
    (id, repo_path, repo_name, project_id, force_reindex, metadata, progress_message)
  VALUES (:id, :repo_path, :repo_name, :project_id, :force_reindex, CAST(:metadata AS jsonb), 'waiting for a worker')
  ON CONFLICT (project_id, repo_path) WHERE status IN ('pending', 'running', 'blocked') DO NOTHING
  RETURNING *
), event AS (
  INSERT INTO codebase_mcp.job_events (job_id, event_type, event_data)
  SELECT id, 'created', jsonb_build_object('repo_path', repo_path, 'force_reindex', force_reindex) FROM started
)
SELECT * FROM started;

-- name: claim
-- Prevents: more than three running jobs (one_job_per_slot decides between racing claims) and starved orphans (an
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
  WHERE NOT EXISTS (SELECT 1 FROM codebase_mcp.indexing_jobs r WHERE r.status = 'running' AND r.slot = s)
), line AS (
  SELECT id FROM codebase_mcp.indexing_jobs j
  WHERE status = 'pending' OR (status = 'blocked' AND (retry_at <= clock_timestamp()
    OR (SELECT e.created_at FROM codebase_mcp.job_events e
      WHERE e.job_id = j.id AND e.event_type = 'blocked' ORDER BY e.id DESC LIMIT 1) > clock_timestamp()))
  ORDER BY created_at, id LIMIT (SELECT count(*) FROM free)
), candidate AS (
  SELECT id, slot, status AS old_status, worker_id AS old_worker_id FROM codebase_mcp.indexing_jobs j
  WHERE ((status IN ('pending', 'blocked') AND id IN (SELECT id FROM line))
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
  SET status = 'running', attempt = attempt + 1,
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

