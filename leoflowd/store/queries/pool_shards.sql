-- name: list_locks (who watches which waits; memory of the server, no table)
SELECT objid::bigint::int AS number, pid = pg_backend_pid() AS is_own FROM pg_locks
WHERE locktype = 'advisory' AND classid::bigint = %(space)s AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: take_locks
SELECT n FROM unnest(%(numbers)s::int[]) AS n WHERE pg_try_advisory_lock(%(space)s, n);

-- name: free_locks
SELECT n FROM unnest(%(numbers)s::int[]) AS n WHERE pg_advisory_unlock(%(space)s, n);
