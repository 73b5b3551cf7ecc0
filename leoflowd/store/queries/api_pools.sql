-- name: columns
-- One PoolResponse; live instances from the partial index task_instance_live.
p.name, p.slots, p.description, p.include_deferred,
coalesce(s.running + s.queued, 0) + CASE WHEN p.include_deferred THEN coalesce(s.deferred, 0) ELSE 0 END AS occupied_slots,
coalesce(s.running, 0) AS running_slots, coalesce(s.queued, 0) AS queued_slots, coalesce(s.scheduled, 0) AS scheduled_slots,
CASE WHEN p.slots < 0 THEN -1 ELSE p.slots - coalesce(s.running + s.queued, 0)
     - CASE WHEN p.include_deferred THEN coalesce(s.deferred, 0) ELSE 0 END END AS open_slots,
coalesce(s.deferred, 0) AS deferred_slots, NULL AS team_name

-- name: source
FROM pool p LEFT JOIN (
    SELECT t.pool,
           coalesce(sum(t.pool_slots) FILTER (WHERE t.state IN ('running', 'restarting')), 0)::bigint AS running,
           coalesce(sum(t.pool_slots) FILTER (WHERE t.state = 'queued'), 0)::bigint AS queued,
           coalesce(sum(t.pool_slots) FILTER (WHERE t.state = 'scheduled'), 0)::bigint AS scheduled,
           coalesce(sum(t.pool_slots) FILTER (WHERE t.state = 'deferred'), 0)::bigint AS deferred
    FROM task_instance t WHERE t.state IN ('running', 'restarting', 'queued', 'scheduled', 'deferred') GROUP BY t.pool
) s ON s.pool = p.name

-- name: filters
(%(name)s::text IS NULL OR p.name = %(name)s)
AND (%(pool_name_ilike)s::text[] IS NULL OR p.name ILIKE ANY (%(pool_name_ilike)s))
AND (%(pool_name_like)s::text[] IS NULL OR p.name LIKE ANY (%(pool_name_like)s))

-- name: lock_pool
SELECT name FROM pool WHERE name = %(name)s FOR UPDATE;

-- name: insert_pool
INSERT INTO pool (name, slots, description, include_deferred)
VALUES (%(name)s, %(slots)s, %(description)s, %(include_deferred)s) ON CONFLICT (name) DO NOTHING;

-- name: update_pool
UPDATE pool SET slots = %(slots)s, description = %(description)s, include_deferred = %(include_deferred)s WHERE name = %(name)s;

-- name: delete_pool
DELETE FROM pool WHERE name = %(name)s;
