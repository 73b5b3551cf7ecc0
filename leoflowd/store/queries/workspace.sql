-- What the workspace watcher of Lite compares its scan with. Called at its start only; tables of a few hundred rows.

-- name: list_registered (active DAGs of one bundle with the artifact that their file gave last, also if they were rolled back)
SELECT d.dag_id, d.relative_fileloc, coalesce(d.rolled_back_from, v.digest) AS digest FROM dag d
JOIN dag_version v ON v.id = d.current_version_id
WHERE d.bundle_name = %(bundle_name)s AND NOT d.is_stale
ORDER BY d.dag_id;

-- name: list_deleted
SELECT dag_id, relative_fileloc, '' AS digest FROM deleted_dag WHERE bundle_name = %(bundle_name)s ORDER BY dag_id;

-- name: list_import_errors
SELECT filename, stack_trace FROM import_error WHERE bundle_name = %(bundle_name)s ORDER BY filename;

-- name: fetch_is_stale
SELECT is_stale FROM dag WHERE dag_id = %(dag_id)s;
