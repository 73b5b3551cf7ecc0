-- Runs of partitions (ADR 57): pending until the condition of their DAG is true of the events of the partition.

-- name: receive_events (what has come for which partition; a partition that has no pending run gets one. Partial unique
-- index; the caller holds the rows of the queue)
WITH given AS MATERIALIZED (
    SELECT g.event_id, g.key, e.asset_id FROM json_to_recordset(%(events)s::json) AS g(event_id bigint, key text)
    JOIN asset_event e ON e.id = g.event_id
), pending AS (
    INSERT INTO partition_run (dag_id, partition_key, created_at, updated_at)
    SELECT DISTINCT %(dag_id)s, key, %(now)s::timestamptz, %(now)s::timestamptz FROM given ORDER BY 2
    ON CONFLICT (dag_id, partition_key) WHERE dag_run_id IS NULL DO UPDATE SET updated_at = excluded.updated_at
    RETURNING id, partition_key
)
INSERT INTO partition_event (partition_run_id, event_id, asset_id)
SELECT p.id, g.event_id, g.asset_id FROM given g JOIN pending p ON p.partition_key = g.key;

-- name: delete_queued
DELETE FROM asset_queue WHERE dag_id = %(dag_id)s AND event_id = ANY (%(event_ids)s);

-- name: list_pending (of a DAG, oldest first, and which assets events have come of; locked, so that of two who look one
-- makes the runs)
SELECT p.id, p.partition_key, come.assets::text AS assets
FROM partition_run p, LATERAL (
    SELECT json_agg(json_build_object('name', a.name, 'uri', a.uri, 'is_active', a.is_active, 'aliases',
        ARRAY(SELECT l.name FROM asset_alias_asset o JOIN asset_alias l ON l.id = o.alias_id WHERE o.asset_id = a.id ORDER BY 1)))
        AS assets
    FROM asset a WHERE a.id IN (SELECT e.asset_id FROM partition_event e WHERE e.partition_run_id = p.id)
) come
WHERE p.dag_id = %(dag_id)s AND p.dag_run_id IS NULL AND come.assets IS NOT NULL ORDER BY p.id FOR UPDATE OF p;

-- name: take_events (the run is made: it has started by all events of its partition)
WITH made AS (
    UPDATE partition_run SET dag_run_id = %(dag_run_id)s, updated_at = %(now)s WHERE id = %(id)s RETURNING id
)
INSERT INTO asset_event_run (event_id, dag_run_id)
SELECT e.event_id, %(dag_run_id)s FROM partition_event e JOIN made m ON m.id = e.partition_run_id;

-- name: list_runs (for the UI, the newest first; required: active assets that the DAG's schedule names)
SELECT p.id, p.dag_id, p.partition_key, p.created_at,
       (SELECT count(DISTINCT e.asset_id)::int FROM partition_event e JOIN asset_use u ON u.asset_id = e.asset_id
            AND u.dag_id = p.dag_id AND u.kind = 'schedule' JOIN asset a ON a.id = u.asset_id AND a.is_active
        WHERE e.partition_run_id = p.id) AS total_received,
       (SELECT count(*)::int FROM asset_use u JOIN asset a ON a.id = u.asset_id AND a.is_active
        WHERE u.dag_id = p.dag_id AND u.kind = 'schedule') AS total_required,
       coalesce(r.state, 'pending') AS state, r.run_id AS created_dag_run_id, d.asset_expression
FROM partition_run p JOIN dag d ON d.dag_id = p.dag_id LEFT JOIN dag_run r ON r.id = p.dag_run_id
WHERE (%(dag_id)s::text IS NULL OR p.dag_id = %(dag_id)s)
  AND (%(is_made)s::boolean IS NULL OR (p.dag_run_id IS NOT NULL) = %(is_made)s)
  AND (%(visible)s::text[] IS NULL OR p.dag_id = ANY (%(visible)s))
ORDER BY p.created_at DESC, p.id DESC LIMIT %(limit)s;

-- name: fetch_pending (one that waits; partial unique index)
SELECT p.id, p.dag_id, p.partition_key, p.created_at, p.updated_at, NULL::text AS created_dag_run_id, d.asset_expression,
       (SELECT coalesce(json_agg(json_build_object('asset_id', s.id, 'asset_name', s.name, 'asset_uri', s.uri,
                                 'received', s.keys <> '{}', 'received_count', least(cardinality(s.keys), 1), 'required_count', 1,
                                 'received_keys', s.keys, 'required_keys', ARRAY[p.partition_key])
                                 ORDER BY s.keys <> '{}', s.uri), '[]')
        FROM (SELECT a.id, a.name, a.uri,
                     ARRAY(SELECT DISTINCT coalesce(v.partition_key, p.partition_key) FROM partition_event e
                           JOIN asset_event v ON v.id = e.event_id
                           WHERE e.partition_run_id = p.id AND e.asset_id = a.id ORDER BY 1) AS keys
              FROM asset_use u JOIN asset a ON a.id = u.asset_id AND a.is_active
              WHERE u.dag_id = p.dag_id AND u.kind = 'schedule') s) AS assets
FROM partition_run p JOIN dag d ON d.dag_id = p.dag_id
WHERE p.dag_id = %(dag_id)s AND p.partition_key = %(partition_key)s AND p.dag_run_id IS NULL;

-- name: count_pending
SELECT count(*) FROM partition_run WHERE dag_id = %(dag_id)s AND dag_run_id IS NULL;

-- name: waits_for_partitions
SELECT is_partitioned AND asset_expression IS NOT NULL FROM dag WHERE dag_id = %(dag_id)s;
