-- Whose logs are looked at, the newest runs first.

-- name: list_tries (a run without any is one row with no task; runs along dag_run_recent or dag_run_by_run_after, the tries of each by its key. Planned for its own parameters)
SELECT r.id AS dag_run_id, r.dag_id, r.run_id, r.run_after, t.task_id, t.map_index, t.try_number, t.state, t.is_over, t.because, t.end_date
FROM (
    SELECT id, dag_id, run_id, run_after FROM dag_run
    WHERE (run_after, id) <= (%(before)s, %(dag_run_id)s)
      AND (%(since)s::timestamptz IS NULL OR run_after >= %(since)s)
      AND (%(dag_id)s::text IS NULL OR dag_id = %(dag_id)s)
      AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
      AND (%(visible)s::text[] IS NULL OR dag_id = ANY (%(visible)s))
    ORDER BY run_after DESC, id DESC LIMIT %(runs)s
) r LEFT JOIN LATERAL (
    SELECT i.task_id, i.map_index, i.try_number, i.state, i.end_date IS NOT NULL AS is_over, i.because, i.end_date
    FROM task_instance i
    WHERE i.dag_run_id = r.id AND i.start_date IS NOT NULL
      AND (%(task_id)s::text IS NULL OR i.task_id = %(task_id)s) AND (%(state)s::text IS NULL OR i.state = %(state)s)
    UNION ALL
    SELECT h.task_id, h.map_index, h.try_number, h.state, true, h.because, h.end_date
    FROM task_instance_history h
    WHERE h.dag_run_id = r.id AND h.start_date IS NOT NULL
      AND (%(task_id)s::text IS NULL OR h.task_id = %(task_id)s) AND (%(state)s::text IS NULL OR h.state = %(state)s)
    ORDER BY task_id, map_index, try_number
) t ON r.id <> %(dag_run_id)s OR (t.task_id, t.map_index, t.try_number) >= (%(from_task)s, %(from_index)s, %(from_try)s)
ORDER BY r.run_after DESC, r.id DESC, t.task_id, t.map_index, t.try_number
LIMIT %(tries)s;
