-- name: put_xcom (a running try; fenced by its id; last write wins. Whoever ends the try meanwhile waits for this, or this
-- for them, and then finds it over; the run first, as everybody locks)
WITH writer AS (
    SELECT t.dag_run_id, t.task_id, t.map_index FROM dag_run r JOIN task_instance t ON t.dag_run_id = r.id
    WHERE t.id = %(try_id)s::uuid AND t.state IN ('queued', 'running')
    FOR KEY SHARE OF r FOR SHARE OF t
)
INSERT INTO xcom (dag_run_id, task_id, map_index, key, value, place, bytes, items, created_at)
SELECT dag_run_id, task_id, map_index, %(key)s, %(value)s::json, %(place)s, %(bytes)s, %(items)s, %(now)s FROM writer
ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE SET value = excluded.value, place = excluded.place,
    bytes = excluded.bytes, items = excluded.items, created_at = excluded.created_at;

-- name: fetch_run_of_try (whose values a large one belongs to; unique index on id)
SELECT dag_run_id FROM task_instance WHERE id = %(try_id)s::uuid;

-- name: upsert_xcoms (with the outcome that pushed them; last write wins. Not for a run that was deleted meanwhile: the
-- batch is stale then, which is no violation)
INSERT INTO xcom (dag_run_id, task_id, map_index, key, value, place, bytes, items, created_at)
SELECT u.dag_run_id, u.task_id, u.map_index, u.key, u.value::json, u.place, u.bytes, u.items, %(now)s
FROM unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[], %(keys)s::text[], %(values)s::text[],
            %(places)s::text[], %(sizes)s::bigint[], %(items)s::int[])
     AS u(dag_run_id, task_id, map_index, key, value, place, bytes, items)
JOIN dag_run d ON d.id = u.dag_run_id
ON CONFLICT (dag_run_id, task_id, map_index, key) DO UPDATE SET value = excluded.value, place = excluded.place,
    bytes = excluded.bytes, items = excluded.items, created_at = excluded.created_at;

-- name: delete_xcoms_of_tries (a new try starts with no XComs of the last one; unique index on id, primary key of xcom)
DELETE FROM xcom x USING task_instance t
WHERE t.id = ANY (%(ids)s::uuid[]) AND x.dag_run_id = t.dag_run_id AND x.task_id = t.task_id
  AND x.map_index = t.map_index;

-- name: delete_xcoms (clear, delete, and one key by hand; primary key of xcom)
DELETE FROM xcom x USING unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[])
    AS k(dag_run_id, task_id, map_index)
WHERE x.dag_run_id = k.dag_run_id AND x.task_id = k.task_id AND x.map_index = k.map_index
  AND (%(key)s::text IS NULL OR x.key = %(key)s);

-- name: pull_values
SELECT x.dag_run_id, x.task_id, x.map_index, x.key, x.value::text AS value, x.place

-- name: pull_count
SELECT count(*)

-- name: pulled (by tasks; unique index of dag_run, primary key of xcom; with `prior` also earlier runs of the DAG)
FROM dag_run r JOIN xcom x ON x.dag_run_id = r.id
WHERE r.dag_id = %(dag_id)s
  AND CASE WHEN %(prior)s THEN r.run_after <= coalesce(
            (SELECT o.run_after FROM dag_run o WHERE o.dag_id = %(dag_id)s AND o.run_id = %(run_id)s),
            (SELECT o.run_after FROM dag_run o WHERE o.id = %(own_id)s))
        ELSE r.run_id = %(run_id)s END
  AND x.key = %(key)s
  AND (%(task_ids)s::text[] IS NULL OR x.task_id = ANY (%(task_ids)s))
  AND (%(map_indexes)s::int[] IS NULL OR x.map_index = ANY (%(map_indexes)s))

-- name: pull_page (newest run first)
ORDER BY r.run_after DESC, r.id DESC, x.task_id, x.map_index LIMIT %(at_most)s OFFSET %(offset)s;

-- name: list_outputs (one batch of launches; primary key of xcom)
SELECT dag_run_id, task_id, map_index, key, value::text, place FROM xcom
WHERE (dag_run_id, task_id) IN (SELECT * FROM unnest(%(runs)s::bigint[], %(task_ids)s::text[]))
  AND (%(key)s::text IS NULL OR key = %(key)s)
ORDER BY task_id, map_index;

-- name: list_outputs_of (launches inside of mapped groups; primary key of xcom)
SELECT x.dag_run_id, x.task_id, x.map_index, x.key, x.value::text, x.place
FROM xcom x JOIN unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[])
     AS k(dag_run_id, task_id, map_index)
  ON x.dag_run_id = k.dag_run_id AND x.task_id = k.task_id AND x.map_index = k.map_index
ORDER BY x.task_id, x.map_index;

-- name: list_returned (views of runs in which something maps over a mapped task; primary key of xcom)
SELECT x.dag_run_id, x.task_id, x.map_index
FROM xcom x JOIN unnest(%(runs)s::bigint[], %(task_ids)s::text[]) AS k(dag_run_id, task_id)
  ON x.dag_run_id = k.dag_run_id AND x.task_id = k.task_id
WHERE x.key = %(key)s;

-- name: list_lengths (views of runs in which something maps over a task; primary key of xcom)
SELECT x.dag_run_id, x.task_id, x.map_index, CASE WHEN x.place IS NULL THEN x.value::text END, x.items
FROM xcom x JOIN unnest(%(runs)s::bigint[], %(task_ids)s::text[]) AS k(dag_run_id, task_id)
  ON x.dag_run_id = k.dag_run_id AND x.task_id = k.task_id
WHERE x.key = %(key)s;

-- name: fetch_value (the API; as JSON text, so that it passes through as bytes)
SELECT x.dag_run_id, x.task_id, x.map_index, x.key, x.value::text, x.place, x.bytes FROM xcom x JOIN dag_run r ON r.id = x.dag_run_id
WHERE r.dag_id = %(dag_id)s AND r.run_id = %(run_id)s AND x.task_id = %(task_id)s AND x.map_index = %(map_index)s AND x.key = %(key)s;

-- name: insert_xcom
INSERT INTO xcom (dag_run_id, task_id, map_index, key, value, place, bytes, items, created_at)
VALUES (%(dag_run_id)s, %(task_id)s, %(map_index)s, %(key)s, %(value)s::json, %(place)s, %(bytes)s, %(items)s, %(now)s)
ON CONFLICT DO NOTHING;

-- name: replace_xcom
UPDATE xcom SET value = %(value)s::json, place = %(place)s, bytes = %(bytes)s, items = %(items)s, created_at = %(now)s
WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s AND key = %(key)s;
