-- name: fetch_leader
SELECT holder, term, heartbeat_at FROM leadership;
