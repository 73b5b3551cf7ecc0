-- name: columns
-- One AssetResponse, with the DAGs that may be seen. Indexes asset_use_of_asset, asset_event_of_asset.
a.id, a.name, a.uri, a.group_name AS "group", a.extra, a.created_at, a.updated_at,
(SELECT coalesce(json_agg(json_build_object('dag_id', u.dag_id, 'created_at', u.created_at, 'updated_at', u.updated_at) ORDER BY u.dag_id), '[]')
 FROM asset_use u WHERE u.asset_id = a.id AND u.kind = 'schedule'
   AND (%(visible)s::text[] IS NULL OR u.dag_id = ANY (%(visible)s))) AS scheduled_dags,
(SELECT coalesce(json_agg(json_build_object('dag_id', u.dag_id, 'task_id', u.task_id, 'created_at', u.created_at, 'updated_at', u.updated_at)
                          ORDER BY u.dag_id, u.task_id), '[]')
 FROM asset_use u WHERE u.asset_id = a.id AND u.kind = 'outlet'
   AND (%(visible)s::text[] IS NULL OR u.dag_id = ANY (%(visible)s))) AS producing_tasks,
(SELECT coalesce(json_agg(json_build_object('dag_id', u.dag_id, 'task_id', u.task_id, 'created_at', u.created_at, 'updated_at', u.updated_at)
                          ORDER BY u.dag_id, u.task_id), '[]')
 FROM asset_use u WHERE u.asset_id = a.id AND u.kind = 'inlet'
   AND (%(visible)s::text[] IS NULL OR u.dag_id = ANY (%(visible)s))) AS consuming_tasks,
(SELECT coalesce(json_agg(json_build_object('id', l.id, 'name', l.name, 'group', l.group_name) ORDER BY l.name), '[]')
 FROM asset_alias_asset o JOIN asset_alias l ON l.id = o.alias_id WHERE o.asset_id = a.id) AS aliases,
(SELECT coalesce(json_agg(json_build_object('name', w.name, 'trigger_id', w.trigger_id, 'created_date', w.created_at)
                          ORDER BY w.name, w.trigger_id), '[]')
 FROM (SELECT o.name, min(s.id) AS trigger_id, min(o.created_at) AS created_at FROM asset_watcher o JOIN asset_watcher s USING (key)
       WHERE o.asset_id = a.id AND (%(visible)s::text[] IS NULL OR o.dag_id = ANY (%(visible)s)) GROUP BY o.name, o.key) w) AS watchers,
json_build_object('id', last.id, 'timestamp', last.timestamp) AS last_asset_event

-- name: source
FROM asset a LEFT JOIN LATERAL (
    SELECT e.id, e.timestamp FROM asset_event e WHERE e.asset_id = a.id ORDER BY e.timestamp DESC, e.id DESC LIMIT 1
) last ON true

-- name: visible
(NOT EXISTS (SELECT FROM asset_use u WHERE u.asset_id = a.id)
 OR EXISTS (SELECT FROM asset_use u WHERE u.asset_id = a.id AND u.dag_id = ANY (%(visible)s)))

-- name: filters
-- Thousands of rows: a scan is fine.
(%(id)s::bigint IS NULL OR a.id = %(id)s)
AND (NOT %(only_active)s::bool OR a.is_active)
AND (%(name_ilike)s::text[] IS NULL OR a.name ILIKE ANY (%(name_ilike)s))
AND (%(name_like)s::text[] IS NULL OR a.name LIKE ANY (%(name_like)s))
AND (%(uri_ilike)s::text[] IS NULL OR a.uri ILIKE ANY (%(uri_ilike)s))
AND (%(uri_like)s::text[] IS NULL OR a.uri LIKE ANY (%(uri_like)s))
AND (%(dag_ids)s::text[] IS NULL OR EXISTS (SELECT FROM asset_use u WHERE u.asset_id = a.id AND u.dag_id = ANY (%(dag_ids)s)))

-- name: list_producers (DAGs of which a task has the asset among its outlets; index asset_use_of_asset)
SELECT DISTINCT dag_id FROM asset_use WHERE asset_id = %(asset_id)s AND kind = 'outlet'
  AND (%(visible)s::text[] IS NULL OR dag_id = ANY (%(visible)s)) ORDER BY dag_id LIMIT 2;

-- name: list_queued (one row per DAG and asset, as Airflow has them; a DAG's by primary key)
SELECT q.dag_id, q.asset_id, min(q.created_at) AS created_at, d.dag_display_name
FROM asset_queue q JOIN dag d ON d.dag_id = q.dag_id
WHERE (%(dag_id)s::text IS NULL OR q.dag_id = %(dag_id)s) AND (%(asset_id)s::bigint IS NULL OR q.asset_id = %(asset_id)s)
  AND (%(visible)s::text[] IS NULL OR q.dag_id = ANY (%(visible)s))
GROUP BY q.dag_id, q.asset_id, d.dag_display_name
HAVING %(before)s::timestamptz IS NULL OR min(q.created_at) < %(before)s
ORDER BY q.dag_id, q.asset_id;

-- name: delete_queued
DELETE FROM asset_queue q
WHERE (%(dag_id)s::text IS NULL OR q.dag_id = %(dag_id)s) AND (%(asset_id)s::bigint IS NULL OR q.asset_id = %(asset_id)s)
  AND (%(before)s::timestamptz IS NULL OR q.created_at < %(before)s)
  AND (%(visible)s::text[] IS NULL OR q.dag_id = ANY (%(visible)s));

-- name: list_next (what a DAG waits for: its active assets, and when an event of each came that no run has taken: that is
-- in the queue, or came for a partition)
SELECT a.id, a.uri, a.name, greatest(
           (SELECT max(e.timestamp) FROM asset_queue q JOIN asset_event e ON e.id = q.event_id
            WHERE q.dag_id = u.dag_id AND q.asset_id = a.id),
           (SELECT max(e.timestamp) FROM partition_run p JOIN partition_event t ON t.partition_run_id = p.id
            JOIN asset_event e ON e.id = t.event_id
            WHERE p.dag_id = u.dag_id AND p.dag_run_id IS NULL AND t.asset_id = a.id)) AS "lastUpdate"
FROM asset_use u JOIN asset a ON a.id = u.asset_id AND a.is_active
WHERE u.dag_id = %(dag_id)s AND u.kind = 'schedule' ORDER BY a.uri;

-- name: list_links (who names what, for graphs; all rows of asset_use, and what aliases stand for)
SELECT u.dag_id, u.kind, u.task_id, u.asset_id, a.name AS asset_name, l.name AS alias_name, u.ref_name, u.ref_uri
FROM asset_use u LEFT JOIN asset a ON a.id = u.asset_id LEFT JOIN asset_alias l ON l.id = u.alias_id
WHERE %(visible)s::text[] IS NULL OR u.dag_id = ANY (%(visible)s)
ORDER BY u.dag_id, u.kind, u.task_id, u.asset_id, l.name, u.ref_name, u.ref_uri;

-- name: list_resolved (which assets each alias stands for that a DAG names)
SELECT l.name AS alias_name, a.id AS asset_id, a.name AS asset_name
FROM asset_alias_asset o JOIN asset_alias l ON l.id = o.alias_id JOIN asset a ON a.id = o.asset_id
WHERE %(visible)s::text[] IS NULL OR l.id IN (SELECT u.alias_id FROM asset_use u WHERE u.dag_id = ANY (%(visible)s))
ORDER BY l.name, a.id;
