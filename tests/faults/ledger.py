"""A record, kept by triggers, of who wrote what and when: the evidence that the invariants are checked against.

Everything lies in a schema of its own. One sequence numbers all entries, and an entry is made while the writer holds
the lock of the job's row, so that the numbers are the order in which the writes took effect; what was rolled back has
left no entry. A trigger on CREATE TABLE puts the files of projects under watch as soon as a job has made them.
"""

from __future__ import annotations

import asyncpg

from codebase_mcp.storage.address import driver_address

_TABLES = """
CREATE SCHEMA ledger;
CREATE SEQUENCE ledger.order_of_writes;
CREATE TABLE ledger.transitions (
  id bigint PRIMARY KEY DEFAULT nextval('ledger.order_of_writes'),
  at timestamptz NOT NULL DEFAULT clock_timestamp(), xid bigint NOT NULL, pid integer NOT NULL, writer text NOT NULL,
  operation text NOT NULL, job_id uuid NOT NULL, project_id text NOT NULL, host_id text, repo_path text NOT NULL,
  old_status text, status text NOT NULL, old_attempt integer, attempt integer NOT NULL, old_worker_id uuid,
  worker_id uuid, slot smallint, old_progress smallint, progress smallint NOT NULL, old_files_indexed integer,
  files_indexed integer NOT NULL, old_lease timestamptz, lease timestamptz, retry_at timestamptz, error_type text);
CREATE INDEX ON ledger.transitions (xid);
CREATE INDEX ON ledger.transitions (job_id, id);
CREATE TABLE ledger.effects (
  id bigint PRIMARY KEY DEFAULT nextval('ledger.order_of_writes'),
  at timestamptz NOT NULL DEFAULT clock_timestamp(), xid bigint NOT NULL, pid integer NOT NULL, writer text NOT NULL,
  kind text NOT NULL, job_id uuid, attempt integer, is_fenced boolean NOT NULL, path text NOT NULL);
CREATE INDEX ON ledger.effects (job_id, kind, path);
CREATE VIEW ledger.claims AS
  SELECT id, at, job_id, attempt, worker_id, writer, old_status, old_worker_id, old_lease FROM ledger.transitions
  WHERE status = 'running' AND attempt > old_attempt;
CREATE FUNCTION ledger.claimer(job uuid, before bigint) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT writer FROM ledger.claims c WHERE c.job_id = job AND c.id < before ORDER BY c.id DESC LIMIT 1
$$;
"""

_TRANSITIONS = """
CREATE FUNCTION ledger.note_transition() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE kept codebase_mcp.indexing_jobs := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
DECLARE old_one codebase_mcp.indexing_jobs := CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE OLD END;
BEGIN
  INSERT INTO ledger.transitions (xid, pid, writer, operation, job_id, project_id, host_id, repo_path, old_status,
    status, old_attempt, attempt, old_worker_id, worker_id, slot, old_progress, progress, old_files_indexed,
    files_indexed, old_lease, lease, retry_at, error_type)
  VALUES (CAST(CAST(pg_current_xact_id() AS text) AS bigint), pg_backend_pid(), current_setting('application_name'),
    TG_OP, kept.id, kept.project_id, kept.host_id, kept.repo_path, old_one.status, kept.status, old_one.attempt,
    kept.attempt, old_one.worker_id, kept.worker_id, kept.slot, old_one.progress_percentage, kept.progress_percentage,
    old_one.files_indexed, kept.files_indexed, old_one.lease_expires_at, kept.lease_expires_at, kept.retry_at,
    kept.error_type);
  RETURN NULL;
END $$;
CREATE TRIGGER ledger_of_transitions AFTER INSERT OR UPDATE OR DELETE ON codebase_mcp.indexing_jobs
  FOR EACH ROW EXECUTE FUNCTION ledger.note_transition();
"""

_EFFECTS = """
CREATE FUNCTION ledger.note_effect(kind text, job uuid, path text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
  INSERT INTO ledger.effects (xid, pid, writer, kind, job_id, attempt, is_fenced, path)
  SELECT here.xid, pg_backend_pid(), current_setting('application_name'), kind, coalesce(job, fence.job_id),
    (SELECT attempt FROM codebase_mcp.indexing_jobs j WHERE j.id = coalesce(job, fence.job_id)),
    fence.job_id IS NOT NULL AND fence.job_id = coalesce(job, fence.job_id), path
  FROM (SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS xid) here
  LEFT JOIN LATERAL (SELECT t.job_id FROM ledger.transitions t WHERE t.xid = here.xid ORDER BY t.id LIMIT 1) fence
    ON true
$$;
CREATE FUNCTION ledger.note_file_inserted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  PERFORM ledger.note_effect('file written', n.indexed_by_job, n.relative_path) FROM new_rows n;
  RETURN NULL;
END $$;
CREATE FUNCTION ledger.note_file_updated() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  PERFORM ledger.note_effect('file updated', NULL, n.relative_path) FROM new_rows n;
  RETURN NULL;
END $$;
CREATE FUNCTION ledger.note_state() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  PERFORM ledger.note_effect('marked ' || n.state, n.job_id, n.relative_path)
  FROM new_rows n JOIN old_rows o USING (job_id, ordinal) WHERE n.state <> o.state;
  RETURN NULL;
END $$;
CREATE TRIGGER ledger_of_states AFTER UPDATE ON codebase_mcp.job_files
  REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION ledger.note_state();
"""

_PROJECTS = """
CREATE FUNCTION ledger.watch_new_files_table() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE made record;
BEGIN
  FOR made IN SELECT DISTINCT schema_name FROM pg_event_trigger_ddl_commands()
    WHERE object_type = 'table' AND starts_with(schema_name, 'cb_proj_') AND object_identity LIKE '%.code_files' LOOP
    EXECUTE format('CREATE TRIGGER ledger_of_new_files AFTER INSERT ON %I.code_files REFERENCING NEW TABLE AS new_rows'
      ' FOR EACH STATEMENT EXECUTE FUNCTION ledger.note_file_inserted()', made.schema_name);
    EXECUTE format('CREATE TRIGGER ledger_of_changed_files AFTER UPDATE ON %I.code_files REFERENCING NEW TABLE AS'
      ' new_rows FOR EACH STATEMENT EXECUTE FUNCTION ledger.note_file_updated()', made.schema_name);
  END LOOP;
END $$;
CREATE EVENT TRIGGER ledger_of_projects ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
  EXECUTE FUNCTION ledger.watch_new_files_table();
"""


async def install(url: str) -> None:
    """Puts a database that has the control schema, and as yet no project, under watch."""
    dsn, hosts = driver_address(url)
    connection = await asyncpg.connect(dsn, host=hosts)
    try:
        await connection.execute(_TABLES + _TRANSITIONS + _EFFECTS + _PROJECTS)
    finally:
        await connection.close()
