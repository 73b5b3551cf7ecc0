-- The Dag list, dashboard counters and calendar of the UI, as JSON documents built here.

-- name: fetch_dag_list ({order_by} is one of ui_dags.ORDERINGS; the last run is looked up per Dag only when a filter or
-- the order needs it; latest runs come from dag_run_recent)
WITH candidate AS MATERIALIZED (
    SELECT d.dag_id, d.dag_display_name, d.next_run_after, last.state AS last_state, last.start_date AS last_start_date
    FROM dag d
    LEFT JOIN LATERAL (
        SELECT r.state, r.start_date FROM dag_run r
        WHERE %(needs_last_run)s AND r.dag_id = d.dag_id
        ORDER BY r.run_after DESC, r.id DESC LIMIT 1
    ) last ON true
    WHERE d.current_version_id IS NOT NULL
      AND (%(visible)s::text[] IS NULL OR d.dag_id = ANY (%(visible)s))
      AND (NOT %(exclude_stale)s OR NOT d.is_stale)
      AND (%(paused)s::boolean IS NULL OR d.is_paused = %(paused)s)
      AND (%(dag_ids)s::text[] IS NULL OR d.dag_id = ANY (%(dag_ids)s))
      AND (%(dag_id_ilike)s::text[] IS NULL OR d.dag_id ILIKE ANY (%(dag_id_ilike)s))
      AND (%(dag_id_like)s::text[] IS NULL OR d.dag_id LIKE ANY (%(dag_id_like)s))
      AND (%(dag_display_name_ilike)s::text[] IS NULL OR d.dag_display_name ILIKE ANY (%(dag_display_name_ilike)s))
      AND (%(dag_display_name_like)s::text[] IS NULL OR d.dag_display_name LIKE ANY (%(dag_display_name_like)s))
      AND (%(any_tags)s::text[] IS NULL OR d.tags && %(any_tags)s)
      AND (%(all_tags)s::text[] IS NULL OR d.tags @> %(all_tags)s)
      AND (%(owners)s::text[] IS NULL OR d.owners && %(owners)s)
      AND (%(bundle_name)s::text IS NULL OR d.bundle_name = %(bundle_name)s)
      AND (%(bundle_version)s::text IS NULL OR %(bundle_version)s = (
            SELECT v.bundle_digest FROM dag_version v WHERE v.id = d.current_version_id))
      AND (%(last_dag_run_state)s::text IS NULL OR last.state = %(last_dag_run_state)s)
      AND (%(dag_run_state)s::text IS NULL
           OR EXISTS (SELECT FROM dag_run r WHERE r.dag_id = d.dag_id AND r.state = %(dag_run_state)s))
      AND (%(is_favorite)s::boolean IS NULL OR %(is_favorite)s = EXISTS (
            SELECT FROM dag_favorite f WHERE f.username = %(username)s AND f.dag_id = d.dag_id))
      AND (%(has_pending_actions)s::boolean IS NULL OR %(has_pending_actions)s = EXISTS (
            SELECT FROM hitl_detail h
            JOIN task_instance t ON t.id = h.wait_id AND t.state = 'deferred'
            JOIN dag_run r ON r.id = h.dag_run_id
            WHERE h.responded_at IS NULL AND r.dag_id = d.dag_id))
      AND (%(has_asset_schedule)s::bool IS NULL OR %(has_asset_schedule)s = (d.asset_expression IS NOT NULL))
      AND (%(asset_dependency)s::text[] IS NULL OR EXISTS (
          SELECT FROM asset_use u JOIN asset a ON a.id = u.asset_id WHERE u.dag_id = d.dag_id AND u.kind = 'schedule'
            AND (a.name ILIKE ANY (%(asset_dependency)s) OR a.uri ILIKE ANY (%(asset_dependency)s))))
      AND (%(has_import_errors)s::boolean IS NULL OR %(has_import_errors)s = EXISTS (
            SELECT FROM import_error e WHERE e.bundle_name = d.bundle_name AND e.filename = d.relative_fileloc))
), page AS (
    SELECT dag_id, row_number() OVER () AS place
    FROM (SELECT c.dag_id FROM candidate c ORDER BY {order_by} LIMIT %(limit)s OFFSET %(offset)s) c
)
SELECT json_build_object(
    'total_entries', (SELECT count(*) FROM candidate),
    'dags', coalesce(json_agg(json_build_object(
        'dag_id', d.dag_id,
        'dag_display_name', d.dag_display_name,
        'is_paused', d.is_paused,
        'is_stale', d.is_stale,
        'last_parsed_time', to_char(d.last_parsed_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'last_parse_duration', d.last_parse_duration_s,
        'last_expired', to_char(d.last_expired_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'bundle_name', d.bundle_name,
        'bundle_version', nullif(v.bundle_digest, ''),
        'relative_fileloc', d.relative_fileloc,
        'fileloc', d.fileloc,
        'description', d.description,
        'timetable_summary', d.timetable_summary,
        'timetable_description', d.timetable_description,
        'timetable_partitioned', d.is_partitioned,
        'timetable_periodic', v.is_periodic,
        'is_backfillable', NOT d.is_partitioned AND v.is_periodic,
        'tags', (SELECT coalesce(json_agg(json_build_object(
                     'name', tag, 'dag_id', d.dag_id, 'dag_display_name', d.dag_display_name) ORDER BY tag), '[]')
                 FROM unnest(d.tags) AS tag),
        'max_active_tasks', d.max_active_tasks,
        'max_active_runs', d.max_active_runs,
        'max_consecutive_failed_dag_runs', d.max_consecutive_failed_dag_runs,
        'has_task_concurrency_limits', v.has_task_limits,
        'has_import_errors', EXISTS (
            SELECT FROM import_error e WHERE e.bundle_name = d.bundle_name AND e.filename = d.relative_fileloc),
        'next_dagrun_logical_date', to_char(d.next_logical_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'next_dagrun_data_interval_start',
            to_char(d.next_data_interval_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'next_dagrun_data_interval_end',
            to_char(d.next_data_interval_end AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'next_dagrun_run_after', to_char(d.next_run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'allowed_run_types', NULL,
        'owners', to_json(d.owners),
        'asset_expression', d.asset_expression,
        'file_token', translate(encode(convert_to(d.dag_id, 'UTF8'), 'base64'), E'+/=\n', '-_'),
        'pending_actions', '[]'::json,
        'is_favorite', EXISTS (
            SELECT FROM dag_favorite f WHERE f.username = %(username)s AND f.dag_id = d.dag_id),
        'latest_dag_runs', (
            SELECT coalesce(json_agg(json_build_object(
                'id', r.id,
                'dag_id', r.dag_id,
                'run_id', r.run_id,
                'logical_date', to_char(r.logical_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'run_after', to_char(r.run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'start_date', to_char(r.start_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'end_date', to_char(r.end_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'state', r.state,
                'duration', extract(epoch FROM r.end_date - r.start_date))), '[]')
            FROM (SELECT * FROM dag_run r WHERE r.dag_id = d.dag_id
                  ORDER BY r.run_after DESC, r.id DESC LIMIT %(dag_runs_limit)s) r)
        ) ORDER BY page.place), '[]'))::text
FROM page JOIN dag d ON d.dag_id = page.dag_id JOIN dag_version v ON v.id = d.current_version_id;

-- name: fetch_dag_stats (the dashboard's four counters: by the state of each living Dag's last run)
SELECT json_build_object(
    'active_dag_count', count(*) FILTER (WHERE NOT d.is_paused),
    'failed_dag_count', count(*) FILTER (WHERE last.state = 'failed'),
    'running_dag_count', count(*) FILTER (WHERE last.state = 'running'),
    'queued_dag_count', count(*) FILTER (WHERE last.state = 'queued'))::text
FROM dag d
LEFT JOIN LATERAL (
    SELECT r.state FROM dag_run r WHERE r.dag_id = d.dag_id ORDER BY r.run_after DESC, r.id DESC LIMIT 1
) last ON true
WHERE NOT d.is_stale AND d.current_version_id IS NOT NULL
  AND (%(visible)s::text[] IS NULL OR d.dag_id = ANY (%(visible)s));

-- name: fetch_historical_metrics (the dashboard's history card: how many runs that began and ended inside the window, and
-- how many of their task instances, are in each state, which the next statement counts. dag_run_by_start)
WITH run AS MATERIALIZED (
    SELECT r.id, r.state FROM dag_run r
    WHERE (r.start_date >= %(start_date)s OR (r.start_date IS NULL AND %(now)s::timestamptz >= %(start_date)s))
      AND coalesce(r.end_date, %(now)s) <= coalesce(%(end_date)s::timestamptz, %(now)s)
      AND (%(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s))
), run_count AS (
    SELECT state, count(*) AS n FROM run GROUP BY state
)
SELECT json_build_object(
    'dag_run_states', (
        SELECT json_object_agg(s.state, least(coalesce(c.n, 0), %(count_limit)s))
        FROM unnest(%(run_states)s::text[]) AS s (state) LEFT JOIN run_count c USING (state)),
    'dag_run_counts_are_lower_bounds', EXISTS (SELECT FROM run_count WHERE n >= %(count_limit)s),
    'task_instance_states', ti.states,
    'task_instance_counts_are_lower_bounds',
        EXISTS (SELECT FROM json_each_text(ti.states) AS s (state, n) WHERE s.n::int >= %(count_limit)s),
    'state_count_limit', %(count_limit)s::int)::text
FROM (SELECT json_build_object({counts}) AS states OFFSET 0) ti;

-- name: count_ti (task instances in one state; counting stops at `count_limit`, which the UI shows as "n+". Of a state that
-- few have, all who have it are read: task_instance_state, task_instance_without_state. Any other is soon counted run by run)
CASE WHEN (SELECT count(*) FROM (SELECT FROM task_instance t WHERE {state} LIMIT %(few)s) f) < %(few)s
    THEN (SELECT count(*) FROM (
        SELECT FROM (SELECT t.dag_run_id FROM task_instance t WHERE {state} OFFSET 0) t JOIN run ON run.id = t.dag_run_id
        LIMIT %(count_limit)s) f)
    ELSE (SELECT count(*) FROM (
        SELECT FROM run CROSS JOIN LATERAL (
            SELECT FROM task_instance t WHERE t.dag_run_id = run.id AND {state} OFFSET 0) t
        LIMIT %(count_limit)s) f) END

-- name: list_calendar (what ran, per hour or day and state; of a run with a partition by its date, else by its logical date;
-- a run that has neither, as of an asset, is not shown. Oldest first)
SELECT date_trunc(%(granularity)s, r.date, 'UTC') AS date, r.state, count(*) AS count
FROM (SELECT coalesce(partition_date, logical_date) AS date, state FROM dag_run WHERE dag_id = %(dag_id)s) r
WHERE r.date IS NOT NULL
  AND (%(logical_date_gte)s::timestamptz IS NULL OR r.date >= %(logical_date_gte)s)
  AND (%(logical_date_gt)s::timestamptz IS NULL OR r.date > %(logical_date_gt)s)
  AND (%(logical_date_lte)s::timestamptz IS NULL OR r.date <= %(logical_date_lte)s)
  AND (%(logical_date_lt)s::timestamptz IS NULL OR r.date < %(logical_date_lt)s)
GROUP BY 1, 2
ORDER BY 1, 2;

-- name: fetch_last_interval (where a Dag's timetable stands: the newest run that it, or a backfill, started)
SELECT logical_date, data_interval_start, data_interval_end, run_after FROM (
    (SELECT r.logical_date, r.data_interval_start, r.data_interval_end, r.run_after
     FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id AND NOT d.is_partitioned
     WHERE r.dag_id = %(dag_id)s AND r.run_type IN ('scheduled', 'backfill')
       AND r.logical_date IS NOT NULL AND r.data_interval_start IS NOT NULL
     ORDER BY r.logical_date DESC LIMIT 1)
    UNION ALL
    (SELECT r.run_after, r.run_after, r.run_after, r.run_after
     FROM dag_run r JOIN dag d ON d.dag_id = r.dag_id AND d.is_partitioned
     WHERE r.dag_id = %(dag_id)s AND r.run_type IN ('scheduled', 'backfill') AND r.partition_date IS NOT NULL
     ORDER BY r.partition_date DESC LIMIT 1)) last;

-- name: fetch_dag_exists
SELECT true FROM dag WHERE dag_id = %(dag_id)s AND current_version_id IS NOT NULL;
