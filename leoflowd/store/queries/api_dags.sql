-- name: columns
-- One DAGResponse. Primary keys of dag and dag_version; import_error by its unique (bundle_name, filename).
d.dag_id, d.dag_display_name, d.is_paused, d.is_stale,
d.last_parsed_at AS last_parsed_time, d.last_parse_duration_s AS last_parse_duration, d.last_expired_at AS last_expired,
d.bundle_name, nullif(v.bundle_digest, '') AS bundle_version, d.relative_fileloc, d.fileloc, d.description,
d.timetable_summary, d.timetable_description, d.is_partitioned AS timetable_partitioned,
(SELECT coalesce(jsonb_agg(jsonb_build_object('name', tag, 'dag_id', d.dag_id, 'dag_display_name', d.dag_display_name)
                           ORDER BY tag), '[]') FROM unnest(d.tags) AS tag) AS tags,
d.max_active_tasks, d.max_active_runs, d.max_consecutive_failed_dag_runs,
coalesce(v.has_task_limits, false) AS has_task_concurrency_limits,
EXISTS (SELECT FROM import_error e WHERE e.bundle_name = d.bundle_name AND e.filename = d.relative_fileloc)
    AS has_import_errors,
d.next_logical_date AS next_dagrun_logical_date, d.next_data_interval_start AS next_dagrun_data_interval_start,
d.next_data_interval_end AS next_dagrun_data_interval_end, d.next_run_after AS next_dagrun_run_after,
NULL AS allowed_run_types, d.owners,
translate(encode(convert_to(d.dag_id, 'UTF8'), 'base64'), '+/=' || chr(10), '-_') AS file_token,
coalesce(v.is_periodic, false) AS timetable_periodic,
coalesce(v.is_periodic, false) AS is_backfillable

-- name: source
FROM dag d LEFT JOIN dag_version v ON v.id = d.current_version_id

-- name: visible
d.dag_id = ANY (%(visible)s)

-- name: filters
-- Small table (10,000 rows): a scan is fine; the last run comes from index dag_run_recent.
(%(dag_id)s::text IS NULL OR d.dag_id = %(dag_id)s)
AND (NOT %(exclude_stale)s::bool OR NOT d.is_stale)
AND (%(paused)s::bool IS NULL OR d.is_paused = %(paused)s)
AND (%(tags_any)s::text[] IS NULL OR d.tags && %(tags_any)s)
AND (%(tags_all)s::text[] IS NULL OR d.tags @> %(tags_all)s)
AND (%(owners)s::text[] IS NULL OR d.owners && %(owners)s)
AND (%(dag_id_ilike)s::text[] IS NULL OR d.dag_id ILIKE ANY (%(dag_id_ilike)s))
AND (%(dag_id_like)s::text[] IS NULL OR d.dag_id LIKE ANY (%(dag_id_like)s))
AND (%(dag_display_name_ilike)s::text[] IS NULL OR d.dag_display_name ILIKE ANY (%(dag_display_name_ilike)s))
AND (%(dag_display_name_like)s::text[] IS NULL OR d.dag_display_name LIKE ANY (%(dag_display_name_like)s))
AND (%(bundle_name)s::text IS NULL OR d.bundle_name = %(bundle_name)s)
AND (%(bundle_version)s::text IS NULL OR v.bundle_digest = %(bundle_version)s)
AND (%(has_asset_schedule)s::bool IS NULL OR %(has_asset_schedule)s = (d.asset_expression IS NOT NULL))
AND (%(asset_dependency)s::text[] IS NULL OR EXISTS (
    SELECT FROM asset_use u JOIN asset a ON a.id = u.asset_id WHERE u.dag_id = d.dag_id AND u.kind = 'schedule'
      AND (a.name ILIKE ANY (%(asset_dependency)s) OR a.uri ILIKE ANY (%(asset_dependency)s))))
AND (%(timetable_type)s::text[] IS NULL OR v.spec -> 'timetable' ->> 'type' = ANY (%(timetable_type)s))
AND (%(has_import_errors)s::bool IS NULL OR %(has_import_errors)s = EXISTS (
    SELECT FROM import_error e WHERE e.bundle_name = d.bundle_name AND e.filename = d.relative_fileloc))
