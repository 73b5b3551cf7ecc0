-- Callbacks as people see them: what ends of tries and dag runs called for, and what became of it.

-- name: columns
c.id, r.dag_id, r.run_id AS dag_run_id, c.task_id, c.map_index, c.try_number, c.call ->> 'event' AS event,
c.call ->> 'of_dag' = 'true' AS of_dag, c.call ->> 'calls_functions' = 'true' AS calls_functions,
json_array_length(c.call -> 'email') AS mails, json_array_length(c.call -> 'alerts') AS alerts,
c.state, c.starts, c.because, c.queued_at, c.started_at, c.ended_at

-- name: source
FROM callback c JOIN dag_run r ON r.id = c.dag_run_id

-- name: visible
r.dag_id = ANY (%(visible)s)

-- name: filters
-- One: primary key. Of a run: callback_of_run. All: a scan, in the order of the primary key.
(%(id)s::bigint IS NULL OR c.id = %(id)s)
AND (%(dag_id)s::text IS NULL OR r.dag_id = %(dag_id)s)
AND (%(run_id)s::text IS NULL OR r.run_id = %(run_id)s)
AND (%(task_id)s::text IS NULL OR c.task_id = %(task_id)s)
AND (%(state)s::text[] IS NULL OR c.state = ANY (%(state)s))

-- name: list_unfinished (explain; callback_of_run)
SELECT c.call ->> 'event' AS event, c.state, c.because FROM callback c
WHERE c.dag_run_id = %(dag_run_id)s AND c.task_id = %(task_id)s AND c.map_index = %(map_index)s
  AND c.of_try IS NOT NULL AND c.state <> 'success' ORDER BY c.id DESC LIMIT 5;
