-- Events of assets: made with what caused them, and read by tasks.

-- name: insert_alias_assets (an asset that a task has added to an alias, and that was unknown; unique index)
INSERT INTO asset (name, uri, group_name, extra, created_at, updated_at)
SELECT DISTINCT ON (g.name, g.uri) g.name, g.uri, g."group", g.asset_extra::json, %(now)s, %(now)s
FROM json_to_recordset(%(events)s::json) AS g(name text, uri text, "group" text, asset_extra text, aliases text[])
WHERE g.aliases <> '{}'
ORDER BY g.name, g.uri
ON CONFLICT (name, uri) DO NOTHING;

-- name: link_aliases (from now on they stand for it; what two tasks add at once is there once)
INSERT INTO asset_alias_asset (alias_id, asset_id)
SELECT DISTINCT l.id, a.id
FROM json_to_recordset(%(events)s::json) AS g(name text, uri text, aliases text[])
JOIN asset a ON a.name = g.name AND a.uri = g.uri
JOIN asset_alias l ON l.name = ANY (g.aliases)
ORDER BY l.id, a.id
ON CONFLICT DO NOTHING;

-- name: insert_events (and what waits for them: the DAGs that are scheduled on the asset, its name, its uri or an alias by
-- which the event came, unless they are paused. An event of a partition wakes only those that are scheduled on partitions.
-- Returns the DAGs. Indexes of asset and asset_use)
WITH given AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('asset_event', 'id')) AS event_id, a.id AS asset_id, a.name, a.uri, g.extra::json AS extra,
           g.aliases, r.dag_id, r.run_id, g.task_id, g.map_index, coalesce(g.partition_key, r.partition_key) AS partition_key
    FROM (SELECT * FROM json_to_recordset(%(events)s::json)
              AS g(place int, dag_run_id bigint, task_id text, map_index int, name text, uri text, extra text, aliases text[],
                   partition_key text) ORDER BY place) g
    JOIN asset a ON (g.name IS NULL OR a.name = g.name) AND (g.uri IS NULL OR a.uri = g.uri)
                AND (a.is_active OR g.dag_run_id IS NULL OR (g.name IS NOT NULL AND g.uri IS NOT NULL AND g.aliases <> '{}'))
    LEFT JOIN dag_run r ON r.id = g.dag_run_id
), event AS (
    INSERT INTO asset_event (id, asset_id, timestamp, extra, source_dag_id, source_run_id, source_task_id, source_map_index, partition_key)
    SELECT event_id, asset_id, %(now)s, extra, dag_id, run_id, task_id, map_index, partition_key FROM given
), via AS (
    INSERT INTO asset_event_alias (event_id, alias_id)
    SELECT g.event_id, l.id FROM given g JOIN asset_alias l ON l.name = ANY (g.aliases)
), waiting AS (
    SELECT u.dag_id, g.event_id, g.asset_id, g.partition_key FROM given g JOIN asset_use u ON u.asset_id = g.asset_id AND u.kind = 'schedule'
    UNION
    SELECT u.dag_id, g.event_id, g.asset_id, g.partition_key FROM given g JOIN asset_alias l ON l.name = ANY (g.aliases)
    JOIN asset_use u ON u.alias_id = l.id AND u.kind = 'schedule'
    UNION
    SELECT u.dag_id, g.event_id, g.asset_id, g.partition_key FROM given g JOIN asset_use u ON u.ref_name = g.name AND u.kind = 'schedule'
    UNION
    SELECT u.dag_id, g.event_id, g.asset_id, g.partition_key FROM given g JOIN asset_use u ON u.ref_uri = g.uri AND u.kind = 'schedule'
), queued AS (
    INSERT INTO asset_queue (dag_id, event_id, asset_id, created_at)
    SELECT w.dag_id, w.event_id, w.asset_id, %(now)s FROM waiting w
    JOIN dag d ON d.dag_id = w.dag_id AND NOT d.is_paused AND NOT d.is_stale AND (d.is_partitioned OR w.partition_key IS NULL)
    RETURNING dag_id
)
SELECT DISTINCT dag_id FROM queued;

-- name: share_dag
SELECT FROM dag WHERE dag_id = %(dag_id)s FOR KEY SHARE;

-- name: list_queued (everything that waits for this DAG, oldest first; locked, so that of two who look one starts a run.
-- Primary key)
SELECT q.event_id, e.timestamp, a.name, a.uri, a.is_active, e.partition_key, e.source_dag_id, e.source_run_id, e.source_task_id,
       ARRAY(SELECT l.name FROM asset_alias_asset o JOIN asset_alias l ON l.id = o.alias_id WHERE o.asset_id = a.id ORDER BY 1) AS aliases
