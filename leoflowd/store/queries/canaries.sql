-- name: fetch_has_canary (every new run; partial index canary_live)
SELECT id FROM canary WHERE dag_id = %(dag_id)s AND ended_at IS NULL;

-- name: share_dag (before its canary, as whoever makes another version current does; a new run takes it anyway)
SELECT FROM dag WHERE dag_id = %(dag_id)s FOR KEY SHARE;

-- name: lock_dag
SELECT FROM dag WHERE dag_id = %(dag_id)s FOR UPDATE;

-- name: fetch_current (locked; NULL: a DAG that is new, or whose project is gone)
SELECT current_version_id FROM dag WHERE dag_id = %(dag_id)s AND NOT is_stale FOR UPDATE;

-- name: lock_canary (behind the lock of the dag, or alone; who holds it asks for nothing older)
SELECT id, dag_id, dag_version_id, share, rollback_above, judged_after, started_by, started_at
FROM canary WHERE dag_id = %(dag_id)s AND ended_at IS NULL FOR NO KEY UPDATE;

-- name: fetch_tally (primary keys of canary_run and dag_run)
SELECT count(*)::int AS runs, count(*) FILTER (WHERE r.state = 'success')::int AS succeeded,
       count(*) FILTER (WHERE r.state = 'failed')::int AS failed
FROM canary_run c JOIN dag_run r ON r.id = c.dag_run_id WHERE c.canary_id = %(canary_id)s;

-- name: list_live
SELECT dag_id FROM canary WHERE ended_at IS NULL ORDER BY dag_id;

-- name: insert_canary
INSERT INTO canary (dag_id, dag_version_id, share, rollback_above, judged_after, started_by, started_at)
VALUES (%(dag_id)s, %(version_id)s, %(share)s, %(rollback_above)s, %(after)s, %(by)s, %(now)s);

-- name: insert_canary_run
INSERT INTO canary_run (canary_id, dag_run_id) VALUES (%(canary_id)s, %(dag_run_id)s);

-- name: mark_ended
UPDATE canary SET outcome = %(outcome)s, because = %(because)s, ended_at = %(now)s
WHERE dag_id = %(dag_id)s AND ended_at IS NULL;

-- name: mark_overtaken (another version becomes current; the caller holds the lock of the dag row)
UPDATE canary c SET outcome = CASE WHEN c.dag_version_id = %(version_id)s THEN 'promoted' ELSE 'replaced' END,
                    because = CASE WHEN c.dag_version_id = %(version_id)s THEN 'it was made current'
                                   ELSE 'another version was made current' END,
                    ended_at = %(now)s
FROM dag d
WHERE c.dag_id = %(dag_id)s AND c.ended_at IS NULL AND d.dag_id = c.dag_id
  AND d.current_version_id IS DISTINCT FROM %(version_id)s;

-- name: list_versions (newest first, with the last canary of each; unique index on (dag_id, version_number))
SELECT v.version_number, nullif(v.label, '') AS label, v.spec ->> 'image' AS image, v.signed_by, v.created_at,
       v.id = d.current_version_id AS is_current, to_jsonb(c) AS canary
FROM dag d JOIN dag_version v ON v.dag_id = d.dag_id
LEFT JOIN LATERAL (
    SELECT k.share, k.rollback_above, k.judged_after AS after, k.started_by, k.started_at, k.outcome, k.because, k.ended_at,
           count(r.id) AS runs, count(r.id) FILTER (WHERE r.state = 'success') AS succeeded,
           count(r.id) FILTER (WHERE r.state = 'failed') AS failed
    FROM canary k LEFT JOIN canary_run n ON n.canary_id = k.id LEFT JOIN dag_run r ON r.id = n.dag_run_id
    WHERE k.dag_id = v.dag_id AND k.dag_version_id = v.id GROUP BY k.id ORDER BY k.id DESC LIMIT 1
) c ON true
WHERE d.dag_id = %(dag_id)s ORDER BY v.version_number DESC LIMIT %(limit)s;
