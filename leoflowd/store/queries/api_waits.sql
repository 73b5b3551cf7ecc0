-- Waits as people see them. `status`: waiting; fired (its deferred task goes on, or is about to); over (a row that a clear,
-- a mark or a delete left behind: its id is no longer that of its task instance).

-- name: columns
-- One wait of the API; what only the pool knows is added by the route.
w.id::text AS id, w.dag_id, r.run_id AS dag_run_id, w.task_id, w.map_index, t.try_number, t.state,
CASE WHEN t.id <> w.id THEN 'over' WHEN w.status = 'fired' THEN 'fired'
     WHEN t.state IN ('deferred', 'up_for_reschedule') THEN 'waiting' ELSE 'over' END AS status,
w.kind, w.key, w.probe, w.terms, w.registered_at, w.deadline_at, w.ended_at, d.is_paused

-- name: source
FROM wait w JOIN task_instance t ON t.dag_run_id = w.dag_run_id AND t.task_id = w.task_id AND t.map_index = w.map_index
JOIN dag_run r ON r.id = w.dag_run_id JOIN dag d ON d.dag_id = w.dag_id

-- name: visible
w.dag_id = ANY (%(visible)s)

-- name: filters
-- One wait: unique index on id. Waits of one DAG: wait_of_dag. All: a scan of what waits, at most some 100,000 rows.
(%(id)s::uuid IS NULL OR w.id = %(id)s)
AND (NOT %(only_waiting)s::bool OR (w.status = 'waiting' AND t.id = w.id AND t.state IN ('deferred', 'up_for_reschedule')))
AND (%(dag_id)s::text IS NULL OR w.dag_id = %(dag_id)s)
AND (%(run_id)s::text IS NULL OR r.run_id = %(run_id)s)
AND (%(task_id)s::text IS NULL OR w.task_id = %(task_id)s)
AND (%(kind)s::text[] IS NULL OR w.kind = ANY (%(kind)s))
AND (%(state)s::text[] IS NULL OR t.state = ANY (%(state)s))
AND (%(dag_id_ilike)s::text[] IS NULL OR w.dag_id ILIKE ANY (%(dag_id_ilike)s))
AND (%(dag_id_like)s::text[] IS NULL OR w.dag_id LIKE ANY (%(dag_id_like)s))
AND (%(task_id_ilike)s::text[] IS NULL OR w.task_id ILIKE ANY (%(task_id_ilike)s))
AND (%(task_id_like)s::text[] IS NULL OR w.task_id LIKE ANY (%(task_id_like)s))

-- name: fetch_wait_of_instance (explain, live logs; primary key)
SELECT w.id::text AS id, w.probe::text AS probe, w.terms::text AS terms, w.registered_at, w.deadline_at, d.is_paused
FROM wait w
JOIN task_instance t ON t.id = w.id AND t.state IN ('deferred', 'up_for_reschedule')
JOIN dag d ON d.dag_id = w.dag_id
WHERE w.dag_run_id = %(dag_run_id)s AND w.task_id = %(task_id)s AND w.map_index = %(map_index)s AND w.status = 'waiting';

-- name: fetch_try_story (a log without a file; primary key, or the unique index of task_instance_history)
SELECT t.dag_run_id, t.state, t.because, t.start_date, t.end_date, t.rendered_fields, t.is_present
FROM dag_run r JOIN (
    SELECT dag_run_id, task_id, map_index, try_number, state, because, start_date, end_date, rendered_fields, true AS is_present
    FROM task_instance
    UNION ALL
    SELECT dag_run_id, task_id, map_index, try_number, state, because, start_date, end_date, NULL, false
    FROM task_instance_history
) t ON t.dag_run_id = r.id
WHERE r.dag_id = %(dag_id)s AND r.run_id = %(run_id)s AND t.task_id = %(task_id)s AND t.map_index = %(map_index)s
  AND t.try_number = %(try_number)s
ORDER BY t.is_present DESC LIMIT 1;
