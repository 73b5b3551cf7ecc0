-- name: fetch_leader
SELECT holder, term, heartbeat_at FROM leadership;

-- name: fetch_schema_number
SELECT max(number) FROM schema_migration;
