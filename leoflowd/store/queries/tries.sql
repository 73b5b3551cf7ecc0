-- name: fetch_try (unique index on id)
SELECT t.id, t.dag_run_id, r.dag_id, r.run_id, t.task_id, t.map_index, t.try_number, t.state,
    t.state = 'queued' AND t.start_date IS NOT NULL AS goes_on
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id WHERE t.id = %(try_id)s::uuid;

-- name: list_tries (unique index on id)
SELECT t.id, t.dag_run_id, r.dag_id, r.run_id, t.task_id, t.map_index, t.try_number, t.state,
    t.state = 'queued' AND t.start_date IS NOT NULL AS goes_on
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id WHERE t.id = ANY (%(try_ids)s::uuid[]);

-- name: list_live_tries (partial index task_instance_live)
SELECT id, dag_run_id, task_id, map_index, state, queued_at, launcher FROM task_instance
WHERE state IN ('queued', 'running', 'restarting') AND executor = %(executor)s;

-- name: put_rendered_fields (fenced by the try id)
UPDATE task_instance SET rendered_fields = %(fields)s::jsonb, updated_at = %(now)s
WHERE id = %(try_id)s::uuid AND state IN ('queued', 'running');

-- name: put_rendered_map_index (fenced by the try id)
UPDATE task_instance SET rendered_map_index = %(name)s, updated_at = %(now)s
WHERE id = %(try_id)s::uuid AND state IN ('queued', 'running');

-- name: count_instances (unique indexes of dag_run, then the primary key of task_instance)
SELECT count(*) FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id
WHERE r.dag_id = %(dag_id)s
  AND (%(logical_dates)s::timestamptz[] IS NULL OR r.logical_date = ANY (%(logical_dates)s))
  AND (%(run_ids)s::text[] IS NULL OR r.run_id = ANY (%(run_ids)s))
  AND t.task_id = ANY (%(task_ids)s)
  AND (%(states)s::text[] IS NULL OR coalesce(t.state, 'null') = ANY (%(states)s));

-- name: count_runs (unique indexes of dag_run)
SELECT count(*) FROM dag_run r
WHERE r.dag_id = %(dag_id)s
  AND (%(logical_dates)s::timestamptz[] IS NULL OR r.logical_date = ANY (%(logical_dates)s))
  AND (%(run_ids)s::text[] IS NULL OR r.run_id = ANY (%(run_ids)s))
  AND (%(states)s::text[] IS NULL OR r.state = ANY (%(states)s));

-- name: list_instance_states (likewise; what a task asks one by one)
SELECT r.run_id, t.task_id, t.map_index, t.state FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id
WHERE r.dag_id = %(dag_id)s
  AND (%(logical_dates)s::timestamptz[] IS NULL OR r.logical_date = ANY (%(logical_dates)s))
  AND (%(run_ids)s::text[] IS NULL OR r.run_id = ANY (%(run_ids)s))
  AND (%(task_ids)s::text[] IS NULL OR t.task_id = ANY (%(task_ids)s))
  AND (%(map_index)s::int IS NULL OR t.map_index = %(map_index)s)
ORDER BY r.id, t.task_id, t.map_index LIMIT %(limit)s;

-- name: fetch_previous_instance (unique index dag_run (dag_id, logical_date), backwards; primary key of task_instance)
SELECT r.dag_id, r.run_id, t.task_id, t.map_index, r.logical_date, t.state, t.try_number, t.start_date, t.end_date,
    extract(epoch FROM t.end_date - t.start_date)::float8 AS duration
FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id
WHERE r.dag_id = %(dag_id)s AND r.id <> %(own_run)s AND t.task_id = %(task_id)s AND t.map_index = %(map_index)s
  AND (%(before)s::timestamptz IS NULL OR r.logical_date < %(before)s)
  AND (%(state)s::text IS NULL OR t.state = %(state)s)
ORDER BY r.logical_date DESC NULLS LAST, r.id DESC LIMIT 1;

-- name: list_running_calls (the pool, at its start: inline HTTP calls that the last daemon was in the middle of)
SELECT t.id, t.dag_run_id, r.dag_id, r.run_id, t.task_id, t.map_index, t.try_number, t.state, t.start_date,
    coalesce((SELECT task -> 'http' ->> 'method' FROM jsonb_array_elements(v.spec -> 'tasks') AS task
              WHERE task ->> 'task_id' = t.task_id), 'POST') AS method
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id JOIN dag_version v ON v.id = t.dag_version_id
WHERE t.state IN ('running', 'restarting') AND t.executor = %(executor)s;
