-- name: columns
-- A connection with its secrets sealed: `store.connections` opens them. Not ready to be answered.
c.connection_id, c.conn_type, c.description, c.host, c.schema, c.login, c.port, c.password, c.extra, c.key_id

-- name: source
FROM connection c

-- name: filters
(%(connection_id_ilike)s::text[] IS NULL OR c.connection_id ILIKE ANY (%(connection_id_ilike)s))
AND (%(connection_id_like)s::text[] IS NULL OR c.connection_id LIKE ANY (%(connection_id_like)s))

-- name: fetch_connection (primary key; agents and the cheap-task pool)
SELECT connection_id, conn_type, description, host, schema, login, port, password, extra, key_id
FROM connection WHERE connection_id = %(connection_id)s;

-- name: lock_connection (primary key; a change reads, merges and writes)
SELECT connection_id, conn_type, description, host, schema, login, port, password, extra, key_id
FROM connection WHERE connection_id = %(connection_id)s FOR UPDATE;

-- name: lock_connections (all rows, for a change of the key)
SELECT connection_id, conn_type, description, host, schema, login, port, password, extra, key_id
FROM connection ORDER BY connection_id FOR UPDATE;

-- name: list_all_connections (all rows; what DAG files may read while they are loaded)
SELECT connection_id, conn_type, description, host, schema, login, port, password, extra, key_id
FROM connection ORDER BY connection_id;

-- name: list_connection_ids
SELECT connection_id FROM connection ORDER BY connection_id;

-- name: list_missing_connections (primary key; of those that an artifact names)
SELECT asked.id FROM unnest(%(ids)s::text[]) WITH ORDINALITY asked (id, place)
WHERE NOT EXISTS (SELECT FROM connection c WHERE c.connection_id = asked.id) ORDER BY asked.place;

-- name: insert_connection
INSERT INTO connection (connection_id, conn_type, description, host, schema, login, port, password, extra, key_id, created_at, updated_at)
VALUES (%(connection_id)s, %(conn_type)s, %(description)s, %(host)s, %(schema)s, %(login)s, %(port)s, %(password)s, %(extra)s,
        %(key_id)s, %(now)s, %(now)s)
ON CONFLICT (connection_id) DO NOTHING;

-- name: update_connection (primary key)
UPDATE connection SET conn_type = %(conn_type)s, description = %(description)s, host = %(host)s, schema = %(schema)s,
    login = %(login)s, port = %(port)s, password = %(password)s, extra = %(extra)s, key_id = %(key_id)s, updated_at = %(now)s
WHERE connection_id = %(connection_id)s;

-- name: delete_connection (primary key)
DELETE FROM connection WHERE connection_id = %(connection_id)s;
