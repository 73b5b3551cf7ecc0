-- name: columns
-- One XComResponse; values are in xcoms.sql.
x.key, x.created_at AS timestamp, r.logical_date, x.map_index, x.task_id, r.dag_id, r.run_id, d.dag_display_name,
coalesce(t.task_display_name, x.task_id) AS task_display_name, r.run_after

-- name: source
FROM xcom x JOIN dag_run r ON r.id = x.dag_run_id JOIN dag d ON d.dag_id = r.dag_id
LEFT JOIN task_instance t ON t.dag_run_id = x.dag_run_id AND t.task_id = x.task_id AND t.map_index = x.map_index

-- name: row_key
x.dag_run_id, x.task_id, x.map_index, x.key

-- name: narrow
FROM xcom x LEFT JOIN dag_run r ON r.id = x.dag_run_id LEFT JOIN dag d ON d.dag_id = r.dag_id

-- name: visible
r.dag_id = ANY (%(visible)s)

-- name: filters
-- One run: primary key of xcom.
(%(dag_id)s::text IS NULL OR r.dag_id = %(dag_id)s)
AND (%(run_id)s::text IS NULL OR r.run_id = %(run_id)s)
AND (%(task_id)s::text IS NULL OR x.task_id = %(task_id)s)
AND (%(map_index)s::int IS NULL OR x.map_index = %(map_index)s)
AND (%(key)s::text IS NULL OR x.key = %(key)s)
AND (%(xcom_key_ilike)s::text[] IS NULL OR x.key ILIKE ANY (%(xcom_key_ilike)s))
AND (%(xcom_key_like)s::text[] IS NULL OR x.key LIKE ANY (%(xcom_key_like)s))
AND (%(dag_display_name_ilike)s::text[] IS NULL OR d.dag_display_name ILIKE ANY (%(dag_display_name_ilike)s))
AND (%(dag_display_name_like)s::text[] IS NULL OR d.dag_display_name LIKE ANY (%(dag_display_name_like)s))
AND (%(run_id_ilike)s::text[] IS NULL OR r.run_id ILIKE ANY (%(run_id_ilike)s))
AND (%(run_id_like)s::text[] IS NULL OR r.run_id LIKE ANY (%(run_id_like)s))
AND (%(task_id_ilike)s::text[] IS NULL OR x.task_id ILIKE ANY (%(task_id_ilike)s))
AND (%(task_id_like)s::text[] IS NULL OR x.task_id LIKE ANY (%(task_id_like)s))
AND (%(logical_date_gte)s::timestamptz IS NULL OR r.logical_date >= %(logical_date_gte)s)
AND (%(logical_date_gt)s::timestamptz IS NULL OR r.logical_date > %(logical_date_gt)s)
AND (%(logical_date_lte)s::timestamptz IS NULL OR r.logical_date <= %(logical_date_lte)s)
AND (%(logical_date_lt)s::timestamptz IS NULL OR r.logical_date < %(logical_date_lt)s)
AND (%(run_after_gte)s::timestamptz IS NULL OR r.run_after >= %(run_after_gte)s)
AND (%(run_after_gt)s::timestamptz IS NULL OR r.run_after > %(run_after_gt)s)
AND (%(run_after_lte)s::timestamptz IS NULL OR r.run_after <= %(run_after_lte)s)
AND (%(run_after_lt)s::timestamptz IS NULL OR r.run_after < %(run_after_lt)s)
