-- name: list_run_ends (executors.staging, lite: whose volumes are of no use any more; primary key)
SELECT id, dag_id, run_id, state, end_date FROM dag_run WHERE id = ANY (%(ids)s::bigint[]);
