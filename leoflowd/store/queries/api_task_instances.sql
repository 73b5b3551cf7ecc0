-- name: columns
-- One TaskInstanceResponse. rendered_fields is null until the task process reported them.
t.id, t.task_id, r.dag_id, r.run_id AS dag_run_id, t.map_index, t.start_date, t.end_date,
extract(epoch FROM t.end_date - t.start_date)::float8 AS duration,
t.state, t.try_number, t.max_tries, t.task_display_name, d.dag_display_name, t.hostname, t.unixname, t.pool, t.pool_slots, t.queue,
t.priority_weight, t.operator, t.operator_name, t.queued_at AS queued_when, t.scheduled_at AS scheduled_when,
t.pid, t.executor, '{}' AS executor_config,
jsonb_build_object('id', v.id, 'version_number', v.version_number, 'dag_id', v.dag_id,
    'bundle_name', d.bundle_name, 'bundle_version', nullif(v.bundle_digest, ''),
    'created_at', to_char(v.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'dag_display_name', d.dag_display_name, 'bundle_url', NULL) AS dag_version,
r.logical_date, r.run_after, t.note,
coalesce(t.rendered_map_index, nullif(t.map_index, -1)::text) AS rendered_map_index, t.rendered_fields,
-- Airflow's TriggerResponse and JobResponse for what is deferred: the pool waits, in the leader's process.
CASE WHEN t.state = 'deferred' THEN (
    SELECT json_build_object('id', ('x' || right(w.id::text, 12))::bit(48)::bigint,
        'classpath', 'leoflow_sensors.' || w.kind,
        'kwargs', w.probe,  -- opened in Python: the operators of json fail on a NUL
        'created_date', to_char(w.registered_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'queue', NULL, 'triggerer_id', (SELECT l.term FROM leadership l WHERE l.holder <> ''))
    FROM wait w WHERE w.id = t.id AND w.status = 'waiting') END AS trigger,
CASE WHEN t.state = 'deferred' THEN (
    SELECT jsonb_build_object('id', l.term, 'dag_id', NULL, 'state', 'running', 'job_type', 'TriggererJob', 'start_date', NULL,
        'end_date', NULL, 'latest_heartbeat', to_char(l.heartbeat_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'executor_class', NULL, 'hostname', split_part(l.holder, '/', 1), 'unixname', NULL, 'dag_display_name', NULL)
    FROM leadership l WHERE l.holder <> '') END AS triggerer_job

-- name: source
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id JOIN dag d ON d.dag_id = r.dag_id
JOIN dag_version v ON v.id = t.dag_version_id

-- name: row_key
t.id

-- name: narrow
FROM task_instance t LEFT JOIN dag_run r ON r.id = t.dag_run_id LEFT JOIN dag d ON d.dag_id = r.dag_id
LEFT JOIN dag_version v ON v.id = t.dag_version_id

-- name: visible
r.dag_id = ANY (%(visible)s)

-- name: filters
-- One run: primary key. All runs with a state: task_instance_state; by start date: task_instance_by_start.
(%(dag_id)s::text IS NULL OR r.dag_id = %(dag_id)s)
AND (%(run_id)s::text IS NULL OR r.run_id = %(run_id)s)
AND (%(dag_ids)s::text[] IS NULL OR r.dag_id = ANY (%(dag_ids)s))
AND (%(run_ids)s::text[] IS NULL OR r.run_id = ANY (%(run_ids)s))
AND (%(task_id)s::text IS NULL OR t.task_id = %(task_id)s)
AND (%(task_ids)s::text[] IS NULL OR t.task_id = ANY (%(task_ids)s))
AND (%(only_map_index)s::int IS NULL OR t.map_index = %(only_map_index)s)
AND (NOT %(mapped)s::bool OR t.map_index >= 0)
AND (%(map_index)s::int[] IS NULL OR t.map_index = ANY (%(map_index)s))
AND (%(state)s::text[] IS NULL OR t.state = ANY (%(state)s) OR (%(state_none)s::bool AND t.state IS NULL))
AND (%(pool)s::text[] IS NULL OR t.pool = ANY (%(pool)s))
AND (%(queue)s::text[] IS NULL OR t.queue = ANY (%(queue)s))
AND (%(executor)s::text[] IS NULL OR t.executor = ANY (%(executor)s))
AND (%(operator)s::text[] IS NULL OR t.operator = ANY (%(operator)s))
AND (%(version_number)s::int[] IS NULL OR v.version_number = ANY (%(version_number)s))
AND (%(try_number)s::int[] IS NULL OR t.try_number = ANY (%(try_number)s))
AND (%(task_display_name_ilike)s::text[] IS NULL OR t.task_display_name ILIKE ANY (%(task_display_name_ilike)s))
AND (%(task_display_name_like)s::text[] IS NULL OR t.task_display_name LIKE ANY (%(task_display_name_like)s))
AND (%(dag_id_ilike)s::text[] IS NULL OR r.dag_id ILIKE ANY (%(dag_id_ilike)s))
AND (%(dag_id_like)s::text[] IS NULL OR r.dag_id LIKE ANY (%(dag_id_like)s))
AND (%(run_id_ilike)s::text[] IS NULL OR r.run_id ILIKE ANY (%(run_id_ilike)s))
AND (%(run_id_like)s::text[] IS NULL OR r.run_id LIKE ANY (%(run_id_like)s))
AND (%(pool_name_ilike)s::text[] IS NULL OR t.pool ILIKE ANY (%(pool_name_ilike)s))
AND (%(pool_name_like)s::text[] IS NULL OR t.pool LIKE ANY (%(pool_name_like)s))
AND (%(queue_name_ilike)s::text[] IS NULL OR t.queue ILIKE ANY (%(queue_name_ilike)s))
AND (%(queue_name_like)s::text[] IS NULL OR t.queue LIKE ANY (%(queue_name_like)s))
AND (%(operator_name_ilike)s::text[] IS NULL OR t.operator_name ILIKE ANY (%(operator_name_ilike)s))
AND (%(operator_name_like)s::text[] IS NULL OR t.operator_name LIKE ANY (%(operator_name_like)s))
AND (%(rendered_map_index_ilike)s::text[] IS NULL OR coalesce(t.rendered_map_index, nullif(t.map_index, -1)::text) ILIKE ANY (%(rendered_map_index_ilike)s))
AND (%(rendered_map_index_like)s::text[] IS NULL OR coalesce(t.rendered_map_index, nullif(t.map_index, -1)::text) LIKE ANY (%(rendered_map_index_like)s))
AND (%(run_after_gte)s::timestamptz IS NULL OR r.run_after >= %(run_after_gte)s)
AND (%(run_after_gt)s::timestamptz IS NULL OR r.run_after > %(run_after_gt)s)
AND (%(run_after_lte)s::timestamptz IS NULL OR r.run_after <= %(run_after_lte)s)
AND (%(run_after_lt)s::timestamptz IS NULL OR r.run_after < %(run_after_lt)s)
AND (%(logical_date_gte)s::timestamptz IS NULL OR r.logical_date >= %(logical_date_gte)s)
AND (%(logical_date_gt)s::timestamptz IS NULL OR r.logical_date > %(logical_date_gt)s)
AND (%(logical_date_lte)s::timestamptz IS NULL OR r.logical_date <= %(logical_date_lte)s)
AND (%(logical_date_lt)s::timestamptz IS NULL OR r.logical_date < %(logical_date_lt)s)
AND (%(start_date_gte)s::timestamptz IS NULL OR t.start_date >= %(start_date_gte)s)
AND (%(start_date_gt)s::timestamptz IS NULL OR t.start_date > %(start_date_gt)s)
AND (%(start_date_lte)s::timestamptz IS NULL OR t.start_date <= %(start_date_lte)s)
AND (%(start_date_lt)s::timestamptz IS NULL OR t.start_date < %(start_date_lt)s)
AND (%(end_date_gte)s::timestamptz IS NULL OR t.end_date >= %(end_date_gte)s)
AND (%(end_date_gt)s::timestamptz IS NULL OR t.end_date > %(end_date_gt)s)
AND (%(end_date_lte)s::timestamptz IS NULL OR t.end_date <= %(end_date_lte)s)
AND (%(end_date_lt)s::timestamptz IS NULL OR t.end_date < %(end_date_lt)s)
AND (%(updated_at_gte)s::timestamptz IS NULL OR t.updated_at >= %(updated_at_gte)s)
AND (%(updated_at_gt)s::timestamptz IS NULL OR t.updated_at > %(updated_at_gt)s)
AND (%(updated_at_lte)s::timestamptz IS NULL OR t.updated_at <= %(updated_at_lte)s)
AND (%(updated_at_lt)s::timestamptz IS NULL OR t.updated_at < %(updated_at_lt)s)
AND (%(duration_gte)s::float8 IS NULL OR extract(epoch FROM t.end_date - t.start_date)::float8 >= %(duration_gte)s)
AND (%(duration_gt)s::float8 IS NULL OR extract(epoch FROM t.end_date - t.start_date)::float8 > %(duration_gt)s)
AND (%(duration_lte)s::float8 IS NULL OR extract(epoch FROM t.end_date - t.start_date)::float8 <= %(duration_lte)s)
AND (%(duration_lt)s::float8 IS NULL OR extract(epoch FROM t.end_date - t.start_date)::float8 < %(duration_lt)s)

-- name: list_tries
-- One TaskInstanceHistoryResponse per try, oldest first: the archived ones and the present one.
SELECT t.task_id, r.dag_id, r.run_id AS dag_run_id, t.map_index, t.start_date, t.end_date,
extract(epoch FROM t.end_date - t.start_date)::float8 AS duration,
t.state, t.try_number, t.max_tries, t.task_display_name, d.dag_display_name, t.hostname, t.unixname, t.pool, t.pool_slots, t.queue,
t.priority_weight, t.operator, t.operator_name, t.queued_at AS queued_when, t.scheduled_at AS scheduled_when,
t.pid, t.executor, '{}' AS executor_config,
jsonb_build_object('id', v.id, 'version_number', v.version_number, 'dag_id', v.dag_id,
    'bundle_name', d.bundle_name, 'bundle_version', nullif(v.bundle_digest, ''),
    'created_at', to_char(v.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'dag_display_name', d.dag_display_name, 'bundle_url', NULL) AS dag_version
FROM (
    SELECT dag_run_id, task_id, map_index, dag_version_id, state, try_number, max_tries, operator, operator_name, task_display_name, pool, pool_slots,
           queue, priority_weight, scheduled_at, queued_at, start_date, end_date, hostname, unixname, pid, executor
    FROM task_instance_history
    UNION ALL
    SELECT dag_run_id, task_id, map_index, dag_version_id, state, try_number, max_tries, operator, operator_name, task_display_name, pool, pool_slots,
           queue, priority_weight, scheduled_at, queued_at, start_date, end_date, hostname, unixname, pid, executor
    FROM task_instance
) t JOIN dag_run r ON r.id = t.dag_run_id JOIN dag d ON d.dag_id = r.dag_id JOIN dag_version v ON v.id = t.dag_version_id
WHERE r.dag_id = %(dag_id)s AND r.run_id = %(run_id)s AND t.task_id = %(task_id)s AND t.map_index = %(map_index)s
ORDER BY t.try_number;

-- name: list_earlier_tries
-- How the tries before the present one ended, oldest first; unique index of task_instance_history.
SELECT try_number, state, because FROM task_instance_history
WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s
ORDER BY try_number;

-- name: fetch_run_limit
-- explain: the limit of a queued run and the runs that count against it, the oldest first. Index dag_run_active.
SELECT coalesce(b.max_active_runs, d.max_active_runs, 0) AS max_active_runs, r.backfill_id IS NOT NULL AS is_backfill,
       ARRAY(SELECT o.run_id FROM dag_run o WHERE o.dag_id = r.dag_id AND o.state = 'running'
             AND o.backfill_id IS NOT DISTINCT FROM r.backfill_id ORDER BY o.run_after, o.id LIMIT 1000) AS running
FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id LEFT JOIN backfill b ON b.id = r.backfill_id WHERE r.id = %(dag_run_id)s;

-- name: list_slot_holders
-- explain: slots of a pool by the DAG whose instances hold them, most first; DAGs that are not visible together. Partial
-- index task_instance_live; for a pool that counts what is deferred, its waits by task_instance_state.
SELECT CASE WHEN %(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s) THEN r.dag_id END AS dag_id, sum(t.pool_slots)::bigint AS slots
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id
WHERE t.pool = %(pool)s
  AND (t.state IN ('queued', 'running', 'restarting')
       OR (t.state IN ('deferred', 'up_for_reschedule') AND (SELECT include_deferred FROM pool WHERE name = %(pool)s)
           AND EXISTS (SELECT FROM wait w WHERE w.id = t.id AND w.status = 'waiting')))
GROUP BY 1 ORDER BY slots DESC, dag_id;

-- name: fetch_slot_counts
-- explain: instances of a DAG that hold slots, as the limits of one of its tasks count them. The same indexes.
SELECT (SELECT slots FROM pool WHERE name = %(pool)s) AS pool_slots,
       count(*) FILTER (WHERE r.id = %(dag_run_id)s) AS in_run,
       count(*) FILTER (WHERE t.task_id = %(task_id)s) AS of_task,
       count(*) FILTER (WHERE r.id = %(dag_run_id)s AND t.task_id = %(task_id)s) AS of_task_in_run
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id
WHERE r.dag_id = %(dag_id)s
  AND (t.state IN ('queued', 'running', 'restarting')
       OR (t.state IN ('deferred', 'up_for_reschedule') AND t.pool IN (SELECT name FROM pool WHERE include_deferred)
           AND EXISTS (SELECT FROM wait w WHERE w.id = t.id AND w.status = 'waiting')));

-- name: list_states
-- What a clear or mark chooses from: every instance of these runs; primary key of task_instance.
SELECT t.dag_run_id, t.task_id, t.map_index, t.state
FROM task_instance t WHERE t.dag_run_id = ANY (%(dag_run_ids)s) ORDER BY t.dag_run_id, t.task_id, t.map_index;

-- name: list_runs_around
-- Runs of one DAG before and after a moment (a run's logical date, or its run_after when it has none), oldest first.
SELECT id, run_id, dag_id, state, dag_version_id FROM dag_run
WHERE dag_id = %(dag_id)s
  AND (%(since)s::timestamptz IS NULL OR coalesce(logical_date, run_after) >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR coalesce(logical_date, run_after) <= %(until)s)
ORDER BY coalesce(logical_date, run_after), id;

-- name: list_touched
-- TaskInstanceResponse rows of chosen (run, task, map index) keys.
SELECT {columns} {source}
JOIN unnest(%(run_keys)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[]) AS chosen (dag_run_id, task_id, map_index)
  ON chosen.dag_run_id = t.dag_run_id AND chosen.task_id = t.task_id AND chosen.map_index = t.map_index
ORDER BY r.run_after, r.id, t.task_id, t.map_index
