-- name: columns
-- One ImportErrorResponse.
e.id AS import_error_id, e.occurred_at AS timestamp, e.filename, e.bundle_name, e.stack_trace

-- name: source
FROM import_error e

-- name: visible
-- A file tells of all its DAGs. One that never gave any may hold anything, so it is for those who may see everything.
EXISTS (SELECT FROM dag d WHERE d.bundle_name = e.bundle_name AND d.relative_fileloc = e.filename)
AND NOT EXISTS (SELECT FROM dag d WHERE d.bundle_name = e.bundle_name AND d.relative_fileloc = e.filename
                AND d.dag_id <> ALL (%(visible)s))

-- name: filters
(%(id)s::bigint IS NULL OR e.id = %(id)s)
AND (%(filename)s::text IS NULL OR e.filename = %(filename)s)
AND (%(bundle_name)s::text IS NULL OR e.bundle_name = %(bundle_name)s)
AND (%(filename_ilike)s::text[] IS NULL OR e.filename ILIKE ANY (%(filename_ilike)s))
AND (%(filename_like)s::text[] IS NULL OR e.filename LIKE ANY (%(filename_like)s))
