-- A wait is current while its id is that of its task instance and the instance waits; any other row is dead (ADR 13).

-- name: upsert_waits (with the move to deferred; primary key. Not for an instance that was deleted meanwhile)
INSERT INTO wait (dag_run_id, task_id, map_index, id, dag_id, kind, key, probe, terms, registered_at, deadline_at)
SELECT u.dag_run_id, u.task_id, u.map_index, u.id, u.dag_id, u.kind, u.key, u.probe::json, u.terms::json, u.registered_at, u.deadline_at
FROM unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[], %(ids)s::uuid[], %(dag_ids)s::text[],
            %(kinds)s::text[], %(keys)s::text[], %(probes)s::text[], %(terms)s::text[],
            %(registered)s::timestamptz[], %(deadlines)s::timestamptz[])
     AS u(dag_run_id, task_id, map_index, id, dag_id, kind, key, probe, terms, registered_at, deadline_at)
JOIN task_instance t ON t.dag_run_id = u.dag_run_id AND t.task_id = u.task_id AND t.map_index = u.map_index
ON CONFLICT (dag_run_id, task_id, map_index) DO UPDATE SET
    id = excluded.id, dag_id = excluded.dag_id, kind = excluded.kind, key = excluded.key, probe = excluded.probe,
    terms = excluded.terms, registered_at = excluded.registered_at, deadline_at = excluded.deadline_at,
    status = 'waiting', event = NULL, ended_at = NULL;

-- name: fire_waits (a deferral ended: kept until the resumed try has ended)
UPDATE wait w SET status = 'fired', event = u.event::json, ended_at = %(now)s
FROM unnest(%(ids)s::uuid[], %(events)s::text[]) AS u(id, event) WHERE w.id = u.id;

-- name: delete_waits (the task instance ended, or starts from nothing)
DELETE FROM wait w USING unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[])
     AS u(dag_run_id, task_id, map_index)
WHERE w.dag_run_id = u.dag_run_id AND w.task_id = u.task_id AND w.map_index = u.map_index;

-- name: list_waits_to_arm (the pool, at its start; a page of the primary key, in whose order rows lie, then of each whether
-- it is current: were the status asked for in the page, or the instance joined without LIMIT, the planner would for every
-- page read a partial index and sort it (without statistics, after a first flood of waits), or hash the whole table (with
-- them). In order of their random ids a million rows are read in three times the time)
WITH page AS MATERIALIZED (
    SELECT id, dag_run_id, task_id, map_index, dag_id, status, kind, key, probe, terms, registered_at, deadline_at FROM wait
    WHERE (dag_run_id, task_id, map_index) > (%(run)s::bigint, %(task_id)s::text, %(map_index)s::int)
      AND (%(shards)s::int[] IS NULL OR get_byte(uuid_send(id), 0) >> %(shift)s = ANY (%(shards)s::int[]))
    ORDER BY dag_run_id, task_id, map_index LIMIT %(limit)s
)
SELECT w.id, w.dag_run_id, w.dag_id, w.kind, w.key, w.probe::text AS probe, w.terms::text AS terms,
    extract(epoch FROM w.registered_at)::float8 AS registered_at,
    coalesce(extract(epoch FROM w.deadline_at)::float8, 'infinity') AS deadline_at,
    w.status = 'waiting' AND coalesce(t.state IN ('deferred', 'up_for_reschedule'), false) AND NOT d.is_paused AS is_current,
    w.task_id, w.map_index
FROM page w JOIN dag d ON d.dag_id = w.dag_id
LEFT JOIN LATERAL (SELECT i.state FROM task_instance i WHERE i.id = w.id LIMIT 1) t ON true
ORDER BY w.dag_run_id, w.task_id, w.map_index;

-- name: list_waits_of_dag (the DAG was unpaused or registered; partial index wait_of_dag)
SELECT w.id, w.dag_run_id, w.dag_id, w.kind, w.key, w.probe::text AS probe, w.terms::text AS terms,
    extract(epoch FROM w.registered_at)::float8 AS registered_at,
    coalesce(extract(epoch FROM w.deadline_at)::float8, 'infinity') AS deadline_at
FROM wait w
JOIN task_instance t ON t.id = w.id AND t.state IN ('deferred', 'up_for_reschedule')
JOIN dag d ON d.dag_id = w.dag_id AND NOT d.is_paused
WHERE w.status = 'waiting' AND w.dag_id = %(dag_id)s
ORDER BY w.id;

