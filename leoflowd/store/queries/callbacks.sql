-- name: insert_callbacks (with the transition that calls for them; their order is that of the ends)
INSERT INTO callback (try_id, dag_run_id, task_id, map_index, of_try, try_number, max_tries, call, queued_at)
SELECT try_id::uuid, dag_run_id, task_id, map_index, of_try::uuid, try_number, max_tries, call::json, %(now)s
FROM unnest(%(try_ids)s::text[], %(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::integer[],
    %(of_tries)s::text[], %(try_numbers)s::integer[], %(max_tries)s::integer[], %(calls)s::text[])
    WITH ORDINALITY AS u(try_id, dag_run_id, task_id, map_index, of_try, try_number, max_tries, call, place)
ORDER BY place;

-- name: list_open (the launcher; partial index callback_open; what was given to an executor comes first)
SELECT c.id, c.try_id, c.dag_run_id, c.task_id, c.map_index, c.try_number, c.max_tries, c.call::text AS call, c.state,
    c.starts, c.launcher, c.launched_at, c.queued_at
FROM callback c WHERE c.state IN ('queued', 'running') ORDER BY c.launcher = '', c.id LIMIT %(at_most)s;

-- name: mark_launched (the launcher, before the launch; fenced by the try id)
UPDATE callback SET launcher = %(launcher)s, launched_at = %(now)s
WHERE try_id = ANY (%(try_ids)s::uuid[]) AND state = 'queued' RETURNING try_id::text;

-- name: fetch_of_try (agents; unique index on try_id)
SELECT c.try_id AS id, c.dag_run_id, r.dag_id, r.run_id, coalesce(c.task_id, '') AS task_id, c.map_index, c.try_number,
    c.state, c.id AS callback_id, c.call ->> 'of_dag' = 'true' AS of_dag,
    c.state = 'queued' AND (c.starts > 0 OR c.call ->> 'of_dag' = 'false') AS goes_on
FROM callback c JOIN dag_run r ON r.id = c.dag_run_id WHERE c.try_id = ANY (%(try_ids)s::uuid[]);

-- name: fetch_for_spec (agents: one that asks for its spec)
SELECT c.id, c.try_id, c.dag_run_id, c.task_id, c.map_index, c.try_number, c.max_tries, c.call::text AS call, c.state,
    c.starts, c.launcher, c.launched_at, c.queued_at
FROM callback c WHERE c.try_id = %(try_id)s::uuid;

-- name: mark_started (agents; fenced by the try id)
UPDATE callback SET state = 'running', started_at = %(at)s, hostname = %(hostname)s, starts = starts + 1
WHERE try_id = %(try_id)s::uuid AND state = 'queued';

-- name: mark_ended (agents; fenced by the try id; once only)
UPDATE callback SET state = %(state)s, ended_at = %(now)s, because = %(because)s,
    started_at = coalesce(started_at, %(started_at)s), starts = greatest(starts, 1)
WHERE try_id = %(try_id)s::uuid AND state IN ('queued', 'running');

-- name: queue_again (infrastructure ended its process; fenced by the try id, which the next one replaces)
UPDATE callback SET state = 'queued', try_id = %(next_try_id)s::uuid, launcher = '', launched_at = NULL,
    because = %(because)s
WHERE try_id = %(try_id)s::uuid AND state IN ('queued', 'running');

-- name: queue_ended (a person wants it once more)
UPDATE callback SET state = 'queued', try_id = %(next_try_id)s::uuid, launcher = '', launched_at = NULL, ended_at = NULL,
    queued_at = %(now)s, because = %(because)s
WHERE id = %(id)s AND state IN ('success', 'failed');
