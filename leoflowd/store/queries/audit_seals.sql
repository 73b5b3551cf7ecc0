-- name: lock_chain (one at a time adds to it, also when two believe to lead)
SELECT pg_advisory_xact_lock(%(key)s);

-- name: fetch_head (index of position)
(SELECT position, seal, key_id <> '' AS is_keyed FROM audit_seal WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1)
UNION ALL SELECT position, seal, is_keyed FROM audit_checkpoint ORDER BY position DESC LIMIT 1;

-- name: list_open (partial index audit_seal_open)
SELECT e.id, e.occurred_at, e.event, e.owner, e.dag_id, e.run_id, e.task_id, e.map_index, e.try_number, e.logical_date,
       e.extra::text AS extra, e.client
FROM audit_seal s JOIN event_log e ON e.id = s.event_id WHERE s.position IS NULL ORDER BY s.event_id LIMIT %(limit)s;

-- name: mark_sealed
UPDATE audit_seal s SET position = u.position, key_id = %(key_id)s, seal = u.seal
FROM unnest(%(event_ids)s::bigint[], %(positions)s::bigint[], %(seals)s::bytea[]) u (event_id, position, seal)
WHERE s.event_id = u.event_id AND s.position IS NULL;

-- name: list_sealed (index of position, primary key of event_log)
SELECT s.position, s.event_id, s.key_id, s.seal, e.id, e.occurred_at, e.event, e.owner, e.dag_id, e.run_id, e.task_id,
       e.map_index, e.try_number, e.logical_date, e.extra::text AS extra, e.client
FROM audit_seal s LEFT JOIN event_log e ON e.id = s.event_id
WHERE s.position > %(after)s ORDER BY s.position LIMIT %(limit)s;

-- name: fetch_checkpoint
SELECT position, seal, is_keyed, removed_before, key_id, proof FROM audit_checkpoint;

-- name: put_checkpoint
INSERT INTO audit_checkpoint (position, seal, is_keyed, removed_before, key_id, proof)
VALUES (%(position)s, %(seal)s, %(is_keyed)s, %(removed_before)s, %(key_id)s, %(proof)s)
ON CONFLICT (is_only) DO UPDATE SET (position, seal, is_keyed, removed_before, key_id, proof)
    = (excluded.position, excluded.seal, excluded.is_keyed, excluded.removed_before, excluded.key_id, excluded.proof);

-- name: remove_sealed
WITH s AS (DELETE FROM audit_seal WHERE position <= %(position)s RETURNING event_id)
DELETE FROM event_log e USING s WHERE e.id = s.event_id;

-- name: remove_unsealed (what was not done through the API: index event_log_unsealed)
DELETE FROM event_log WHERE id IN (
    SELECT id FROM event_log WHERE client IS NULL AND occurred_at < %(before)s ORDER BY occurred_at LIMIT %(limit)s);

-- name: fetch_head_at
SELECT position, seal, key_id <> '' AS is_keyed FROM audit_seal WHERE position = %(position)s;

-- name: fetch_unsealed_row (reads the whole log: only `verify` asks)
SELECT min(e.id) FROM event_log e WHERE e.client IS NOT NULL AND NOT EXISTS (SELECT FROM audit_seal s WHERE s.event_id = e.id);

-- name: fetch_out_of_place (index of position)
SELECT min(event_id) FROM audit_seal WHERE position <= %(position)s;

-- name: count_open (written and not sealed; `lost`: those whose row is gone)
SELECT count(*) AS open, count(*) FILTER (WHERE NOT EXISTS (SELECT FROM event_log e WHERE e.id = s.event_id)) AS lost,
       min(s.event_id) FILTER (WHERE NOT EXISTS (SELECT FROM event_log e WHERE e.id = s.event_id)) AS first_lost
FROM audit_seal s WHERE s.position IS NULL;

-- name: list_events (newest first; index event_log_by_time)
SELECT e.id AS event_log_id, e.occurred_at AS "when", e.owner, e.client, e.event, e.dag_id, e.run_id, e.task_id,
       e.extra, s.position
FROM event_log e LEFT JOIN audit_seal s ON s.event_id = e.id
WHERE e.client IS NOT NULL AND (%(owner)s::text IS NULL OR e.owner = %(owner)s)
  AND (%(event)s::text IS NULL OR e.event = %(event)s)
ORDER BY e.occurred_at DESC, e.id DESC LIMIT %(limit)s OFFSET %(offset)s;
