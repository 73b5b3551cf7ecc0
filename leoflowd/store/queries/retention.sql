-- What has ended and is needed by nobody any more (ADR 93). `before`: what ended, and was due, earlier is too old; NULL: nothing is.
-- `keep`: so many ended runs of each DAG stay; NULL: all do.

-- name: beyond_limits (dag_run_by_run_after from its old end; dag_run_recent for each DAG)
WITH candidate AS (
    SELECT r.id FROM dag_run r
    WHERE r.run_after < %(before)s::timestamptz AND r.end_date < %(before)s AND r.state IN ('success', 'failed')
    UNION
    SELECT r.id FROM dag d CROSS JOIN LATERAL (
        SELECT n.id FROM dag_run n WHERE n.dag_id = d.dag_id AND n.state IN ('success', 'failed')
        ORDER BY n.run_after DESC, n.id DESC OFFSET %(keep)s
    ) r WHERE %(keep)s::int IS NOT NULL
)

-- name: of_these
WITH candidate AS (SELECT unnest(%(ids)s::bigint[]) AS id)

-- name: removable (what nobody needs of the candidates)
, removable AS (
    SELECT r.id, r.dag_id, r.run_id, r.run_after
    FROM candidate c JOIN dag_run r ON r.id = c.id JOIN dag d ON d.dag_id = r.dag_id
    WHERE r.state IN ('success', 'failed')
    -- those that say whether its DAG is paused, what its last run was, and where its timetable stands
      AND (SELECT count(*) FROM (SELECT FROM dag_run n WHERE n.dag_id = r.dag_id AND n.state IN ('success', 'failed')
                               AND (n.run_after, n.id) > (r.run_after, r.id) LIMIT greatest(1, d.max_consecutive_failed_dag_runs)) newer
      ) >= greatest(1, d.max_consecutive_failed_dag_runs)
      AND (r.run_type NOT IN ('scheduled', 'backfill') OR r.logical_date IS NULL OR EXISTS (
          SELECT FROM dag_run n WHERE n.dag_id = r.dag_id AND n.logical_date > r.logical_date AND n.run_type IN ('scheduled', 'backfill')))
      AND (r.run_type NOT IN ('scheduled', 'backfill') OR r.partition_date IS NULL OR EXISTS (
          SELECT FROM dag_run n WHERE n.dag_id = r.dag_id AND n.partition_date > r.partition_date AND n.run_type IN ('scheduled', 'backfill')))
    -- the past of a run that goes on, or of the next one (depends_on_past, wait_for_downstream)
      AND (r.logical_date IS NULL OR EXISTS (SELECT FROM dag_run n WHERE n.dag_id = r.dag_id AND n.logical_date > r.logical_date))
      AND NOT EXISTS (
          SELECT FROM dag_run a WHERE a.dag_id = r.dag_id AND a.state IN ('queued', 'running') AND r.id = (
              SELECT p.id FROM dag_run p WHERE p.dag_id = a.dag_id AND p.logical_date < a.logical_date ORDER BY p.logical_date DESC LIMIT 1))
    -- a backfill that goes on looks at what is there already; a canary is judged by its runs
      AND NOT EXISTS (SELECT FROM backfill b WHERE b.dag_id = r.dag_id AND b.completed_at IS NULL)
      AND NOT EXISTS (SELECT FROM canary_run c JOIN canary k ON k.id = c.canary_id WHERE c.dag_run_id = r.id AND k.ended_at IS NULL)
    -- what is still to be done for it
      AND NOT EXISTS (SELECT FROM callback c WHERE c.dag_run_id = r.id AND c.state IN ('queued', 'running'))
      AND NOT EXISTS (SELECT FROM task_instance t WHERE t.dag_run_id = r.id AND t.state IN (
          'scheduled', 'queued', 'running', 'restarting', 'deferred', 'up_for_retry', 'up_for_reschedule'))
)

-- name: list_removable (the oldest, each with the number of its task instances)
SELECT r.id, (SELECT count(*) FROM task_instance t WHERE t.dag_run_id = r.id) AS instances
FROM removable r ORDER BY r.run_after, r.id LIMIT %(limit)s;

-- name: list_what_would_go (per DAG, most runs first)
SELECT r.dag_id, count(*) AS runs, sum(n.count)::bigint AS task_instances, min(r.run_after) AS oldest, max(r.run_after) AS newest
FROM removable r CROSS JOIN LATERAL (SELECT count(*) FROM task_instance t WHERE t.dag_run_id = r.id) n
GROUP BY r.dag_id ORDER BY runs DESC, r.dag_id;

-- name: remove (in order of id; what somebody holds, or has cleared meanwhile, stays. Cascades)
, held AS MATERIALIZED (
    SELECT id FROM dag_run WHERE id IN (SELECT id FROM removable) AND state IN ('success', 'failed') ORDER BY id FOR UPDATE SKIP LOCKED
)
DELETE FROM dag_run WHERE id IN (SELECT id FROM held);
