-- name: hold_runs (before what is in them is read and changed by hand; in order of id, as everybody locks them; primary key)
SELECT id, dag_version_id, state, start_date, end_date, because, revision FROM dag_run
WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: touch_runs (primary key)
UPDATE dag_run SET revision = revision + 1, dag_version_id = coalesce(%(version_id)s, dag_version_id), updated_at = %(now)s
WHERE id = ANY (%(ids)s::bigint[]);

-- name: set_versions (instances that run again do so on the version of their run; primary key)
UPDATE task_instance t SET dag_version_id = u.dag_version_id
FROM unnest(%(runs)s::bigint[], %(task_ids)s::text[], %(map_indexes)s::int[], %(versions)s::uuid[])
     AS u(dag_run_id, task_id, map_index, dag_version_id)
WHERE t.dag_run_id = u.dag_run_id AND t.task_id = u.task_id AND t.map_index = u.map_index
  AND t.dag_version_id <> u.dag_version_id;
