-- name: share_leadership (no row: this process no longer leads; the lock holds off a new term, and no heartbeat)
SELECT term FROM leadership WHERE term = %(term)s FOR KEY SHARE;

-- name: lock_failing_dags (those that pause_failing_dags may write: a dag is locked before its runs)
SELECT d.dag_id FROM dag d
WHERE d.max_consecutive_failed_dag_runs > 0 AND d.dag_id IN (SELECT dag_id FROM dag_run WHERE id = ANY (%(ids)s))
ORDER BY d.dag_id FOR NO KEY UPDATE;

-- name: lock_runs (in order of id; also those whose revision no longer holds: the statements behind this one, which are
-- sent before its answer is read, touch them too)
SELECT id, revision FROM dag_run WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: archive_tries (another try follows: how this one ended; unique index on task_instance.id)
INSERT INTO task_instance_history (id, dag_run_id, task_id, map_index, dag_version_id, state, try_number, max_tries,
    operator, operator_name, task_display_name, pool, pool_slots, queue, priority_weight, scheduled_at, queued_at, start_date, end_date,
    hostname, unixname, pid, executor, because)
SELECT t.id, t.dag_run_id, t.task_id, t.map_index, t.dag_version_id, u.state, t.try_number, t.max_tries,
    t.operator, t.operator_name, t.task_display_name, t.pool, t.pool_slots, t.queue, t.priority_weight, t.scheduled_at, t.queued_at,
    coalesce(u.start_date, t.start_date), u.end_date, t.hostname, t.unixname, t.pid, t.executor, u.because
FROM unnest(%(ids)s::uuid[], %(states)s::text[], %(started)s::timestamptz[], %(ended)s::timestamptz[],
            %(because)s::text[]) AS u(id, state, start_date, end_date, because)
JOIN task_instance t ON t.id = u.id
ON CONFLICT DO NOTHING;

-- name: move_instances (compare-and-set on try id and state; primary key)
UPDATE task_instance t SET
    id = u.id, state = u.state, try_number = u.try_number, max_tries = u.max_tries, infra_faults = u.infra_faults,
    scheduled_at = u.scheduled_at, queued_at = u.queued_at, start_date = u.start_date, end_date = u.end_date,
    due_at = u.due_at, because = u.because, launcher = u.launcher,
    hostname = CASE WHEN u.id <> t.id THEN u.hostname ELSE coalesce(u.hostname, t.hostname) END,
    pid = CASE WHEN u.id <> t.id THEN u.pid ELSE coalesce(u.pid, t.pid) END,
    executor = coalesce(u.executor, t.executor),
    rendered_fields = CASE WHEN u.id <> t.id THEN u.rendered ELSE coalesce(u.rendered, t.rendered_fields) END,
    updated_at = %(now)s
FROM unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[], %(old_ids)s::uuid[],
            %(old_states)s::text[], %(ids)s::uuid[], %(states)s::text[], %(tries)s::int[], %(max_tries)s::int[],
            %(infra_faults)s::int[], %(scheduled)s::timestamptz[], %(queued)s::timestamptz[],
            %(started)s::timestamptz[], %(ended)s::timestamptz[], %(due)s::timestamptz[], %(because)s::text[],
            %(hostnames)s::text[], %(pids)s::int[], %(executors)s::text[], %(rendered)s::text[]::jsonb[],
            %(launchers)s::text[])
     AS u(dag_run_id, task_id, map_index, old_id, old_state, id, state, try_number, max_tries, infra_faults,
          scheduled_at, queued_at, start_date, end_date, due_at, because, hostname, pid, executor, rendered,
          launcher)
WHERE t.dag_run_id = u.dag_run_id AND t.task_id = u.task_id AND t.map_index = u.map_index
  AND t.id = u.old_id AND t.state IS NOT DISTINCT FROM u.old_state
RETURNING t.dag_run_id, t.task_id, t.map_index;

-- name: move_runs (the rows are locked by lock_runs)
UPDATE dag_run d SET state = u.state, start_date = u.start_date, end_date = u.end_date, because = u.because,
    last_scheduling_decision = %(now)s, updated_at = %(now)s
FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(started)s::timestamptz[], %(ended)s::timestamptz[],
            %(because)s::text[]) AS u(id, state, start_date, end_date, because)
WHERE d.id = u.id;

-- name: pause_failing_dags (max_consecutive_failed_dag_runs: that many runs in a row failed; index dag_run_recent)
WITH paused AS (
    UPDATE dag d SET is_paused = true
    WHERE NOT d.is_paused AND d.max_consecutive_failed_dag_runs > 0
      AND d.dag_id IN (SELECT dag_id FROM dag_run WHERE id = ANY (%(ids)s))
      AND d.max_consecutive_failed_dag_runs = (
          SELECT count(*) FILTER (WHERE recent.state = 'failed')
          FROM (SELECT r.state, row_number() OVER (ORDER BY r.run_after DESC, r.id DESC) AS position
                FROM dag_run r WHERE r.dag_id = d.dag_id AND r.state IN ('success', 'failed')) recent
          WHERE recent.position <= d.max_consecutive_failed_dag_runs)
    RETURNING d.dag_id
)
SELECT pg_notify('leoflow', 'dag:' || dag_id) FROM paused;
