-- name: update_note
UPDATE task_instance SET note = %(note)s, updated_at = %(now)s
WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s;

-- name: delete_instance
DELETE FROM task_instance WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s;

-- name: delete_history
DELETE FROM task_instance_history
WHERE dag_run_id = %(dag_run_id)s AND task_id = %(task_id)s AND map_index = %(map_index)s;
