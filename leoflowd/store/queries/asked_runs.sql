-- name: fetch_existing_run (unique indexes on (dag_id, run_id) and (dag_id, logical_date))
SELECT id, run_id FROM dag_run
WHERE dag_id = %(dag_id)s AND (run_id = %(run_id)s::text OR logical_date = %(logical_date)s::timestamptz)
ORDER BY run_id IS NOT DISTINCT FROM %(run_id)s::text DESC LIMIT 1;

-- name: fetch_run_asked_by (index event_log_by_dag; a day of slack for a clock that was set back)
SELECT e.run_id FROM event_log e
WHERE e.dag_id = %(dag_id)s AND e.event = 'trigger_dag_run' AND e.extra ->> 'try_id' = %(try_id)s
  AND e.occurred_at >= coalesce((SELECT t.queued_at FROM task_instance t WHERE t.id = %(try_id)s::uuid),
                                (SELECT c.queued_at FROM callback c WHERE c.try_id = %(try_id)s::uuid),
                                '-infinity') - interval '1 day'
  AND CASE WHEN %(run_id)s::text IS NULL THEN (e.extra ->> 'request_id')::bigint = %(request_id)s
           ELSE e.run_id = %(run_id)s END
  AND EXISTS (SELECT FROM dag_run r WHERE r.dag_id = e.dag_id AND r.run_id = e.run_id)
ORDER BY e.occurred_at DESC LIMIT 1;
