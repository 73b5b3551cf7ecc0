-- name: try_lock (session advisory lock; the only election there is)
SELECT pg_try_advisory_lock(%(key)s);

-- name: begin_term (waits for a batch that holds the row shared)
UPDATE leadership SET term = term + 1, holder = %(holder)s, heartbeat_at = %(now)s RETURNING term;

-- name: beat
UPDATE leadership SET heartbeat_at = %(now)s WHERE term = %(term)s;

-- name: fetch_leader
SELECT term, holder, heartbeat_at FROM leadership;
