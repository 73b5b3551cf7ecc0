-- How late things are, for the card on the home page; of the DAGs in `visible`, all if it is NULL.

-- name: fetch_lag (dag_run_by_run_after and task_instance_by_start from their ends, task_instance_state: each bounded,
-- however much history there is)
WITH made AS (
    SELECT r.queued_at, extract(epoch FROM r.queued_at - r.run_after)::float8 AS late_s
    FROM (SELECT * FROM dag_run WHERE run_after <= %(now)s ORDER BY run_after DESC, id DESC LIMIT %(looked_at)s) r
    JOIN dag d ON d.dag_id = r.dag_id AND d.created_at <= r.run_after
    WHERE r.run_type = 'scheduled' AND r.queued_at IS NOT NULL
      AND (%(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s))
    ORDER BY r.run_after DESC, r.id DESC LIMIT %(newest)s
), started AS (
    SELECT extract(epoch FROM t.start_date - t.queued_at)::float8 AS late_s
    FROM (SELECT * FROM task_instance WHERE start_date <= %(now)s ORDER BY start_date DESC LIMIT %(looked_at)s) t
    JOIN dag_run r ON r.id = t.dag_run_id
    WHERE t.queued_at <= t.start_date AND (%(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s))
    ORDER BY t.start_date DESC LIMIT %(newest)s
), held AS (
    SELECT t.state, CASE t.state WHEN 'queued' THEN t.queued_at ELSE t.scheduled_at END AS since
    FROM (SELECT * FROM task_instance WHERE state IN ('scheduled', 'queued') LIMIT %(counted)s) t
    JOIN dag_run r ON r.id = t.dag_run_id
    WHERE %(visible)s::text[] IS NULL OR r.dag_id = ANY (%(visible)s)
)
SELECT m.runs, m.runs_p50_s, m.runs_p95_s, m.last_run_at, s.starts, s.starts_p50_s, s.starts_p95_s,
       h.scheduled, h.queued, h.oldest_queued_at
FROM (
    SELECT count(*) AS runs, percentile_cont(0.5) WITHIN GROUP (ORDER BY late_s) AS runs_p50_s,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY late_s) AS runs_p95_s, max(queued_at) AS last_run_at FROM made
) m, (
    SELECT count(*) AS starts, percentile_cont(0.5) WITHIN GROUP (ORDER BY late_s) AS starts_p50_s,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY late_s) AS starts_p95_s FROM started
) s, (
    SELECT count(*) FILTER (WHERE state = 'scheduled') AS scheduled, count(*) FILTER (WHERE state = 'queued') AS queued,
           min(since) FILTER (WHERE state = 'queued') AS oldest_queued_at FROM held
) h;

-- name: list_behind (DAGs whose next run is due and not made; dag_due, then dag_run_active)
SELECT d.dag_id, d.dag_display_name, d.next_run_after AS due_at, d.max_active_runs,
       (SELECT count(*) FROM dag_run r WHERE r.dag_id = d.dag_id AND r.state IN ('queued', 'running')) AS active_runs
FROM dag d
WHERE d.next_run_after <= %(due_before)s AND NOT d.is_paused AND NOT d.is_stale
  AND (%(visible)s::text[] IS NULL OR d.dag_id = ANY (%(visible)s))
ORDER BY d.next_run_after, d.dag_id LIMIT %(limit)s;
