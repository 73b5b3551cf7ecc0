-- name: insert_dag_run (unique on (dag_id, run_id) and (dag_id, logical_date))
INSERT INTO dag_run (dag_id, run_id, dag_version_id, run_type, state, logical_date, data_interval_start,
                     data_interval_end, run_after, queued_at, conf, triggered_by, triggering_user_name, note, partition_key,
                     partition_date, updated_at)
VALUES (%(dag_id)s, %(run_id)s, %(version_id)s, %(run_type)s, 'queued', %(logical_date)s, %(start)s, %(end)s,
        %(run_after)s, %(now)s, %(conf)s::json, %(triggered_by)s, %(user)s, %(note)s, %(partition_key)s,
        %(partition_date)s, %(now)s)
RETURNING id;

-- name: insert_task_instances (of tasks without any: one that was expanded has no map index -1)
INSERT INTO task_instance (dag_run_id, task_id, id, dag_version_id, max_tries, operator, operator_name, task_display_name, pool,
                           pool_slots, queue, priority_weight, updated_at)
SELECT %(dag_run_id)s, t.task_id, gen_random_uuid(), %(version_id)s, t.max_tries, t.operator, t.operator_name, t.name, t.pool, t.slots,
       t.queue, t.weight, %(now)s
FROM json_to_recordset(%(rows)s::json)
     AS t(task_id text, max_tries int, operator text, operator_name text, name text, pool text, slots int, queue text, weight int)
WHERE NOT EXISTS (SELECT FROM task_instance o WHERE o.dag_run_id = %(dag_run_id)s AND o.task_id = t.task_id);

-- name: fetch_dag_run (unique index)
SELECT id, dag_id, run_id, dag_version_id, run_type, state, logical_date, data_interval_start, data_interval_end,
       run_after, queued_at, start_date, end_date, conf::text AS conf, triggered_by, triggering_user_name, note, revision
FROM dag_run WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s;

-- name: lock_dag_runs (several by id, as everybody does; task instances are locked after them. Not FOR UPDATE: an agent's
-- XCom needs its run's key, and may stand before a row that the holder of this lock wants next)
SELECT id, dag_id, run_id, dag_version_id, run_type, state, logical_date, data_interval_start, data_interval_end,
       run_after, queued_at, start_date, end_date, conf::text AS conf, triggered_by, triggering_user_name, note, revision
FROM dag_run WHERE dag_id = %(dag_id)s AND run_id = ANY (%(run_ids)s) ORDER BY id FOR NO KEY UPDATE;

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
