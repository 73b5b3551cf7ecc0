-- name: columns
-- One BackfillResponse, and how far it is: moments by what was decided of them, runs by state (index dag_run_of_backfill).
b.id, b.dag_id, b.from_date, b.to_date, b.dag_run_conf, b.is_paused, b.reprocess_behavior, b.max_active_runs, b.created_at,
b.completed_at, b.updated_at, d.dag_display_name, json_build_object(
    'runs', s.asked, 'to_be_made', s.pending, 'skipped', s.skipped,
    'queued', r.queued, 'running', r.running, 'success', r.success, 'failed', r.failed) AS progress

-- name: source
FROM backfill b JOIN dag d ON d.dag_id = b.dag_id
LEFT JOIN LATERAL (
    SELECT count(*) AS asked, count(*) FILTER (WHERE decided_at IS NULL) AS pending,
           count(*) FILTER (WHERE exception_reason IS NOT NULL) AS skipped
    FROM backfill_dag_run WHERE backfill_id = b.id
) s ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'running') AS running,
           count(*) FILTER (WHERE state = 'success') AS success, count(*) FILTER (WHERE state = 'failed') AS failed
    FROM dag_run WHERE backfill_id = b.id
) r ON true

-- name: visible
b.dag_id = ANY (%(visible)s)

-- name: filters
(%(id)s::bigint IS NULL OR b.id = %(id)s) AND (%(dag_id)s::text IS NULL OR b.dag_id = %(dag_id)s)
AND (%(active)s::boolean IS NULL OR (b.completed_at IS NULL) = %(active)s)
