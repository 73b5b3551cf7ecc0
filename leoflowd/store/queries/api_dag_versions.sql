-- name: columns
-- One DagVersionResponse.
v.id, v.version_number, v.dag_id, d.bundle_name, nullif(v.bundle_digest, '') AS bundle_version, v.created_at, d.dag_display_name,
NULL AS bundle_url

-- name: source
FROM dag_version v JOIN dag d ON d.dag_id = v.dag_id

-- name: visible
v.dag_id = ANY (%(visible)s)

-- name: filters
(%(dag_id)s::text IS NULL OR v.dag_id = %(dag_id)s)
AND (%(version_number)s::int IS NULL OR v.version_number = %(version_number)s)
AND (%(bundle_name)s::text IS NULL OR d.bundle_name = %(bundle_name)s)
AND (%(bundle_version)s::text IS NULL OR v.bundle_digest = %(bundle_version)s)