AND (%(is_favorite)s::bool IS NULL OR %(is_favorite)s = EXISTS (
    SELECT FROM dag_favorite f WHERE f.dag_id = d.dag_id AND f.username = %(username)s))
AND (%(last_dag_run_state)s::text IS NULL OR %(last_dag_run_state)s = (
    SELECT r.state FROM dag_run r WHERE r.dag_id = d.dag_id ORDER BY r.run_after DESC, r.id DESC LIMIT 1))
AND (NOT %(by_runs)s::bool OR EXISTS (
    SELECT FROM dag_run r WHERE r.dag_id = d.dag_id
    AND (%(dag_run_state)s::text[] IS NULL OR r.state = ANY (%(dag_run_state)s))
    AND (%(dag_run_start_date_gte)s::timestamptz IS NULL OR r.start_date >= %(dag_run_start_date_gte)s)
    AND (%(dag_run_start_date_gt)s::timestamptz IS NULL OR r.start_date > %(dag_run_start_date_gt)s)
    AND (%(dag_run_start_date_lte)s::timestamptz IS NULL OR r.start_date <= %(dag_run_start_date_lte)s)
    AND (%(dag_run_start_date_lt)s::timestamptz IS NULL OR r.start_date < %(dag_run_start_date_lt)s)
    AND (%(dag_run_end_date_gte)s::timestamptz IS NULL OR r.end_date >= %(dag_run_end_date_gte)s)
    AND (%(dag_run_end_date_gt)s::timestamptz IS NULL OR r.end_date > %(dag_run_end_date_gt)s)
    AND (%(dag_run_end_date_lte)s::timestamptz IS NULL OR r.end_date <= %(dag_run_end_date_lte)s)
    AND (%(dag_run_end_date_lt)s::timestamptz IS NULL OR r.end_date < %(dag_run_end_date_lt)s)))

-- name: list_tags
SELECT DISTINCT tag FROM (
    SELECT d.tags FROM dag d WHERE %(visible)s::text[] IS NULL OR d.dag_id = ANY (%(visible)s) GROUP BY d.tags
) d, unnest(d.tags) AS tag
WHERE (%(tag_ilike)s::text[] IS NULL OR tag ILIKE ANY (%(tag_ilike)s))
  AND (%(tag_like)s::text[] IS NULL OR tag LIKE ANY (%(tag_like)s))
ORDER BY tag;

-- name: fetch_is_favorite
SELECT EXISTS (SELECT FROM dag_favorite WHERE dag_id = %(dag_id)s AND username = %(username)s);

-- name: fetch_active_runs_count
-- Partial index dag_run_active.
SELECT count(*) FROM dag_run WHERE dag_id = %(dag_id)s AND state IN ('queued', 'running');

-- name: insert_favorite
INSERT INTO dag_favorite (username, dag_id) VALUES (%(username)s, %(dag_id)s) ON CONFLICT DO NOTHING;

-- name: delete_favorite
DELETE FROM dag_favorite WHERE username = %(username)s AND dag_id = %(dag_id)s;

-- name: list_stats
-- Runs per DAG and state: all of them are counted at once, in an index.
WITH counted AS (
    SELECT r.dag_id, r.state, count(*) AS count FROM dag_run r
    WHERE (%(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s))
      AND (%(dag_ids)s::text[] IS NULL OR r.dag_id = ANY (%(dag_ids)s))
    GROUP BY r.dag_id, r.state
)
SELECT d.dag_id, d.dag_display_name, s.state, coalesce(c.count, 0) AS count
FROM dag d CROSS JOIN unnest(ARRAY['queued', 'running', 'success', 'failed']) WITH ORDINALITY AS s (state, position)
LEFT JOIN counted c ON c.dag_id = d.dag_id AND c.state = s.state
WHERE NOT d.is_stale AND (%(visible)s::text[] IS NULL OR d.dag_id = ANY (%(visible)s))
  AND (%(dag_ids)s::text[] IS NULL OR d.dag_id = ANY (%(dag_ids)s))
ORDER BY d.dag_id, s.position;
