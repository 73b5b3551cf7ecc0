-- name: fetch_pod_uid (agents, launcher; primary key)
SELECT pod_uid FROM try_pod WHERE try_id = %(try_id)s::uuid;

-- name: insert_try_pod (agents; the first one stays)
INSERT INTO try_pod (try_id, dag_run_id, pod_uid) VALUES (%(try_id)s::uuid, %(dag_run_id)s, %(pod_uid)s)
ON CONFLICT DO NOTHING;
