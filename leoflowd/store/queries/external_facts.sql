-- name: count_states
-- For external_task waits: a row per question, in order of `number`. One array of JSON instead of a statement each.
-- Runs come by the unique indexes of dag_run (dag_id, logical_date) and (dag_id, run_id), instances by the primary key
-- of task_instance: OFFSET 0 keeps each a lookup, because of a JSON's length the planner knows nothing. The current artifact is read once per DAG of which tasks or groups are asked. No locks.
WITH RECURSIVE question AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(questions)s::jsonb)
        AS q(number int, dag_id text, task_ids text[], task_group_id text, logical_dates timestamptz[], run_ids text[])
), artifact AS MATERIALIZED (
    SELECT d.dag_id, v.spec FROM dag d JOIN dag_version v ON v.id = d.current_version_id
    WHERE d.dag_id IN (SELECT dag_id FROM question WHERE task_ids <> '{}' OR task_group_id IS NOT NULL)
), task AS MATERIALIZED (
    SELECT a.dag_id, t ->> 'task_id' AS task_id, t ->> 'group_id' AS group_id
    FROM artifact a CROSS JOIN jsonb_array_elements(a.spec -> 'tasks') t
), task_group AS MATERIALIZED (
    SELECT a.dag_id, g ->> 'group_id' AS group_id, g ->> 'parent_group_id' AS parent_group_id
    FROM artifact a CROSS JOIN jsonb_array_elements(a.spec -> 'groups') g
), inside AS (  -- each group that is asked for, with all groups in it
    SELECT DISTINCT g.dag_id, g.group_id AS asked, g.group_id
    FROM question q JOIN task_group g ON g.dag_id = q.dag_id AND g.group_id = q.task_group_id
    UNION ALL
    SELECT g.dag_id, i.asked, g.group_id
    FROM inside i JOIN task_group g ON g.dag_id = i.dag_id AND g.parent_group_id = i.group_id
), wanted AS MATERIALIZED (
    SELECT q.number, q.dag_id, unnest(q.task_ids) AS task_id FROM question q
    UNION ALL
    SELECT q.number, q.dag_id, t.task_id FROM question q
    JOIN inside i ON i.dag_id = q.dag_id AND i.asked = q.task_group_id
    JOIN task t ON t.dag_id = i.dag_id AND t.group_id = i.group_id
), run AS MATERIALIZED (
    SELECT q.number, r.id, r.state FROM question q CROSS JOIN unnest(q.logical_dates) AS asked(moment)
    CROSS JOIN LATERAL (
        SELECT id, state FROM dag_run WHERE dag_id = q.dag_id AND logical_date = asked.moment OFFSET 0) r
    UNION ALL
    SELECT q.number, r.id, r.state FROM question q CROSS JOIN unnest(q.run_ids) AS asked(run_id)
    CROSS JOIN LATERAL (
        SELECT id, state FROM dag_run WHERE dag_id = q.dag_id AND run_id = asked.run_id OFFSET 0) r
), instance AS MATERIALIZED (
    SELECT w.number, coalesce(t.state, 'none') AS state, t.map_index > 0 AS is_copy
    FROM wanted w JOIN run r ON r.number = w.number
    CROSS JOIN LATERAL (
        SELECT state, map_index FROM task_instance WHERE dag_run_id = r.id AND task_id = w.task_id OFFSET 0) t
), found AS (
    SELECT number, state FROM instance
    UNION ALL
    SELECT r.number, r.state FROM run r JOIN question q ON q.number = r.number
    WHERE q.task_ids = '{}' AND q.task_group_id IS NULL
)
SELECT coalesce((SELECT jsonb_object_agg(state, count) FROM (
           SELECT f.state, count(*) AS count FROM found f WHERE f.number = q.number GROUP BY f.state) c), '{}') AS counts,
       (cardinality(q.logical_dates) + cardinality(q.run_ids))
           * CASE WHEN q.task_ids = '{}' AND q.task_group_id IS NULL THEN 1
                  ELSE (SELECT count(*) FROM wanted w WHERE w.number = q.number) END
           + (SELECT count(*) FROM instance i WHERE i.number = q.number AND i.is_copy) AS expected,
       EXISTS (SELECT FROM dag d WHERE d.dag_id = q.dag_id AND NOT d.is_stale) AS dag_exists,
       ARRAY(SELECT asked.task_id FROM unnest(q.task_ids) WITH ORDINALITY AS asked(task_id, place)
             WHERE NOT EXISTS (SELECT FROM task t WHERE t.dag_id = q.dag_id AND t.task_id = asked.task_id)
             ORDER BY asked.place)
       || ARRAY(SELECT q.task_group_id WHERE q.task_group_id IS NOT NULL AND NOT EXISTS (
             SELECT FROM task_group g WHERE g.dag_id = q.dag_id AND g.group_id = q.task_group_id)) AS missing
FROM question q ORDER BY q.number;
