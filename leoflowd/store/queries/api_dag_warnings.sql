-- name: columns
-- One DAGWarningResponse. Of Airflow's three types: what is found in a DAG's code, and pools that nobody has made.
d.dag_id, d.dag_display_name, w.warning_type, v.created_at AS timestamp, w.message

-- name: source
-- The artifact of each current version has them, or of the one that is asked for. The UI asks for one DAG.
FROM dag d JOIN dag_version v ON v.id = COALESCE(%(version_id)s::uuid, d.current_version_id)
CROSS JOIN LATERAL (
    SELECT 'runtime varying value' AS warning_type, position,
           format('%%s:%%s: %%s; %%s', f.warning->>'path', f.warning->>'line', f.warning->>'what', f.warning->>'remedy') AS message
    FROM jsonb_array_elements(v.spec->'warnings') WITH ORDINALITY AS f (warning, position)
    UNION ALL
    SELECT 'non-existent pool', min(position),
           format('pool %%L does not exist, and these tasks wait for it: %%s; create it under Admin, Pools, or with `leoflow pools set`, or name another',
                  t.task->>'pool', string_agg(t.task->>'task_id', ', ' ORDER BY position))
    FROM jsonb_array_elements(v.spec->'tasks') WITH ORDINALITY AS t (task, position)
    WHERE t.task->>'pool' IS NOT NULL AND NOT EXISTS (SELECT FROM pool p WHERE p.name = t.task->>'pool')
    GROUP BY t.task->>'pool'
) w

-- name: visible
d.dag_id = ANY (%(visible)s)

-- name: filters
NOT d.is_stale
AND (%(dag_id)s::text IS NULL OR d.dag_id = %(dag_id)s)
AND (%(warning_type)s::text IS NULL OR w.warning_type = %(warning_type)s)
