-- Watchers of assets (ADR 56): written with the version that wants them, read and kept by cheap_tasks.asset_watchers.

-- name: write_watchers (makes the DAG's rows those that are given; how a trigger went is forgotten when it is another one.
-- Unique index)
WITH given AS MATERIALIZED (
    SELECT a.id AS asset_id, g.watcher AS name, g.key, g.call
    FROM json_to_recordset(%(watchers)s::json) AS g(name text, uri text, watcher text, key text, call json)
    JOIN asset a ON a.name = g.name AND a.uri = g.uri
), gone AS (
    DELETE FROM asset_watcher w WHERE w.dag_id = %(dag_id)s AND NOT EXISTS (
        SELECT FROM given g WHERE (g.asset_id, g.name, g.key) = (w.asset_id, w.name, w.key))
)
INSERT INTO asset_watcher (dag_id, asset_id, name, key, call, created_at)
SELECT DISTINCT ON (asset_id, key, name) %(dag_id)s, asset_id, name, key, call, %(now)s FROM given ORDER BY asset_id, key, name
ON CONFLICT (dag_id, asset_id, key, name) DO UPDATE SET call = excluded.call, failures = 0, error = NULL, retry_at = NULL
WHERE asset_watcher.call::text <> excluded.call::text;

-- name: delete_watchers
DELETE FROM asset_watcher WHERE dag_id = ANY (%(dag_ids)s);

-- name: list_watched (one row for each trigger that is to run: as in Airflow, one of an active asset on which the schedule of
-- a DAG waits that is not paused. All rows: there are as many as watchers)
SELECT DISTINCT ON (w.key) w.key, w.call::text AS call, w.failures, w.retry_at
FROM asset_watcher w JOIN asset a ON a.id = w.asset_id AND a.is_active JOIN dag d ON d.dag_id = w.dag_id
WHERE EXISTS (SELECT FROM asset_use u JOIN dag s ON s.dag_id = u.dag_id AND NOT s.is_paused AND NOT s.is_stale
              WHERE u.asset_id = a.id AND u.kind = 'schedule')
ORDER BY w.key, d.is_paused, w.dag_id;

-- name: mark_fired (its assets, each once: those that get the event. A watcher that fired at this very moment has it already; index
-- on key)
WITH fired AS (
    UPDATE asset_watcher SET events = events + 1, fired_at = %(now)s, failures = 0, error = NULL, retry_at = NULL
    WHERE key = %(key)s AND fired_at IS DISTINCT FROM %(now)s RETURNING asset_id
)
SELECT DISTINCT a.name, a.uri FROM fired f JOIN asset a ON a.id = f.asset_id AND a.is_active ORDER BY 1, 2;

-- name: mark_failed (index on key)
UPDATE asset_watcher SET failures = %(failures)s, error = %(error)s, retry_at = %(retry_at)s WHERE key = %(key)s;

-- name: list_watchers (for people, by asset; of DAGs that may be seen)
SELECT w.id, w.dag_id, w.asset_id, a.name AS asset_name, a.uri AS asset_uri, w.name, w.call ->> 'classpath' AS trigger, w.created_at,
       w.events, w.fired_at, w.failures, w.error, w.retry_at, a.is_active,
       EXISTS (SELECT FROM asset_use u JOIN dag s ON s.dag_id = u.dag_id AND NOT s.is_paused AND NOT s.is_stale
               WHERE u.asset_id = a.id AND u.kind = 'schedule') AS is_awaited
FROM asset_watcher w JOIN asset a ON a.id = w.asset_id
WHERE %(visible)s::text[] IS NULL OR w.dag_id = ANY (%(visible)s)
ORDER BY a.name, a.uri, w.dag_id, w.name, w.id;
