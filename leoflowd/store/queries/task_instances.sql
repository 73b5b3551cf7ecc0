-- name: fetch_run_version_id
SELECT dag_version_id FROM dag_run WHERE id = %(dag_run_id)s;

-- name: archive_instances (tries that ended; a live one is archived when it ends)
INSERT INTO task_instance_history (id, dag_run_id, task_id, map_index, dag_version_id, state, try_number, max_tries,
    operator, operator_name, task_display_name, pool, pool_slots, queue, priority_weight, scheduled_at, queued_at, start_date, end_date,
    hostname, unixname, pid, executor, because)
SELECT t.id, t.dag_run_id, t.task_id, t.map_index, t.dag_version_id,
    CASE WHEN t.state IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed') THEN t.state ELSE 'failed' END,
    t.try_number, t.max_tries, t.operator, t.operator_name,
    t.task_display_name, t.pool, t.pool_slots, t.queue, t.priority_weight, t.scheduled_at, t.queued_at, t.start_date,
    t.end_date, t.hostname, t.unixname, t.pid, t.executor, t.because
FROM task_instance t
JOIN unnest(%(task_ids)s::text[], %(map_indexes)s::int[]) AS k(task_id, map_index) USING (task_id, map_index)
WHERE t.dag_run_id = %(dag_run_id)s AND t.try_number > 0 AND (t.start_date IS NOT NULL OR t.end_date IS NOT NULL)
  AND (t.state IS NULL OR t.state NOT IN ('queued', 'running', 'restarting'))
ON CONFLICT DO NOTHING;

-- name: clear_instances (live ones become restarting and keep their id until their try has ended)
UPDATE task_instance t SET
    state = CASE WHEN t.state IN ('queued', 'running', 'restarting') THEN 'restarting' END,
    id = CASE WHEN t.state IN ('queued', 'running', 'restarting') THEN t.id ELSE gen_random_uuid() END,
    max_tries = t.try_number + k.retries, infra_faults = 0, dag_version_id = %(version_id)s,
    scheduled_at = NULL, queued_at = NULL, due_at = NULL,
    start_date = CASE WHEN t.state IN ('queued', 'running', 'restarting') THEN t.start_date END, end_date = NULL,
    hostname = NULL, pid = NULL, rendered_fields = NULL, because = %(because)s, updated_at = %(now)s
FROM unnest(%(task_ids)s::text[], %(map_indexes)s::int[], %(retries)s::int[]) AS k(task_id, map_index, retries)
WHERE t.dag_run_id = %(dag_run_id)s AND t.task_id = k.task_id AND t.map_index = k.map_index;

-- name: remove_instances_of_gone_tasks
UPDATE task_instance SET state = 'removed', end_date = %(now)s, because = 'the task is not in this version of the DAG',
    updated_at = %(now)s
WHERE dag_run_id = %(dag_run_id)s AND NOT task_id = ANY (%(task_ids)s)
  AND (state IS NULL OR state IN ('scheduled', 'up_for_retry', 'up_for_reschedule'));

-- name: mark_instances
UPDATE task_instance t SET state = %(state)s, end_date = coalesce(t.end_date, %(now)s),
    start_date = coalesce(t.start_date, %(now)s), due_at = NULL, because = %(because)s, updated_at = %(now)s
FROM unnest(%(task_ids)s::text[], %(map_indexes)s::int[]) AS k(task_id, map_index)
WHERE t.dag_run_id = %(dag_run_id)s AND t.task_id = k.task_id AND t.map_index = k.map_index
  AND t.state IS DISTINCT FROM %(state)s;

-- name: update_note
UPDATE task_instance SET note = %(note)s, updated_at = %(now)s
WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s;

-- name: delete_instance
DELETE FROM task_instance WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s;

-- name: delete_history
DELETE FROM task_instance_history
WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s;
