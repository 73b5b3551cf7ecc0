-- name: insert_dag_run (unique on (dag_id, run_id) and (dag_id, logical_date))
INSERT INTO dag_run (dag_id, run_id, dag_version_id, run_type, state, logical_date, data_interval_start,
                     data_interval_end, run_after, queued_at, conf, triggered_by, triggering_user_name, note, updated_at)
VALUES (%(dag_id)s, %(run_id)s, %(version_id)s, %(run_type)s, 'queued', %(logical_date)s, %(start)s, %(end)s,
        %(run_after)s, %(now)s, %(conf)s::json, %(triggered_by)s, %(user)s, %(note)s, %(now)s)
RETURNING id;

-- name: insert_task_instances
INSERT INTO task_instance (dag_run_id, task_id, id, dag_version_id, max_tries, operator, operator_name, task_display_name, pool,
                           pool_slots, queue, priority_weight, updated_at)
SELECT %(dag_run_id)s, t.task_id, gen_random_uuid(), %(version_id)s, t.max_tries, t.operator, t.operator_name, t.name, t.pool, t.slots,
       t.queue, t.weight, %(now)s
FROM json_to_recordset(%(rows)s::json)
     AS t(task_id text, max_tries int, operator text, operator_name text, name text, pool text, slots int, queue text, weight int)
ON CONFLICT (dag_run_id, task_id, map_index) DO NOTHING;

-- name: fetch_dag_run (unique index)
SELECT id, dag_id, run_id, dag_version_id, run_type, state, logical_date, data_interval_start, data_interval_end,
       run_after, queued_at, start_date, end_date, conf::text AS conf, triggered_by, triggering_user_name, note, revision
FROM dag_run WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s;

-- name: lock_dag_runs (several by id, as everybody does; task instances are locked after them. Not FOR UPDATE: an agent's
-- XCom needs its run's key, and may stand before a row that the holder of this lock wants next)
SELECT id, dag_id, run_id, dag_version_id, run_type, state, logical_date, data_interval_start, data_interval_end,
       run_after, queued_at, start_date, end_date, conf::text AS conf, triggered_by, triggering_user_name, note, revision
FROM dag_run WHERE dag_id = %(dag_id)s AND run_id = ANY (%(run_ids)s) ORDER BY id FOR NO KEY UPDATE;

-- name: bump_revision
UPDATE dag_run SET revision = revision + 1, updated_at = %(now)s WHERE id = %(dag_run_id)s;

-- name: requeue_dag_run (clear and PATCH state=queued)
UPDATE dag_run SET state = 'queued', queued_at = %(now)s, start_date = NULL, end_date = NULL, because = NULL,
    dag_version_id = coalesce(%(version_id)s, dag_version_id), revision = revision + 1, updated_at = %(now)s
WHERE id = %(dag_run_id)s;

-- name: mark_instances_success (all but unfinished teardowns)
UPDATE task_instance SET state = 'success', start_date = coalesce(start_date, %(now)s), end_date = %(now)s,
    due_at = NULL, because = %(because)s, updated_at = %(now)s
WHERE dag_run_id = %(dag_run_id)s AND state IS DISTINCT FROM 'success' AND state IS DISTINCT FROM 'removed'
  AND NOT (task_id = ANY (%(teardowns)s)
           AND (state IS NULL OR state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')));

-- name: mark_instances_failed (running ones fail, waiting ones are skipped, teardowns stay)
UPDATE task_instance SET
    state = CASE WHEN state IN ('running', 'deferred', 'up_for_reschedule') THEN 'failed' ELSE 'skipped' END,
    end_date = %(now)s, due_at = NULL, because = %(because)s, updated_at = %(now)s
WHERE dag_run_id = %(dag_run_id)s AND NOT task_id = ANY (%(teardowns)s)
  AND (state IS NULL OR state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed'));

-- name: finish_dag_run (unless teardowns are unfinished)
UPDATE dag_run SET state = %(state)s, end_date = %(now)s, start_date = coalesce(start_date, %(now)s),
    because = %(because)s, updated_at = %(now)s
WHERE id = %(dag_run_id)s AND NOT EXISTS (
    SELECT FROM task_instance t WHERE t.dag_run_id = dag_run.id AND t.task_id = ANY (%(teardowns)s)
      AND (t.state IS NULL OR t.state NOT IN ('success', 'failed', 'skipped', 'upstream_failed', 'removed')));

-- name: fetch_version_id
SELECT dag_version_id FROM dag_run WHERE id = %(dag_run_id)s;

-- name: update_because
UPDATE dag_run SET because = %(because)s, updated_at = %(now)s WHERE id = %(dag_run_id)s;

-- name: forget_because (only if it still begins so)
UPDATE dag_run SET because = NULL, updated_at = %(now)s
WHERE id = ANY (%(ids)s) AND starts_with(because, %(beginning)s);

-- name: update_note
UPDATE dag_run SET note = %(note)s, updated_at = %(now)s WHERE id = %(dag_run_id)s;

-- name: delete_dag_run (cascades)
DELETE FROM dag_run WHERE id = %(dag_run_id)s RETURNING dag_id;

-- name: fetch_previous_run (unique index on (dag_id, logical_date))
SELECT p.id, p.dag_id, p.run_id, p.dag_version_id, p.run_type, p.state, p.logical_date, p.data_interval_start,
       p.data_interval_end, p.run_after, p.queued_at, p.start_date, p.end_date, p.conf::text AS conf, p.triggered_by,
       p.triggering_user_name, p.note, p.revision
FROM dag_run r JOIN dag_run p ON p.dag_id = r.dag_id AND p.logical_date < r.logical_date
WHERE r.id = %(dag_run_id)s AND (NOT %(only_success)s OR p.state = 'success')
ORDER BY p.logical_date DESC LIMIT 1;
