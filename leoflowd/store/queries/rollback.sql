-- name: lock_dag (as whoever registers it)
SELECT d.is_stale, d.rolled_back_from, v.digest, v.version_number, d.fileloc, d.relative_fileloc, d.bundle_name,
       d.last_parse_duration_s AS parse_duration_s
FROM dag d JOIN dag_version v ON v.id = d.current_version_id WHERE d.dag_id = %(dag_id)s FOR UPDATE OF d;

-- name: keep_from (primary key)
UPDATE dag SET rolled_back_from = %(digest)s WHERE dag_id = %(dag_id)s;
