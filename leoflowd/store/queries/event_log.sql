-- name: insert_audited (what people and programs do through the API: a row of event_log, and one that waits for its seal)
WITH e AS (
    INSERT INTO event_log (occurred_at, event, owner, dag_id, run_id, task_id, map_index, try_number, logical_date, extra, client)
    VALUES (%(now)s, %(event)s, %(owner)s, %(dag_id)s, %(run_id)s, %(task_id)s, %(map_index)s, %(try_number)s,
            %(logical_date)s, %(extra)s::jsonb, %(client)s)
    RETURNING id)
INSERT INTO audit_seal (event_id) SELECT id FROM e;

-- name: insert_event (called in the transaction of what it records)
INSERT INTO event_log (occurred_at, event, owner, dag_id, run_id, task_id, map_index, try_number, logical_date, extra)
VALUES (%(now)s, %(event)s, %(owner)s, %(dag_id)s, %(run_id)s, %(task_id)s, %(map_index)s, %(try_number)s,
        %(logical_date)s, %(extra)s::jsonb);
