-- name: columns
-- One DAGWarningResponse. Of Airflow's three types it is the one for what is found in a DAG's code.
d.dag_id, d.dag_display_name, 'runtime varying value' AS warning_type, v.created_at AS timestamp,
format('%%s:%%s: %%s; %%s', w.warning->>'path', w.warning->>'line', w.warning->>'what', w.warning->>'remedy') AS message

-- name: source
-- The artifact of each current version has them. The UI asks for one DAG.
FROM dag d JOIN dag_version v ON v.id = d.current_version_id
CROSS JOIN LATERAL jsonb_array_elements(v.spec->'warnings') WITH ORDINALITY AS w (warning, position)

-- name: visible
d.dag_id = ANY (%(visible)s)

-- name: filters
NOT d.is_stale
AND (%(dag_id)s::text IS NULL OR d.dag_id = %(dag_id)s)
AND (%(warning_type)s::text IS NULL OR %(warning_type)s = 'runtime varying value')
