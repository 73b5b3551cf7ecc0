-- name: list_heads (scheduler, before it decides what to read; primary key; is_live by the primary key of task_instance)
SELECT r.id, r.dag_id, r.state, r.run_after, r.revision, d.is_paused, coalesce(b.max_active_runs, d.max_active_runs) AS max_active_runs,
       coalesce(r.backfill_id, 0) AS backfill_id, coalesce(r.backfill_ordinal, 0) AS ordinal,
       coalesce(b.is_paused AND b.completed_at IS NULL, false) AS is_held,
       EXISTS (SELECT FROM task_instance t
               WHERE t.dag_run_id = r.id AND t.state IN ('queued', 'running', 'restarting')) AS is_live
FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id LEFT JOIN backfill b ON b.id = r.backfill_id WHERE r.id = ANY (%(ids)s);

-- name: list_active_heads (the sweep, and all runs of one DAG; partial index dag_run_active)
SELECT r.id, r.dag_id, r.state, r.run_after, r.revision, d.is_paused, coalesce(b.max_active_runs, d.max_active_runs) AS max_active_runs,
       coalesce(r.backfill_id, 0) AS backfill_id, coalesce(r.backfill_ordinal, 0) AS ordinal,
       coalesce(b.is_paused AND b.completed_at IS NULL, false) AS is_held, false AS is_live
FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id LEFT JOIN backfill b ON b.id = r.backfill_id
WHERE r.state IN ('queued', 'running') AND (%(dag_id)s::text IS NULL OR r.dag_id = %(dag_id)s)
ORDER BY r.run_after, r.id;

-- name: fetch_run (scheduler view; primary key)
SELECT r.id, r.dag_id, r.run_id, r.dag_version_id, r.run_type, r.state, r.logical_date, r.data_interval_start,
       r.data_interval_end, r.run_after, r.queued_at, r.start_date, r.conf::text AS conf, r.triggered_by, r.triggering_user_name,
       r.note, r.partition_key, r.partition_date, r.because, r.revision, d.is_paused,
       coalesce(b.max_active_runs, d.max_active_runs) AS max_active_runs,
       coalesce(r.backfill_id, 0) AS backfill_id, coalesce(r.backfill_ordinal, 0) AS ordinal
FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id LEFT JOIN backfill b ON b.id = r.backfill_id WHERE r.id = %(dag_run_id)s;

-- name: instances
SELECT t.dag_run_id, t.id, t.task_id, t.map_index, t.operator, t.state, t.try_number, t.max_tries, t.infra_faults, t.scheduled_at,
       t.queued_at, t.start_date, t.end_date, t.due_at, t.because, t.launcher, coalesce(w.status, '') AS wait
FROM task_instance t
LEFT JOIN wait w ON w.dag_run_id = t.dag_run_id AND w.task_id = t.task_id AND w.map_index = t.map_index
    AND CASE w.status WHEN 'waiting' THEN w.id = t.id AND t.state IN ('deferred', 'up_for_reschedule')
                      ELSE t.state IN ('scheduled', 'queued', 'running', 'restarting') END

-- name: of_runs (primary key prefix)
WHERE t.dag_run_id = ANY (%(ids)s::bigint[]) ORDER BY t.dag_run_id, t.task_id, t.map_index;

-- name: of_keys (primary key)
JOIN unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[]) AS u(dag_run_id, task_id, map_index)
  ON t.dag_run_id = u.dag_run_id AND t.task_id = u.task_id AND t.map_index = u.map_index;

-- name: of_try (agents' service, for a try that asks for its spec; unique index on id)
WHERE t.id = %(try_id)s::uuid;

-- name: list_past (previous run by logical date, a row per task: as Airflow, whoever asks for its past asks for all instances
-- of its task; downstream_done serves wait_for_downstream)
WITH previous AS (
    SELECT id FROM dag_run WHERE dag_id = %(dag_id)s AND logical_date < %(logical_date)s
    ORDER BY logical_date DESC LIMIT 1
)
SELECT t.task_id, bool_and(coalesce(t.state IN ('success', 'skipped'), false)) AS is_done,
       NOT EXISTS (
           SELECT FROM task_instance s
           WHERE s.dag_run_id = t.dag_run_id AND (t.task_id || '>' || s.task_id) = ANY (%(spec_edges)s)
             AND (s.state IS NULL OR s.state NOT IN ('success', 'skipped'))
       ) AS downstream_done
FROM previous p JOIN task_instance t ON t.dag_run_id = p.id
WHERE t.task_id = ANY (%(task_ids)s) GROUP BY t.dag_run_id, t.task_id;

-- name: has_previous_run (unique index on (dag_id, logical_date))
SELECT EXISTS (SELECT FROM dag_run WHERE dag_id = %(dag_id)s AND logical_date < %(logical_date)s);

-- name: fetch_tasks_with_a_past (ignore_first_depends_on_past; only for DAGs that depend on the past)
SELECT array_agg(DISTINCT t.task_id) FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id
WHERE r.dag_id = %(dag_id)s AND r.logical_date < %(logical_date)s;

-- name: list_pools
SELECT name, slots, include_deferred FROM pool;

-- name: list_runs_holding_slots (partial index task_instance_live; index task_instance_state)
SELECT DISTINCT t.dag_run_id FROM task_instance t JOIN pool p ON p.name = t.pool
WHERE t.state IN ('queued', 'running', 'restarting') OR (p.include_deferred AND t.state = 'deferred');

-- name: list_previous (the sweep, of runs that wait for their past; unique index on (dag_id, logical_date))
SELECT r.id, p.id AS previous_id, p.revision FROM dag_run r
LEFT JOIN LATERAL (
    SELECT p.id, p.revision FROM dag_run p WHERE p.dag_id = r.dag_id AND p.logical_date < r.logical_date
    ORDER BY p.logical_date DESC LIMIT 1
) p ON true
WHERE r.id = ANY (%(ids)s);
