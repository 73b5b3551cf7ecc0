-- name: list_planned_dags (what the forecast is about: DAGs with a schedule, those that run first, and the one that is to be
-- changed before all. Primary key of dag; there are as many rows as DAGs)
SELECT d.dag_id FROM dag d
WHERE NOT d.is_stale AND (%(visible)s::text[] IS NULL OR d.dag_id = ANY (%(visible)s))
  AND (d.dag_id = %(changed)s OR (d.timetable_summary IS NOT NULL
      AND (%(dag_id_ilike)s::text[] IS NULL OR d.dag_id ILIKE ANY (%(dag_id_ilike)s))
      AND (%(dag_id_like)s::text[] IS NULL OR d.dag_id LIKE ANY (%(dag_id_like)s))))
ORDER BY d.dag_id IS DISTINCT FROM %(changed)s, d.is_paused, d.dag_id LIMIT %(limit)s;

-- name: list_means (of the newest finished runs of each DAG: dag_run_recent, then the primary key of task_instance)
SELECT r.dag_id, t.task_id, avg(extract(epoch FROM t.end_date - t.start_date))::float8 AS duration_s,
       count(*)::float8 / count(DISTINCT t.dag_run_id) AS instances
FROM unnest(%(dag_ids)s::text[]) AS wanted(dag_id)
CROSS JOIN LATERAL (
    SELECT n.id, n.dag_id FROM dag_run n WHERE n.dag_id = wanted.dag_id AND n.state IN ('success', 'failed')
    ORDER BY n.run_after DESC, n.id DESC LIMIT %(runs)s
) r
JOIN task_instance t ON t.dag_run_id = r.id AND t.state = 'success' AND t.end_date >= t.start_date
GROUP BY r.dag_id, t.task_id;

-- name: list_pool_sizes
SELECT name, slots, include_deferred FROM pool;
