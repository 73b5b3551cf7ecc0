-- name: columns
-- One DAGRunResponse.
r.run_id AS dag_run_id, r.dag_id, r.logical_date, r.queued_at, r.start_date, r.end_date,
extract(epoch FROM r.end_date - r.start_date)::float8 AS duration,
r.data_interval_start, r.data_interval_end, r.run_after, r.last_scheduling_decision, r.run_type, r.state, r.triggered_by,
r.triggering_user_name, r.conf, r.note,
jsonb_build_array(jsonb_build_object('id', v.id, 'version_number', v.version_number, 'dag_id', v.dag_id,
    'bundle_name', d.bundle_name, 'bundle_version', nullif(v.bundle_digest, ''),
    'created_at', to_char(v.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'dag_display_name', d.dag_display_name, 'bundle_url', NULL)) AS dag_versions,
nullif(v.bundle_digest, '') AS bundle_version, d.dag_display_name, r.partition_key, r.partition_date

-- name: source
FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id JOIN dag_version v ON v.id = r.dag_version_id

-- name: row_key
r.id

-- name: narrow
FROM dag_run r LEFT JOIN dag d ON d.dag_id = r.dag_id LEFT JOIN dag_version v ON v.id = r.dag_version_id

-- name: visible
r.dag_id = ANY (%(visible)s)

-- name: filters
-- One DAG: index dag_run_recent. All DAGs: dag_run_by_run_after serves the UI's order (-run_after).
(%(dag_id)s::text IS NULL OR r.dag_id = %(dag_id)s)
AND (%(run_id)s::text IS NULL OR r.run_id = %(run_id)s)
AND (%(dag_ids)s::text[] IS NULL OR r.dag_id = ANY (%(dag_ids)s))
AND (%(state)s::text[] IS NULL OR r.state = ANY (%(state)s))
AND (%(run_type)s::text[] IS NULL OR r.run_type = ANY (%(run_type)s))
AND (%(dag_version)s::int[] IS NULL OR v.version_number = ANY (%(dag_version)s))
AND (%(bundle_version)s::text IS NULL OR v.bundle_digest = %(bundle_version)s)
AND (%(conf_contains)s::text IS NULL OR position(lower(%(conf_contains)s) IN lower(r.conf::text)) > 0)
AND (%(partition_key_ilike)s::text[] IS NULL OR r.partition_key ILIKE ANY (%(partition_key_ilike)s))
AND (%(partition_key_like)s::text[] IS NULL OR r.partition_key LIKE ANY (%(partition_key_like)s))
AND (%(consuming_asset_ilike)s::text[] IS NULL OR EXISTS (
    SELECT FROM asset_event_run t JOIN asset_event e ON e.id = t.event_id JOIN asset a ON a.id = e.asset_id
    WHERE t.dag_run_id = r.id AND (a.name ILIKE ANY (%(consuming_asset_ilike)s) OR a.uri ILIKE ANY (%(consuming_asset_ilike)s))))
AND (%(run_id_ilike)s::text[] IS NULL OR r.run_id ILIKE ANY (%(run_id_ilike)s))
AND (%(run_id_like)s::text[] IS NULL OR r.run_id LIKE ANY (%(run_id_like)s))
AND (%(dag_id_ilike)s::text[] IS NULL OR r.dag_id ILIKE ANY (%(dag_id_ilike)s))
AND (%(dag_id_like)s::text[] IS NULL OR r.dag_id LIKE ANY (%(dag_id_like)s))
AND (%(triggering_user_name_ilike)s::text[] IS NULL OR r.triggering_user_name ILIKE ANY (%(triggering_user_name_ilike)s))
AND (%(triggering_user_name_like)s::text[] IS NULL OR r.triggering_user_name LIKE ANY (%(triggering_user_name_like)s))
AND (%(run_after_gte)s::timestamptz IS NULL OR r.run_after >= %(run_after_gte)s)
AND (%(run_after_gt)s::timestamptz IS NULL OR r.run_after > %(run_after_gt)s)
AND (%(run_after_lte)s::timestamptz IS NULL OR r.run_after <= %(run_after_lte)s)
AND (%(run_after_lt)s::timestamptz IS NULL OR r.run_after < %(run_after_lt)s)
AND (%(logical_date_gte)s::timestamptz IS NULL OR r.logical_date >= %(logical_date_gte)s)
AND (%(logical_date_gt)s::timestamptz IS NULL OR r.logical_date > %(logical_date_gt)s)
AND (%(logical_date_lte)s::timestamptz IS NULL OR r.logical_date <= %(logical_date_lte)s)
AND (%(logical_date_lt)s::timestamptz IS NULL OR r.logical_date < %(logical_date_lt)s)
AND (%(start_date_gte)s::timestamptz IS NULL OR r.start_date >= %(start_date_gte)s)
AND (%(start_date_gt)s::timestamptz IS NULL OR r.start_date > %(start_date_gt)s)
AND (%(start_date_lte)s::timestamptz IS NULL OR r.start_date <= %(start_date_lte)s)
AND (%(start_date_lt)s::timestamptz IS NULL OR r.start_date < %(start_date_lt)s)
AND (%(end_date_gte)s::timestamptz IS NULL OR r.end_date >= %(end_date_gte)s)
AND (%(end_date_gt)s::timestamptz IS NULL OR r.end_date > %(end_date_gt)s)
AND (%(end_date_lte)s::timestamptz IS NULL OR r.end_date <= %(end_date_lte)s)
AND (%(end_date_lt)s::timestamptz IS NULL OR r.end_date < %(end_date_lt)s)
AND (%(updated_at_gte)s::timestamptz IS NULL OR r.updated_at >= %(updated_at_gte)s)
AND (%(updated_at_gt)s::timestamptz IS NULL OR r.updated_at > %(updated_at_gt)s)
AND (%(updated_at_lte)s::timestamptz IS NULL OR r.updated_at <= %(updated_at_lte)s)
AND (%(updated_at_lt)s::timestamptz IS NULL OR r.updated_at < %(updated_at_lt)s)
AND (%(duration_gte)s::float8 IS NULL OR extract(epoch FROM r.end_date - r.start_date)::float8 >= %(duration_gte)s)
AND (%(duration_gt)s::float8 IS NULL OR extract(epoch FROM r.end_date - r.start_date)::float8 > %(duration_gt)s)
AND (%(duration_lte)s::float8 IS NULL OR extract(epoch FROM r.end_date - r.start_date)::float8 <= %(duration_lte)s)
AND (%(duration_lt)s::float8 IS NULL OR extract(epoch FROM r.end_date - r.start_date)::float8 < %(duration_lt)s)
