-- name: columns
-- A variable with its value sealed: `store.variables` opens it. Not ready to be answered.
v.key, v.value, v.key_id, v.description

-- name: source
FROM variable v

-- name: filters
(%(variable_key_ilike)s::text[] IS NULL OR v.key ILIKE ANY (%(variable_key_ilike)s))
AND (%(variable_key_like)s::text[] IS NULL OR v.key LIKE ANY (%(variable_key_like)s))

-- name: fetch_variable (primary key; agents)
SELECT key, value, key_id, description FROM variable WHERE key = %(key)s;

-- name: lock_variable (primary key; a change reads, merges and writes)
SELECT key, value, key_id, description FROM variable WHERE key = %(key)s FOR UPDATE;

-- name: lock_variables (all rows, for a change of the key)
SELECT key, value, key_id, description FROM variable ORDER BY key FOR UPDATE;

-- name: list_variables (all rows; what DAG files may read while they are loaded)
SELECT key, value, key_id, description FROM variable ORDER BY key;

-- name: insert_variable
INSERT INTO variable (key, value, key_id, description, created_at, updated_at)
VALUES (%(key)s, %(value)s, %(key_id)s, %(description)s, %(now)s, %(now)s)
ON CONFLICT (key) DO NOTHING;

-- name: update_variable (primary key)
UPDATE variable SET value = %(value)s, key_id = %(key_id)s, description = %(description)s, updated_at = %(now)s
WHERE key = %(key)s;

-- name: put_variable (primary key; a task writes: the description stays when it gives none)
INSERT INTO variable AS v (key, value, key_id, description, created_at, updated_at)
VALUES (%(key)s, %(value)s, %(key_id)s, %(description)s, %(now)s, %(now)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, key_id = excluded.key_id,
    description = coalesce(excluded.description, v.description), updated_at = excluded.updated_at;

-- name: delete_variable (primary key)
DELETE FROM variable WHERE key = %(key)s;
