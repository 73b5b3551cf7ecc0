-- name: lock_migrations (advisory lock until the end of the transaction: one process migrates at a time)
SELECT pg_advisory_xact_lock(%(key)s);

-- name: create_schema_migration
CREATE TABLE IF NOT EXISTS schema_migration (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: list_applied (oldest first)
SELECT number, name, sha256 FROM schema_migration ORDER BY number;

-- name: insert_applied
INSERT INTO schema_migration (number, name, sha256) VALUES (%(number)s, %(name)s, %(sha256)s);
