-- name: columns
-- One EventLogResponse.
e.id AS event_log_id, e.occurred_at AS "when", e.dag_id, e.task_id, e.run_id, e.map_index, e.try_number, e.event, e.logical_date, e.owner,
e.extra::text AS extra, d.dag_display_name, e.task_id AS task_display_name

-- name: source
FROM event_log e LEFT JOIN dag d ON d.dag_id = e.dag_id

-- name: visible
-- What belongs to no DAG (logins, users, pools, connections): `own` in the filters.
(e.dag_id IS NULL OR e.dag_id = ANY (%(visible)s))

-- name: filters
-- One DAG: event_log_by_dag; else event_log_by_time.
(%(id)s::bigint IS NULL OR e.id = %(id)s)
AND (%(own)s::text IS NULL OR e.dag_id IS NOT NULL OR e.owner = %(own)s)
AND (%(dag_id)s::text IS NULL OR e.dag_id = %(dag_id)s)
AND (%(task_id)s::text IS NULL OR e.task_id = %(task_id)s)
AND (%(run_id)s::text IS NULL OR e.run_id = %(run_id)s)
AND (%(map_index)s::int IS NULL OR e.map_index = %(map_index)s)
AND (%(try_number)s::int IS NULL OR e.try_number = %(try_number)s)
AND (%(owner)s::text IS NULL OR e.owner = %(owner)s)
AND (%(event)s::text IS NULL OR e.event = %(event)s)
AND (%(included_events)s::text[] IS NULL OR e.event = ANY (%(included_events)s))
AND (%(excluded_events)s::text[] IS NULL OR e.event <> ALL (%(excluded_events)s))
AND (%(before)s::timestamptz IS NULL OR e.occurred_at <= %(before)s)
AND (%(after)s::timestamptz IS NULL OR e.occurred_at >= %(after)s)
AND (%(dag_id_ilike)s::text[] IS NULL OR e.dag_id ILIKE ANY (%(dag_id_ilike)s))
AND (%(dag_id_like)s::text[] IS NULL OR e.dag_id LIKE ANY (%(dag_id_like)s))
AND (%(task_id_ilike)s::text[] IS NULL OR e.task_id ILIKE ANY (%(task_id_ilike)s))
AND (%(task_id_like)s::text[] IS NULL OR e.task_id LIKE ANY (%(task_id_like)s))
AND (%(run_id_ilike)s::text[] IS NULL OR e.run_id ILIKE ANY (%(run_id_ilike)s))
AND (%(run_id_like)s::text[] IS NULL OR e.run_id LIKE ANY (%(run_id_like)s))
AND (%(owner_ilike)s::text[] IS NULL OR e.owner ILIKE ANY (%(owner_ilike)s))
AND (%(owner_like)s::text[] IS NULL OR e.owner LIKE ANY (%(owner_like)s))
AND (%(event_ilike)s::text[] IS NULL OR e.event ILIKE ANY (%(event_ilike)s))
AND (%(event_like)s::text[] IS NULL OR e.event LIKE ANY (%(event_like)s))
