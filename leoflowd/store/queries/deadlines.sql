-- name: list_durations (ended runs of the DAG, in Airflow's order; an index on dag_id serves it, and the rows are sorted)
SELECT extract(epoch FROM end_date - start_date)::double precision FROM dag_run
WHERE dag_id = %(dag_id)s AND start_date IS NOT NULL AND end_date IS NOT NULL
ORDER BY logical_date DESC LIMIT %(at_most)s;

-- name: insert_deadlines (with their run)
INSERT INTO deadline (dag_run_id, position, deadline_time, after_queued_s, created_at)
SELECT %(dag_run_id)s, position, deadline_time, after_queued_s, %(now)s
FROM unnest(%(positions)s::integer[], %(times)s::timestamptz[], %(after_queued)s::double precision[])
    AS u(position, deadline_time, after_queued_s);

-- name: delete_met (with the success of their runs, whose rows are locked; unique index on dag_run_id)
DELETE FROM deadline d USING dag_run r
WHERE d.dag_run_id = ANY (%(runs)s::bigint[]) AND r.id = d.dag_run_id AND NOT d.missed AND r.end_date <= d.deadline_time;

-- name: move_queued (with the clear of their runs, whose rows are locked)
UPDATE deadline SET deadline_time = %(now)s + make_interval(secs => after_queued_s)
WHERE dag_run_id = ANY (%(runs)s::bigint[]) AND NOT missed AND after_queued_s IS NOT NULL;

-- name: lock_due (the component; partial index deadline_open. Runs first, as whoever deletes one locks it first)
SELECT id FROM dag_run WHERE id IN (
    SELECT dag_run_id FROM deadline WHERE NOT missed AND deadline_time <= %(now)s ORDER BY deadline_time LIMIT %(at_most)s
) ORDER BY id FOR KEY SHARE;

-- name: mark_missed (of locked runs; once only)
UPDATE deadline d SET missed = true FROM dag_run r
WHERE d.dag_run_id = ANY (%(runs)s::bigint[]) AND r.id = d.dag_run_id AND NOT d.missed AND d.deadline_time <= %(now)s
RETURNING d.id::text, d.dag_run_id, d.position, d.deadline_time, r.state, r.start_date, r.end_date;

-- name: fetch_next (partial index deadline_open)
SELECT min(deadline_time) FROM deadline WHERE NOT missed;

-- name: list_deadlines (the UI; {order_by} is one of deadlines.ORDERINGS; of one run by the unique index on dag_run_id, else
-- all that are open or missed are looked at; one JSON document)
WITH chosen AS MATERIALIZED (
    SELECT d.*, r.dag_id, r.run_id, r.dag_version_id FROM deadline d JOIN dag_run r ON r.id = d.dag_run_id
    WHERE (%(dag_run_id)s::bigint IS NULL OR d.dag_run_id = %(dag_run_id)s)
      AND (%(dag_id)s::text IS NULL OR r.dag_id = %(dag_id)s)
      AND (%(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s))
      AND (%(missed)s::boolean IS NULL OR d.missed = %(missed)s)
      AND (%(deadline_time_gte)s::timestamptz IS NULL OR d.deadline_time >= %(deadline_time_gte)s)
      AND (%(deadline_time_gt)s::timestamptz IS NULL OR d.deadline_time > %(deadline_time_gt)s)
      AND (%(deadline_time_lte)s::timestamptz IS NULL OR d.deadline_time <= %(deadline_time_lte)s)
      AND (%(deadline_time_lt)s::timestamptz IS NULL OR d.deadline_time < %(deadline_time_lt)s)
)
SELECT json_build_object('deadlines', coalesce(json_agg(page.deadline), '[]'),
    'total_entries', (SELECT count(*) FROM chosen))::text
FROM (
    SELECT json_build_object(
        'id', d.id,
        'dag_id', d.dag_id,
        'dag_run_id', d.run_id,
        'deadline_time', to_char(d.deadline_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'missed', d.missed,
        'created_at', to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'alert_id', md5(d.dag_version_id || ':' || d.position)::uuid,
        'alert_name', NULL,
        'alert_description', NULL) AS deadline
    FROM chosen d
    ORDER BY {order_by} LIMIT %(limit)s OFFSET %(offset)s
) page;
