-- name: insert_dag (keeps what is there; the columns of the current version follow in update_dag_current)
INSERT INTO dag (dag_id, is_paused, dag_display_name, created_at)
VALUES (%(dag_id)s, %(paused)s, %(dag_id)s, %(now)s) ON CONFLICT (dag_id) DO NOTHING;

-- name: lock_dag
SELECT dag_id FROM dag WHERE dag_id = %(dag_id)s FOR UPDATE;

-- name: fetch_version_by_digest (unique index)
SELECT id, version_number FROM dag_version WHERE dag_id = %(dag_id)s AND digest = %(digest)s;

-- name: fetch_version_by_number (unique index)
SELECT id, dag_id, version_number, digest, spec::text, source, bundle_digest, label
FROM dag_version WHERE dag_id = %(dag_id)s AND version_number = %(number)s;

-- name: fetch_version_by_id
SELECT id, dag_id, version_number, digest, spec::text, source, bundle_digest, label
FROM dag_version WHERE id = %(id)s;

-- name: fetch_current_version
SELECT v.id, v.dag_id, v.version_number, v.digest, v.spec::text, v.source, v.bundle_digest, v.label
FROM dag d JOIN dag_version v ON v.id = d.current_version_id WHERE d.dag_id = %(dag_id)s;

-- name: insert_version (the caller holds the lock of the dag row; returns the version's number)
INSERT INTO dag_version (id, dag_id, version_number, digest, spec, source, bundle_digest, label, signed_by, created_at)
SELECT %(id)s, %(dag_id)s, coalesce(max(version_number), 0) + 1, %(digest)s, %(spec)s::jsonb, %(source)s, %(bundle_digest)s,
       %(label)s, %(signed_by)s, %(now)s
FROM dag_version WHERE dag_id = %(dag_id)s
RETURNING version_number;

-- name: fetch_signer
SELECT signed_by FROM dag_version WHERE id = %(id)s;

-- name: update_signer (the caller holds the lock of the dag row)
UPDATE dag_version SET signed_by = %(signed_by)s WHERE id = %(id)s;

-- name: update_look_ahead (of a custom timetable: the one part of a version that is no part of its digest and counts;
-- the caller holds the lock of the dag row)
UPDATE dag_version SET spec = jsonb_set(spec, '{timetable}', %(timetable)s::jsonb) WHERE id = %(id)s;

-- name: update_dag_current
UPDATE dag SET
    current_version_id = %(version_id)s, rolled_back_from = NULL, is_stale = false, last_parsed_at = %(now)s,
    last_parse_duration_s = %(parse_duration_s)s, fileloc = %(fileloc)s, relative_fileloc = %(relative_fileloc)s,
    bundle_name = %(bundle_name)s, dag_display_name = %(dag_display_name)s, description = %(description)s,
    tags = %(tags)s, owners = %(owners)s, timetable_summary = %(timetable_summary)s,
    timetable_description = %(timetable_description)s, max_active_runs = %(max_active_runs)s,
    max_active_tasks = %(max_active_tasks)s, max_consecutive_failed_dag_runs = %(max_consecutive_failed_dag_runs)s,
    is_partitioned = %(is_partitioned)s
WHERE dag_id = %(dag_id)s;

-- name: update_paused
UPDATE dag SET is_paused = %(paused)s WHERE dag_id = %(dag_id)s AND %(now)s::timestamptz IS NOT NULL;

-- name: update_stale
UPDATE dag SET is_stale = true, last_expired_at = %(now)s, next_run_after = NULL
WHERE dag_id IN (SELECT dag_id FROM dag WHERE dag_id = ANY (%(dag_ids)s) AND NOT is_stale ORDER BY dag_id FOR NO KEY UPDATE);

-- name: delete_runs_of_dag (the caller holds the lock of the dag row; before the versions, which a writer of a run checks
-- at its commit while it holds that run)
WITH locked AS MATERIALIZED (SELECT id FROM dag_run WHERE dag_id = %(dag_id)s ORDER BY id FOR UPDATE)
DELETE FROM dag_run WHERE id IN (SELECT id FROM locked);

-- name: insert_deleted_dag (a stale one has no file that could bring it back)
INSERT INTO deleted_dag (dag_id, definition, bundle_name, relative_fileloc)
SELECT dag_id, %(definition)s, bundle_name, relative_fileloc FROM dag WHERE dag_id = %(dag_id)s AND NOT is_stale
ON CONFLICT (dag_id) DO UPDATE SET definition = excluded.definition, bundle_name = excluded.bundle_name,
    relative_fileloc = excluded.relative_fileloc;

-- name: fetch_deleted_definition
SELECT definition FROM deleted_dag WHERE dag_id = %(dag_id)s;

-- name: forget_deletions
DELETE FROM deleted_dag WHERE dag_id = ANY (%(dag_ids)s);

-- name: delete_dag (cascades to versions)
DELETE FROM dag WHERE dag_id = %(dag_id)s;

-- name: list_next_runs (timetable clock; last run by logical date over the unique index, or by partition over
-- dag_run_by_partition)
SELECT d.dag_id, d.current_version_id AS version_id, d.is_paused,
       last.logical_date AS last_logical_date, last.data_interval_start AS last_data_interval_start,
       last.data_interval_end AS last_data_interval_end, last.run_after AS last_run_after,
       part.run_after AS last_partition_run_after,
       num_nonnulls(d.next_run_after, d.next_logical_date) > 0 AS has_next, d.next_run_after,
       (SELECT count(*)::int FROM dag_run r
        WHERE r.dag_id = d.dag_id AND r.state IN ('queued', 'running') AND r.run_type <> 'backfill') AS active_runs
FROM dag d
LEFT JOIN LATERAL (
    SELECT r.logical_date, r.data_interval_start, r.data_interval_end, r.run_after FROM dag_run r
    WHERE r.dag_id = d.dag_id AND r.run_type IN ('scheduled', 'backfill')
    ORDER BY r.logical_date DESC NULLS LAST LIMIT 1
) last ON NOT d.is_partitioned
LEFT JOIN LATERAL (
    SELECT r.run_after FROM dag_run r
    WHERE r.dag_id = d.dag_id AND r.run_type IN ('scheduled', 'backfill') AND r.partition_date IS NOT NULL
    ORDER BY r.partition_date DESC LIMIT 1
) part ON d.is_partitioned
WHERE d.current_version_id IS NOT NULL AND NOT d.is_stale
  AND (%(dag_ids)s::text[] IS NULL OR d.dag_id = ANY (%(dag_ids)s));

-- name: list_dags_to_look_at (timetable clock, for what no hint told it; partial index dag_due, and all rows of dag)
SELECT dag_id FROM dag
WHERE current_version_id IS NOT NULL AND NOT is_stale
  AND ((next_run_after <= %(now)s AND NOT is_paused) OR last_parsed_at >= %(since)s);

-- name: update_next_run
UPDATE dag SET next_logical_date = %(logical_date)s, next_data_interval_start = %(start)s,
    next_data_interval_end = %(end)s, next_run_after = %(run_after)s
WHERE dag_id = %(dag_id)s;

-- name: list_bundles_in_use
SELECT DISTINCT v.bundle_digest FROM dag_version v
WHERE v.id IN (SELECT current_version_id FROM dag)
   OR v.id IN (SELECT dag_version_id FROM canary WHERE ended_at IS NULL)
   OR (v.dag_id, v.digest) IN (SELECT dag_id, rolled_back_from FROM dag)
   OR v.id IN (SELECT dag_version_id FROM dag_run WHERE state IN ('queued', 'running') OR updated_at >= %(since)s);

-- name: upsert_import_error
INSERT INTO import_error (filename, bundle_name, stack_trace, occurred_at)
VALUES (%(filename)s, %(bundle_name)s, %(stack_trace)s, %(now)s)
ON CONFLICT (bundle_name, filename) DO UPDATE SET stack_trace = excluded.stack_trace, occurred_at = excluded.occurred_at;

-- name: delete_import_error
DELETE FROM import_error WHERE filename = %(filename)s AND bundle_name = %(bundle_name)s;
