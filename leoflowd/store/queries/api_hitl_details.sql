-- name: columns
-- One HITLDetail without its task instance, whose id and key come last.
h.subject, h.body, h.options, h.defaults, h.multiple, h.params, h.assigned_users, h.created_at,
CASE WHEN h.responded_by_id IS NOT NULL THEN json_build_object('id', h.responded_by_id, 'name', h.responded_by_name) END AS responded_by_user,
h.responded_at, h.chosen_options, h.params_input, h.responded_at IS NOT NULL AS response_received,
t.id AS instance_id, h.dag_run_id, h.task_id, h.map_index

-- name: source
-- The questions of present tries.
FROM hitl_detail h
JOIN task_instance t ON t.dag_run_id = h.dag_run_id AND t.task_id = h.task_id AND t.map_index = h.map_index AND t.try_number = h.try_number
JOIN dag_run r ON r.id = h.dag_run_id

-- name: visible
r.dag_id = ANY (%(visible)s)

-- name: filters
-- Of one run: primary key. Not answered yet: partial index hitl_detail_open. Else a scan of what was ever asked.
(%(dag_id)s::text IS NULL OR r.dag_id = %(dag_id)s)
AND (%(run_id)s::text IS NULL OR r.run_id = %(run_id)s)
AND (%(dag_ids)s::text[] IS NULL OR r.dag_id = ANY (%(dag_ids)s))
AND (%(task_id)s::text IS NULL OR h.task_id = %(task_id)s)
AND (%(map_index)s::int IS NULL OR h.map_index = %(map_index)s)
AND (%(state)s::text[] IS NULL OR t.state = ANY (%(state)s) OR (%(state_none)s::bool AND t.state IS NULL))
AND (%(response_received)s::bool IS NULL OR %(response_received)s = (h.responded_at IS NOT NULL))
AND (%(responded_by_user_id)s::text[] IS NULL OR h.responded_by_id = ANY (%(responded_by_user_id)s))
AND (%(responded_by_user_name)s::text[] IS NULL OR h.responded_by_name = ANY (%(responded_by_user_name)s))
AND (%(dag_id_ilike)s::text[] IS NULL OR r.dag_id ILIKE ANY (%(dag_id_ilike)s))
AND (%(dag_id_like)s::text[] IS NULL OR r.dag_id LIKE ANY (%(dag_id_like)s))
AND (%(task_id_ilike)s::text[] IS NULL OR h.task_id ILIKE ANY (%(task_id_ilike)s))
AND (%(task_id_like)s::text[] IS NULL OR h.task_id LIKE ANY (%(task_id_like)s))
AND (%(subject_ilike)s::text[] IS NULL OR h.subject ILIKE ANY (%(subject_ilike)s))
AND (%(body_ilike)s::text[] IS NULL OR h.body ILIKE ANY (%(body_ilike)s))
AND (%(created_at_gte)s::timestamptz IS NULL OR h.created_at >= %(created_at_gte)s)
AND (%(created_at_gt)s::timestamptz IS NULL OR h.created_at > %(created_at_gt)s)
AND (%(created_at_lte)s::timestamptz IS NULL OR h.created_at <= %(created_at_lte)s)
AND (%(created_at_lt)s::timestamptz IS NULL OR h.created_at < %(created_at_lt)s)

-- name: fetch_of_try
-- HITLDetailHistory without its task instance; primary key.
SELECT {columns} FROM hitl_detail h JOIN dag_run r ON r.id = h.dag_run_id
JOIN task_instance t ON t.dag_run_id = h.dag_run_id AND t.task_id = h.task_id AND t.map_index = h.map_index
WHERE r.dag_id = %(dag_id)s AND r.run_id = %(run_id)s AND h.task_id = %(task_id)s AND h.map_index = %(map_index)s
  AND h.try_number = %(try_number)s
