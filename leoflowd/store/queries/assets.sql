-- What DAGs say of assets. Called by register_dag, mark_stale and delete_dag, which hold the lock of the DAG.

-- name: lock_uses (one writer at a time: which of two assets with one name is active must not depend on who commits first)
SELECT pg_advisory_xact_lock(%(key)s);

-- name: fetch_has_uses (unique index)
SELECT EXISTS (SELECT FROM asset_use WHERE dag_id = %(dag_id)s);

-- name: upsert_assets (unique index; written only when something differs)
INSERT INTO asset (name, uri, group_name, extra, created_at, updated_at)
SELECT g.name, g.uri, g."group", g.extra, %(now)s, %(now)s
FROM json_to_recordset(%(assets)s::json) AS g(name text, uri text, "group" text, extra json)
ON CONFLICT (name, uri) DO UPDATE SET group_name = excluded.group_name, extra = excluded.extra, updated_at = excluded.updated_at
WHERE asset.group_name <> excluded.group_name OR asset.extra::text <> excluded.extra::text;

-- name: upsert_aliases
INSERT INTO asset_alias (name, group_name)
SELECT g.name, g."group" FROM json_to_recordset(%(aliases)s::json) AS g(name text, "group" text)
ON CONFLICT (name) DO UPDATE SET group_name = excluded.group_name WHERE asset_alias.group_name <> excluded.group_name;

-- name: write_uses (makes the DAG's rows those that are given; one that stays keeps its created_at)
WITH given AS MATERIALIZED (
    SELECT DISTINCT g.kind, g.task_id, a.id AS asset_id, l.id AS alias_id, g.ref_name, g.ref_uri
    FROM json_to_recordset(%(uses)s::json)
         AS g(kind text, task_id text, name text, uri text, alias text, ref_name text, ref_uri text)
    LEFT JOIN asset a ON a.name = g.name AND a.uri = g.uri
    LEFT JOIN asset_alias l ON l.name = g.alias
), gone AS (
    DELETE FROM asset_use u WHERE u.dag_id = %(dag_id)s AND NOT EXISTS (
        SELECT FROM given g WHERE g.kind = u.kind AND g.task_id = u.task_id
          AND (g.asset_id, g.alias_id, g.ref_name, g.ref_uri)
              IS NOT DISTINCT FROM (u.asset_id, u.alias_id, u.ref_name, u.ref_uri))
)
INSERT INTO asset_use (dag_id, kind, task_id, asset_id, alias_id, ref_name, ref_uri, created_at, updated_at)
SELECT %(dag_id)s, kind, task_id, asset_id, alias_id, ref_name, ref_uri, %(now)s, %(now)s FROM given
ON CONFLICT (dag_id, kind, task_id, coalesce(asset_id, 0), coalesce(alias_id, 0), md5(coalesce(ref_name, '')),
             md5(coalesce(ref_uri, ''))) DO UPDATE SET updated_at = excluded.updated_at;

-- name: delete_uses
DELETE FROM asset_use WHERE dag_id = ANY (%(dag_ids)s);

-- name: delete_queue (a DAG that waits for nothing any more)
DELETE FROM asset_queue WHERE dag_id = ANY (%(dag_ids)s);

-- name: deactivate_assets (that no DAG names any more)
UPDATE asset a SET is_active = false
WHERE a.is_active AND NOT EXISTS (SELECT FROM asset_use u WHERE u.asset_id = a.id);

-- name: activate_assets (named by a DAG, unless another active one has the name or the uri: then the older stays)
UPDATE asset a SET is_active = true
WHERE a.id IN (
    SELECT c.id FROM (
        SELECT a.id, row_number() OVER (PARTITION BY a.name ORDER BY a.id) AS of_name,
               row_number() OVER (PARTITION BY a.uri ORDER BY a.id) AS of_uri
        FROM asset a
        WHERE NOT a.is_active AND EXISTS (SELECT FROM asset_use u WHERE u.asset_id = a.id)
          AND NOT EXISTS (SELECT FROM asset o WHERE o.is_active AND (o.name = a.name OR o.uri = a.uri))
    ) c WHERE c.of_name = 1 AND c.of_uri = 1);

-- name: list_conflicts (assets that this DAG names and that cannot be active, with those that are in their way)
SELECT DISTINCT a.name, a.uri, o.name AS other_name, o.uri AS other_uri
FROM asset_use u JOIN asset a ON a.id = u.asset_id AND NOT a.is_active
JOIN asset o ON o.is_active AND (o.name = a.name OR o.uri = a.uri)
WHERE u.dag_id = %(dag_id)s ORDER BY 1, 2;

-- name: list_ids (of the assets that a DAG names; unique index on asset_use)
SELECT DISTINCT a.name, a.uri, a.id FROM asset_use u JOIN asset a ON a.id = u.asset_id
WHERE u.dag_id = ANY (%(dag_ids)s);

-- name: update_expression
UPDATE dag SET asset_expression = %(expression)s::json WHERE dag_id = %(dag_id)s;

-- name: fetch_expression
SELECT asset_expression FROM dag WHERE dag_id = %(dag_id)s;

-- name: fetch_active (what a task means by a name or by a uri; indexes asset_active_name, asset_active_uri)
SELECT name, uri, group_name AS "group", extra::text AS extra FROM asset
WHERE is_active AND (name = %(name)s::text OR uri = %(uri)s::text);
