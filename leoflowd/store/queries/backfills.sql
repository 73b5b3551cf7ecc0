-- name: insert_backfill (unique index backfill_open: one that is not over per DAG)
INSERT INTO backfill (dag_id, from_date, to_date, dag_run_conf, reprocess_behavior, max_active_runs, run_on_latest_version,
                      triggering_user_name, created_at, updated_at)
VALUES (%(dag_id)s, %(from_date)s, %(to_date)s, %(conf)s::json, %(reprocess)s, %(max_active_runs)s, %(latest)s, %(user)s,
        %(now)s, %(now)s)
RETURNING id;

-- name: insert_slots (the moments of a new backfill, in the order in which their runs start)
INSERT INTO backfill_dag_run (backfill_id, sort_ordinal, logical_date, data_interval_start, data_interval_end, run_after,
                              partition_key, partition_date)
SELECT %(id)s, ordinality, logical_date, interval_start, interval_end, run_after, partition_key, partition_date
FROM unnest(%(logical_dates)s::timestamptz[], %(starts)s::timestamptz[], %(ends)s::timestamptz[], %(run_afters)s::timestamptz[],
            %(keys)s::text[], %(partition_dates)s::timestamptz[])
     WITH ORDINALITY AS u(logical_date, interval_start, interval_end, run_after, partition_key, partition_date, ordinality);

-- name: list_existing (dry run; unique index on (dag_id, logical_date))
SELECT id, logical_date, state FROM dag_run WHERE dag_id = %(dag_id)s AND logical_date = ANY (%(logical_dates)s::timestamptz[]);

-- name: lock_existing (before runs of these moments are made or run again; in order of id, as everybody locks them)
SELECT id, logical_date, state FROM dag_run WHERE dag_id = %(dag_id)s AND logical_date = ANY (%(logical_dates)s::timestamptz[])
ORDER BY id FOR NO KEY UPDATE;

-- name: list_partitions (runs of these partitions: one that is not over, or the newest; index dag_run_by_partition_key)
SELECT DISTINCT ON (partition_key) id, partition_key, state FROM dag_run
WHERE dag_id = %(dag_id)s AND partition_key = ANY (%(keys)s::text[])
ORDER BY partition_key, state IN ('success', 'failed'), id DESC;

-- name: list_durations (preview; index dag_run_recent)
SELECT extract(epoch FROM end_date - start_date)::float8 FROM (
    SELECT start_date, end_date FROM dag_run
    WHERE dag_id = %(dag_id)s AND state = 'success' AND start_date IS NOT NULL AND end_date IS NOT NULL
    ORDER BY run_after DESC, id DESC LIMIT 20
) newest;

-- name: list_open (whoever makes the runs; partial index backfill_open)
SELECT id, dag_id, is_paused FROM backfill WHERE completed_at IS NULL ORDER BY id;

-- name: lock_dag_of (lock order: dag, backfill, dag runs; against whoever deletes the DAG)
SELECT d.dag_id FROM dag d WHERE d.dag_id = (SELECT b.dag_id FROM backfill b WHERE b.id = %(id)s) FOR KEY SHARE;

-- name: lock_backfill (primary key)
SELECT id, dag_id, dag_run_conf::text AS conf, reprocess_behavior, run_on_latest_version, is_paused, triggering_user_name,
       completed_at
FROM backfill WHERE id = %(id)s FOR NO KEY UPDATE;

-- name: list_pending (partial index backfill_dag_run_pending)
SELECT sort_ordinal, logical_date, data_interval_start, data_interval_end, run_after, partition_key, partition_date
FROM backfill_dag_run
WHERE backfill_id = %(id)s AND decided_at IS NULL ORDER BY sort_ordinal LIMIT %(limit)s;

-- name: decide_slots (primary key)
UPDATE backfill_dag_run s SET dag_run_id = u.dag_run_id, exception_reason = u.reason, decided_at = %(now)s
FROM unnest(%(ordinals)s::int[], %(runs)s::bigint[], %(reasons)s::text[]) AS u(sort_ordinal, dag_run_id, reason)
WHERE s.backfill_id = %(id)s AND s.sort_ordinal = u.sort_ordinal AND s.decided_at IS NULL;

-- name: join_backfill (runs that this backfill has made, or runs again; the caller holds them)
UPDATE dag_run r SET backfill_id = %(id)s, backfill_ordinal = u.sort_ordinal, run_type = 'backfill', triggered_by = 'backfill',
       conf = coalesce(%(conf)s::json, r.conf), updated_at = %(now)s
FROM unnest(%(runs)s::bigint[], %(ordinals)s::int[]) AS u(id, sort_ordinal)
WHERE r.id = u.id;

-- name: update_paused
UPDATE backfill SET is_paused = %(paused)s, updated_at = %(now)s WHERE id = %(id)s;

-- name: list_queued (of a backfill that is cancelled; index dag_run_of_backfill)
SELECT id FROM dag_run WHERE backfill_id = %(id)s AND state = 'queued' ORDER BY id FOR NO KEY UPDATE;

-- name: complete (the caller holds the backfill)
UPDATE backfill SET completed_at = %(now)s, updated_at = %(now)s WHERE id = %(id)s;

-- name: complete_finished (partial indexes backfill_open, backfill_dag_run_pending and dag_run_of_backfill)
UPDATE backfill b SET completed_at = %(now)s, updated_at = %(now)s
WHERE b.completed_at IS NULL
  AND NOT EXISTS (SELECT FROM backfill_dag_run s WHERE s.backfill_id = b.id AND s.decided_at IS NULL)
  AND NOT EXISTS (SELECT FROM dag_run r WHERE r.backfill_id = b.id AND r.state IN ('queued', 'running'))
RETURNING b.id;