FROM asset_queue q JOIN asset_event e ON e.id = q.event_id JOIN asset a ON a.id = q.asset_id
WHERE q.dag_id = %(dag_id)s ORDER BY e.timestamp, q.event_id FOR UPDATE OF q;

-- name: consume_events (what a run takes: all that waited, and all events of the assets since the last such run, also
-- those that came while the DAG was paused, as in Airflow. Index asset_event_of_asset)
WITH taken AS (
    DELETE FROM asset_queue WHERE dag_id = %(dag_id)s AND event_id = ANY (%(event_ids)s) RETURNING event_id
), since AS MATERIALIZED (
    SELECT coalesce(max(run_after), '-infinity') AS moment FROM dag_run
    WHERE dag_id = %(dag_id)s AND run_type = 'asset_triggered' AND id <> %(dag_run_id)s AND run_after < %(until)s
), asset_of_dag AS MATERIALIZED (
    SELECT u.asset_id FROM asset_use u WHERE u.dag_id = %(dag_id)s AND u.kind = 'schedule' AND u.asset_id IS NOT NULL
    UNION
    SELECT a.id FROM asset_use u JOIN asset a ON a.is_active AND (a.name = u.ref_name OR a.uri = u.ref_uri)
    WHERE u.dag_id = %(dag_id)s AND u.kind = 'schedule'
)
INSERT INTO asset_event_run (event_id, dag_run_id)
SELECT event_id, %(dag_run_id)s FROM taken
UNION
SELECT e.id, %(dag_run_id)s FROM asset_event e JOIN asset_of_dag o USING (asset_id), since
WHERE e.timestamp > since.moment AND e.timestamp <= %(until)s AND e.partition_key IS NULL
UNION
SELECT e.id, %(dag_run_id)s FROM asset_use u JOIN asset_event_alias v ON v.alias_id = u.alias_id JOIN asset_event e ON e.id = v.event_id, since
WHERE u.dag_id = %(dag_id)s AND u.kind = 'schedule'
  AND e.timestamp > since.moment AND e.timestamp <= %(until)s AND e.partition_key IS NULL;

-- name: list_waiting_dags (that have got events and may have room: for whoever was told nothing. All rows of the queue)
SELECT DISTINCT q.dag_id FROM asset_queue q JOIN dag d ON d.dag_id = q.dag_id AND NOT d.is_paused AND NOT d.is_stale;

-- name: facts (events as tasks are told of them: what follows says which)
SELECT e.id, e.timestamp, a.name, a.uri, a.group_name AS "group", a.extra::text AS asset_extra, e.extra::text AS extra,
       e.source_dag_id, e.source_run_id, e.source_task_id,
       CASE WHEN e.source_task_id IS NOT NULL THEN e.source_map_index END AS source_map_index,
       ARRAY(SELECT l.name FROM asset_event_alias v JOIN asset_alias l ON l.id = v.alias_id
             WHERE v.event_id = e.id ORDER BY 1) AS aliases, e.partition_key
FROM asset_event e JOIN asset a ON a.id = e.asset_id

-- name: that_were_asked_for (of an asset, or that came by an alias. Indexes asset_event_of_asset and asset_event_of_alias)
WHERE (%(name)s::text IS NULL OR a.name = %(name)s) AND (%(uri)s::text IS NULL OR a.uri = %(uri)s)
  AND (a.is_active OR %(alias)s::text IS NOT NULL OR (%(name)s::text IS NOT NULL AND %(uri)s::text IS NOT NULL))
  AND (%(alias)s::text IS NULL OR EXISTS (
        SELECT FROM asset_event_alias v JOIN asset_alias l ON l.id = v.alias_id WHERE v.event_id = e.id AND l.name = %(alias)s))
  AND (%(after)s::timestamptz IS NULL OR e.timestamp >= %(after)s)
  AND (%(before)s::timestamptz IS NULL OR e.timestamp <= %(before)s)

-- name: oldest_first
ORDER BY e.timestamp ASC, e.id ASC LIMIT %(limit)s;

-- name: newest_first
ORDER BY e.timestamp DESC, e.id DESC LIMIT %(limit)s;

-- name: that_started (a run; primary key)
JOIN asset_event_run t ON t.event_id = e.id AND t.dag_run_id = %(dag_run_id)s
