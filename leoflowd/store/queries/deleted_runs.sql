-- name: list_due (sweep of the leader; index deleted_run_due)
SELECT dag_run_id, dag_id, run_id, places, attempts, is_clean FROM deleted_run
WHERE again_at IS NULL OR again_at <= %(now)s ORDER BY again_at NULLS FIRST, dag_run_id LIMIT %(limit)s;

-- name: fetch_last_failure (sweep of the leader; few rows)
SELECT because FROM deleted_run WHERE attempts >= %(attempts)s ORDER BY dag_run_id LIMIT 1;

-- name: mark_clean
UPDATE deleted_run SET is_clean = true, attempts = 0, because = NULL, again_at = %(again_at)s WHERE dag_run_id = %(dag_run_id)s;

-- name: mark_failed
UPDATE deleted_run SET attempts = attempts + 1, because = %(because)s, again_at = %(again_at)s
WHERE dag_run_id = %(dag_run_id)s;

-- name: delete_deleted_run
DELETE FROM deleted_run WHERE dag_run_id = %(dag_run_id)s;
