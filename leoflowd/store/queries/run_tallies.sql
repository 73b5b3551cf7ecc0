-- name: list_tallies (primary key of task_instance: one run; called by the diff of two runs)
SELECT t.task_id, t.state, count(*)::int AS count, bool_or(t.map_index >= 0) AS is_mapped,
       max(t.try_number)::int AS max_try_number, sum(extract(epoch FROM t.end_date - t.start_date))::float8 AS duration_s,
       min(t.start_date) AS first_start
FROM task_instance t WHERE t.dag_run_id = %(dag_run_id)s GROUP BY t.task_id, t.state;

-- name: fetch_success_before (index dag_run_recent, backwards in time from the run)
SELECT p.run_id FROM dag_run r JOIN dag_run p
  ON p.dag_id = r.dag_id AND p.state = 'success' AND (p.run_after, p.id) < (r.run_after, r.id)
WHERE r.id = %(dag_run_id)s ORDER BY p.run_after DESC, p.id DESC LIMIT 1;
