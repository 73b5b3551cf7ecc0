-- What the UI's grid, graph header and Gantt chart read. Each statement answers with one JSON document as text, built
-- here so that thousands of squares never become Python objects; times are UTC with a Z, as Airflow writes them.

-- name: fetch_grid_runs (the bars; {order_by} is one of ui_grid.ORDERINGS; dag_run_recent serves the UI's own order; a run that
-- ended less than `late` ago runs on)
SELECT coalesce(json_agg(page.run), '[]')::text
FROM (
    SELECT json_build_object(
        'dag_id', r.dag_id,
        'run_id', r.run_id,
        'queued_at', to_char(r.queued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'start_date', to_char(r.start_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'end_date', to_char(r.end_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'run_after', to_char(r.run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'state', CASE WHEN r.end_date BETWEEN %(now)s - %(late)s::interval AND %(now)s + %(late)s::interval
                           AND r.state IN ('success', 'failed') THEN 'running' ELSE r.state END,
        'run_type', r.run_type,
        'duration', greatest(coalesce(extract(epoch FROM coalesce(r.end_date, %(now)s) - r.start_date), 0), 0),
        'has_missed_deadline', EXISTS (SELECT FROM deadline m WHERE m.dag_run_id = r.id AND m.missed),
        'has_note', r.note IS NOT NULL,
        'dag_versions', json_build_array(json_build_object(
            'id', v.id,
            'version_number', v.version_number,
            'dag_id', r.dag_id,
            'bundle_name', d.bundle_name,
            'bundle_version', nullif(v.bundle_digest, ''),
            'created_at', to_char(v.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'dag_display_name', d.dag_display_name,
            'bundle_url', NULL))
        ) AS run
    FROM dag_run r
    JOIN dag d ON d.dag_id = r.dag_id
    JOIN dag_version v ON v.id = r.dag_version_id AND v.dag_id = %(dag_id)s
    WHERE r.dag_id = %(dag_id)s
      AND (%(run_type)s::text[] IS NULL OR r.run_type = ANY (%(run_type)s))
      AND (%(state)s::text[] IS NULL OR r.state = ANY (%(state)s))
      AND (%(triggering_user_ilike)s::text[] IS NULL OR r.triggering_user_name ILIKE ANY (%(triggering_user_ilike)s))
      AND (%(triggering_user_like)s::text[] IS NULL OR r.triggering_user_name LIKE ANY (%(triggering_user_like)s))
      AND (%(run_after_gte)s::timestamptz IS NULL OR r.run_after >= %(run_after_gte)s)
      AND (%(run_after_gt)s::timestamptz IS NULL OR r.run_after > %(run_after_gt)s)
      AND (%(run_after_lte)s::timestamptz IS NULL OR r.run_after <= %(run_after_lte)s)
      AND (%(run_after_lt)s::timestamptz IS NULL OR r.run_after < %(run_after_lt)s)
    ORDER BY {order_by}
    LIMIT %(limit)s OFFSET %(offset)s
) page;

-- name: list_grid_versions (versions that the task instances of the same page of runs belong to, newest first)
SELECT v.id
FROM dag_version v
WHERE v.dag_id = %(dag_id)s
  AND (SELECT count(*) FROM dag_version WHERE dag_id = %(dag_id)s) > 1
  AND v.id IN (
    SELECT t.dag_version_id FROM task_instance t WHERE t.dag_run_id IN (
        SELECT r.id FROM dag_run r
        WHERE r.dag_id = %(dag_id)s
          AND (%(run_type)s::text[] IS NULL OR r.run_type = ANY (%(run_type)s))
          AND (%(state)s::text[] IS NULL OR r.state = ANY (%(state)s))
          AND (%(triggering_user_ilike)s::text[] IS NULL OR r.triggering_user_name ILIKE ANY (%(triggering_user_ilike)s))
          AND (%(triggering_user_like)s::text[] IS NULL OR r.triggering_user_name LIKE ANY (%(triggering_user_like)s))
          AND (%(run_after_gte)s::timestamptz IS NULL OR r.run_after >= %(run_after_gte)s)
          AND (%(run_after_gt)s::timestamptz IS NULL OR r.run_after > %(run_after_gt)s)
          AND (%(run_after_lte)s::timestamptz IS NULL OR r.run_after <= %(run_after_lte)s)
          AND (%(run_after_lt)s::timestamptz IS NULL OR r.run_after < %(run_after_lt)s)
        ORDER BY {order_by}
        LIMIT %(limit)s OFFSET %(offset)s))
ORDER BY v.version_number DESC;

-- name: list_summary_runs (the runs whose squares are asked for, in the order asked; unknown ids are left out)
SELECT r.id, r.run_id, r.dag_version_id, r.revision, r.state IN ('success', 'failed') AS has_ended
FROM unnest(%(run_ids)s::text[]) WITH ORDINALITY AS asked (run_id, place)
JOIN dag_run r ON r.dag_id = %(dag_id)s AND r.run_id = asked.run_id
ORDER BY asked.place;

-- name: fetch_ti_summaries (the squares of one run: a row per task, and per group the sum of its tasks; `group_ids` and
-- `member_ids` are the pairs (group, task) of the run's version, `mapped_ids` its mapped tasks. Primary key of task_instance.)
WITH ti AS MATERIALIZED (
    SELECT t.task_id, t.map_index, t.task_display_name, t.start_date, t.end_date, t.state, v.version_number
    FROM task_instance t JOIN dag_version v ON v.id = t.dag_version_id AND v.dag_id = %(dag_id)s
    WHERE t.dag_run_id = %(dag_run_id)s
), member AS (
    SELECT m.group_id AS node_id, m.group_id AS label, ti.state, ti.start_date, ti.end_date, ti.version_number
    FROM unnest(%(group_ids)s::text[], %(member_ids)s::text[]) AS m (group_id, task_id) JOIN ti USING (task_id)
    UNION ALL
    SELECT task_id, task_display_name, state, start_date, end_date, version_number FROM ti
    WHERE map_index >= 0 OR task_id = ANY (%(mapped_ids)s::text[])
), per_state AS (
    SELECT node_id, min(label) AS label, state, count(*) AS n, min(start_date) AS start_date, max(end_date) AS end_date,
           max(version_number) AS version_number
    FROM member GROUP BY node_id, state
), node AS (
    SELECT task_id AS node_id, task_display_name AS label, state, NULL::json AS child_states, start_date, end_date,
           version_number
    FROM ti WHERE map_index = -1 AND NOT task_id = ANY (%(mapped_ids)s::text[])
    UNION ALL
    SELECT node_id, min(label),
           (array_agg(state ORDER BY array_position(%(priority)s::text[], coalesce(state, 'none'))))[1],
           json_object_agg(coalesce(state, 'None'), n), min(start_date), max(end_date), max(version_number)
    FROM per_state GROUP BY node_id
)
SELECT json_build_object(
    'run_id', %(run_id)s::text,
    'dag_id', %(dag_id)s::text,
    'task_instances', coalesce(json_agg(json_build_object(
        'task_id', node_id,
        'task_display_name', label,
        'state', state,
        'child_states', child_states,
        'min_start_date', to_char(start_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'max_end_date', to_char(end_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'dag_version_number', version_number)), '[]'))::text AS document,
    NOT EXISTS (SELECT FROM ti WHERE state IS NULL OR state <> ALL (%(final)s::text[])) AS is_over
FROM node;

-- name: fetch_durations (of the latest ended runs of a DAG, seconds; the mode is of whole seconds, and of two runs at least)
WITH ended AS (
    SELECT extract(epoch FROM end_date - start_date)::double precision AS s FROM dag_run
    WHERE dag_id = %(dag_id)s AND state IN ('success', 'failed') AND start_date IS NOT NULL AND end_date IS NOT NULL
    ORDER BY run_after DESC, id DESC LIMIT %(at_most)s
)
SELECT json_build_object('duration', (
    SELECT json_build_object(
        'mean', round(avg(s)::numeric, 3),
        'mode', (SELECT round(s) FROM ended GROUP BY 1 HAVING count(*) > 1 ORDER BY count(*) DESC, 1 LIMIT 1),
        'p50', round(percentile_cont(0.50) WITHIN GROUP (ORDER BY s)::numeric, 3),
        'p90', round(percentile_cont(0.90) WITHIN GROUP (ORDER BY s)::numeric, 3),
        'p95', round(percentile_cont(0.95) WITHIN GROUP (ORDER BY s)::numeric, 3),
        'p99', round(percentile_cont(0.99) WITHIN GROUP (ORDER BY s)::numeric, 3))
    FROM ended HAVING count(*) > 0))::text;

-- name: fetch_latest_run (the Dag page's header; null without a run)
SELECT json_build_object(
    'id', r.id,
    'dag_id', r.dag_id,
    'run_id', r.run_id,
    'logical_date', to_char(r.logical_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'run_after', to_char(r.run_after AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'start_date', to_char(r.start_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'end_date', to_char(r.end_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'state', r.state,
    'duration', extract(epoch FROM r.end_date - r.start_date))::text
FROM dag_run r
WHERE r.dag_id = %(dag_id)s
ORDER BY r.run_after DESC, r.id DESC
LIMIT 1;

-- name: fetch_gantt (one row per try of each unmapped task; up_for_retry is left out: its try is in the history)
WITH run AS (
    SELECT id FROM dag_run WHERE dag_id = %(dag_id)s AND run_id = %(run_id)s
), try AS (
    SELECT t.task_id, t.task_display_name, t.try_number, t.state, t.scheduled_at, t.queued_at, t.start_date, t.end_date
    FROM task_instance t JOIN run ON t.dag_run_id = run.id
    WHERE t.map_index = -1 AND t.state IS DISTINCT FROM 'up_for_retry'
    UNION ALL
    SELECT h.task_id, h.task_display_name, h.try_number, h.state, h.scheduled_at, h.queued_at, h.start_date, h.end_date
    FROM task_instance_history h JOIN run ON h.dag_run_id = run.id
    WHERE h.map_index = -1
)
SELECT json_build_object(
    'dag_id', %(dag_id)s::text,
    'run_id', %(run_id)s::text,
    'task_instances', json_agg(json_build_object(
        'task_id', task_id,
        'task_display_name', task_display_name,
        'try_number', try_number,
        'state', state,
        'scheduled_dttm', to_char(scheduled_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'queued_dttm', to_char(queued_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'start_date', to_char(start_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'end_date', to_char(end_date AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'is_group', false,
        'is_mapped', false) ORDER BY task_id, try_number))::text
FROM try
HAVING count(*) > 0;
