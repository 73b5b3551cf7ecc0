-- Questions to people (ADR 41). A question is open while its wait is current: task_instance.id = wait_id, in `deferred`.

-- name: ask (with the move to deferred, after the wait; a try that asks again asks anew, as in Airflow)
INSERT INTO hitl_detail (dag_run_id, task_id, map_index, try_number, wait_id, subject, body, options, defaults, multiple,
                         params, assigned_users, created_at)
SELECT w.dag_run_id, w.task_id, w.map_index, t.try_number, w.id, u.subject, u.body, u.options::json, u.defaults::json, u.multiple,
    u.params::json, u.assigned_users::json, w.registered_at
FROM unnest(%(ids)s::uuid[], %(subjects)s::text[], %(bodies)s::text[], %(options)s::text[], %(defaults)s::text[],
            %(multiples)s::bool[], %(params)s::text[], %(assigned)s::text[])
     AS u(id, subject, body, options, defaults, multiple, params, assigned_users)
JOIN wait w ON w.id = u.id
JOIN task_instance t ON t.id = w.id
ON CONFLICT (dag_run_id, task_id, map_index, try_number) DO UPDATE SET
    wait_id = excluded.wait_id, subject = excluded.subject, body = excluded.body, options = excluded.options,
    defaults = excluded.defaults, multiple = excluded.multiple, params = excluded.params,
    assigned_users = excluded.assigned_users, created_at = excluded.created_at, responded_at = NULL,
    responded_by_id = NULL, responded_by_name = NULL, chosen_options = NULL, params_input = '{}', closed_at = NULL;

-- name: lock_question (an answer; primary keys. The instance stays where it is until the answer is committed)
SELECT h.wait_id::text AS wait_id, h.options::text AS options, h.multiple, h.params::text AS params,
    h.assigned_users::text AS assigned_users, h.responded_at, h.closed_at, t.state, t.id = h.wait_id AND t.state = 'deferred' AS is_open
FROM dag_run r
JOIN task_instance t ON t.dag_run_id = r.id AND t.task_id = %(task_id)s AND t.map_index = %(map_index)s
LEFT JOIN hitl_detail h ON h.dag_run_id = t.dag_run_id AND h.task_id = t.task_id AND h.map_index = t.map_index
     AND h.try_number = t.try_number
WHERE r.dag_id = %(dag_id)s AND r.run_id = %(run_id)s
FOR SHARE OF t;

-- name: answer (compare-and-set: the first answer counts; unique index on wait_id)
UPDATE hitl_detail SET responded_at = %(responded_at)s, responded_by_id = %(user_id)s, responded_by_name = %(user_name)s,
    chosen_options = %(chosen_options)s::json, params_input = %(params_input)s::json
WHERE wait_id = %(wait_id)s::uuid AND responded_at IS NULL AND closed_at IS NULL;

-- name: close (the same race, lost by everybody: no answer in time, and no defaults)
UPDATE hitl_detail SET closed_at = %(now)s
WHERE wait_id = %(wait_id)s::uuid AND responded_at IS NULL AND closed_at IS NULL;

-- name: list_overdue (the pool; partial index wait_for_people)
SELECT h.wait_id::text AS wait_id, h.defaults::text AS defaults, h.params::text AS params
FROM wait w
JOIN task_instance t ON t.id = w.id AND t.state = 'deferred'
JOIN dag d ON d.dag_id = w.dag_id AND NOT d.is_paused
JOIN hitl_detail h ON h.wait_id = w.id AND h.responded_at IS NULL AND h.closed_at IS NULL
WHERE w.kind = 'human' AND w.status = 'waiting' AND w.deadline_at <= %(now)s
ORDER BY w.id;

-- name: list_settled (waits that may end now; partial index wait_for_people)
SELECT h.wait_id::text AS wait_id, h.chosen_options::text AS chosen_options, h.params_input::text AS params_input, h.responded_at,
    h.responded_by_id, h.responded_by_name
FROM wait w
JOIN task_instance t ON t.id = w.id AND t.state = 'deferred'
JOIN hitl_detail h ON h.wait_id = w.id AND (h.responded_at IS NOT NULL OR h.closed_at IS NOT NULL)
WHERE w.kind = 'human' AND w.status = 'waiting'
ORDER BY w.id;

-- name: fetch_next_deadline (the same)
SELECT min(w.deadline_at) FROM wait w
JOIN task_instance t ON t.id = w.id AND t.state = 'deferred'
JOIN dag d ON d.dag_id = w.dag_id AND NOT d.is_paused
JOIN hitl_detail h ON h.wait_id = w.id AND h.responded_at IS NULL AND h.closed_at IS NULL
WHERE w.kind = 'human' AND w.status = 'waiting';