-- name: list_waits_of_run (the scheduler of another daemon has begun some; primary key)
SELECT w.id, w.dag_run_id, w.dag_id, w.kind, w.key, w.probe::text AS probe, w.terms::text AS terms,
    extract(epoch FROM w.registered_at)::float8 AS registered_at,
    coalesce(extract(epoch FROM w.deadline_at)::float8, 'infinity') AS deadline_at
FROM wait w
JOIN task_instance t ON t.id = w.id AND t.state IN ('deferred', 'up_for_reschedule')
JOIN dag d ON d.dag_id = w.dag_id AND NOT d.is_paused
WHERE w.status = 'waiting' AND w.dag_run_id = %(dag_run_id)s
ORDER BY w.id;

-- name: list_current_ids (which of these are still waited for; unique index on id)
SELECT w.id FROM wait w
JOIN task_instance t ON t.id = w.id AND t.state IN ('deferred', 'up_for_reschedule')
JOIN dag d ON d.dag_id = w.dag_id AND NOT d.is_paused
WHERE w.status = 'waiting' AND w.id = ANY (%(ids)s::uuid[]);

-- name: list_current_ids_page (the pool's sweep; as list_waits_to_arm)
WITH page AS MATERIALIZED (
    SELECT id, dag_run_id, task_id, map_index, dag_id, status FROM wait
    WHERE (dag_run_id, task_id, map_index) > (%(run)s::bigint, %(task_id)s::text, %(map_index)s::int)
      AND (%(shards)s::int[] IS NULL OR get_byte(uuid_send(id), 0) >> %(shift)s = ANY (%(shards)s::int[]))
    ORDER BY dag_run_id, task_id, map_index LIMIT %(limit)s
)
SELECT w.id,
    w.status = 'waiting' AND coalesce(t.state IN ('deferred', 'up_for_reschedule'), false) AND NOT d.is_paused AS is_current,
    w.dag_run_id, w.task_id, w.map_index
FROM page w JOIN dag d ON d.dag_id = w.dag_id
LEFT JOIN LATERAL (SELECT i.state FROM task_instance i WHERE i.id = w.id LIMIT 1) t ON true
ORDER BY w.dag_run_id, w.task_id, w.map_index;

-- name: list_waits_by_ids (what the sweep found and the pool does not know)
SELECT w.id, w.dag_run_id, w.dag_id, w.kind, w.key, w.probe::text AS probe, w.terms::text AS terms,
    extract(epoch FROM w.registered_at)::float8 AS registered_at,
    coalesce(extract(epoch FROM w.deadline_at)::float8, 'infinity') AS deadline_at
FROM wait w WHERE w.id = ANY (%(ids)s::uuid[]);

-- name: list_resumes (dispatch of tries that go on; primary key)
SELECT w.dag_run_id, w.task_id, w.map_index, w.terms::text AS terms, w.event::text AS event
FROM wait w JOIN unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[])
     AS u(dag_run_id, task_id, map_index)
  ON w.dag_run_id = u.dag_run_id AND w.task_id = u.task_id AND w.map_index = u.map_index
WHERE w.status = 'fired';

-- name: lock_terms (unique index on id)
SELECT terms::text FROM wait WHERE id = %(id)s AND status = 'waiting' FOR UPDATE;

-- name: update_terms (the row is locked by lock_terms)
UPDATE wait SET terms = %(terms)s::json WHERE id = %(id)s AND status = 'waiting';

-- name: delete_dead_waits (hourly; joins both tables whole. Rows that the scheduler is about to write stay until the next
-- hour: it locks dag runs first, and this does not)
DELETE FROM wait WHERE id IN (
    SELECT w.id FROM wait w
    JOIN task_instance t ON t.dag_run_id = w.dag_run_id AND t.task_id = w.task_id AND t.map_index = w.map_index
    WHERE CASE w.status WHEN 'waiting' THEN w.id <> t.id OR t.state IS NULL OR t.state NOT IN ('deferred', 'up_for_reschedule')
                        ELSE t.state IS NULL OR t.state NOT IN ('scheduled', 'queued', 'running', 'restarting') END
    FOR UPDATE OF w SKIP LOCKED);
