-- name: try_lock (session advisory lock; the only election there is)
SELECT pg_try_advisory_lock(%(key)s);

-- name: begin_term (waits for a batch that holds the row: FOR UPDATE, since a plain UPDATE goes past FOR KEY SHARE)
WITH locked AS (SELECT singleton FROM leadership FOR UPDATE)
UPDATE leadership l SET term = term + 1, holder = %(holder)s, heartbeat_at = %(now)s
FROM locked WHERE l.singleton = locked.singleton RETURNING l.term;

-- name: end_silent_pipelines (a session in the middle of a pipeline is active to the server, whose limits on statements and idle transactions pass over it)
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
  AND state = 'active' AND wait_event_type = 'Client' AND wait_event = 'ClientRead'
  AND query_start < clock_timestamp() - make_interval(secs => %(silent_s)s);

-- name: beat (waits for no batch, however long that waits for its runs)
UPDATE leadership SET heartbeat_at = %(now)s WHERE term = %(term)s;

-- name: fetch_leader
SELECT term, holder, heartbeat_at FROM leadership;
