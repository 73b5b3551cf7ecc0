-- What `loadtests.seed` makes of a few rows of each kind: the steps, in order. Parameters: those of `seed.Size`, `until` (the
-- moment of the newest run), `kinds` (how many there are beside the wide one). `pg_temp.draw` is a number in [0, 1) that depends
-- on a text and on the seed alone.

-- name: draw (a number in [0, 1) that depends on a text and on the seed alone)
CREATE FUNCTION pg_temp.draw(what text, seed int) RETURNS float8 LANGUAGE sql IMMUTABLE AS
    'SELECT (hashtextextended(what, seed) & 2147483647) / 2147483648.0';

-- name: a_uuid
CREATE FUNCTION pg_temp.a_uuid(what text, seed int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
    'SELECT md5(seed || what)::uuid';

-- name: a_dag (which DAGs there are, of which kind, with how many runs: shares fall with the rank, and add up exactly)
CREATE TEMP TABLE a_dag ON COMMIT DROP AS
WITH weighted AS (
    SELECT n, sum(n ^ -0.7) OVER (ORDER BY n) AS upto, sum(n ^ -0.7) OVER () AS all_of_them
    FROM generate_series(1, %(dags)s) n
)
SELECT n, 'site_' || lpad(n::text, 5, '0') AS dag_id, 'kind_' || (n * 7 / 4 + n) %% %(kinds)s AS kind,
       (floor(%(runs)s * upto / all_of_them) - floor(%(runs)s * lag(upto, 1, 0) OVER (ORDER BY n) / all_of_them))::int AS runs,
       1 + (pg_temp.draw('versions' || n, %(seed)s) * 3)::int %% 3 AS versions,
       ARRAY['tag_' || n %% 17, 'team_' || n %% 40] AS tags, ARRAY['owner_' || n %% 60] AS owners
FROM weighted
UNION ALL
SELECT 0, 'wide_00000', 'wide', %(wide_runs)s, 1, ARRAY['wide'], ARRAY['airflow'];

-- name: a_task
CREATE TEMP TABLE a_task ON COMMIT DROP AS
SELECT r.dag_id AS kind, row_number() OVER (PARTITION BY r.dag_id ORDER BY t.task_id) - 1 AS place,
       count(*) OVER (PARTITION BY r.dag_id) AS of_them, t.*
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id;

-- name: dag
INSERT INTO dag (dag_id, is_paused, is_stale, bundle_name, fileloc, relative_fileloc, last_parsed_at, last_parse_duration_s,
                 dag_display_name, description, tags, owners, timetable_summary, timetable_description, max_active_runs,
                 max_active_tasks, next_logical_date, next_data_interval_start, next_data_interval_end, next_run_after, created_at)
SELECT a.dag_id, pg_temp.draw('paused' || a.dag_id, %(seed)s) < 0.3, pg_temp.draw('stale' || a.dag_id, %(seed)s) < 0.02,
       'site', '/dags/' || a.dag_id || '.py', a.dag_id || '.py', %(until)s, 0.2, a.dag_id, 'Loads the table ' || a.n,
       a.tags, a.owners, k.timetable_summary, k.timetable_description, k.max_active_runs, k.max_active_tasks,
       %(until)s, %(until)s, %(until)s + interval '1 day', %(until)s + interval '1 day', %(until)s - interval '400 days'
FROM a_dag a JOIN dag k ON k.dag_id = a.kind;

-- name: dag_version
INSERT INTO dag_version (id, dag_id, version_number, digest, spec, source, bundle_digest, label, created_at)
SELECT pg_temp.a_uuid(a.dag_id || '/' || number, %(seed)s), a.dag_id, number, md5(a.dag_id || number),
       v.spec || jsonb_build_object('dag_id', a.dag_id, 'tags', to_jsonb(a.tags)), v.source, md5('bundle' || a.dag_id || number), '',
       %(until)s - interval '100 days' * (a.versions - number + 1)
FROM a_dag a JOIN dag k ON k.dag_id = a.kind JOIN dag_version v ON v.id = k.current_version_id
CROSS JOIN LATERAL generate_series(1, a.versions) number;

-- name: current_version
UPDATE dag d SET current_version_id = pg_temp.a_uuid(d.dag_id || '/' || a.versions, %(seed)s) FROM a_dag a WHERE a.dag_id = d.dag_id;

-- name: a_run (nth: 0 is the newest run; what goes on is among the newest)
CREATE TEMP TABLE a_run ON COMMIT DROP AS
SELECT row_number() OVER (ORDER BY nth DESC, n) AS place, d.*,
       CASE WHEN nth > 0 OR n = 0 THEN CASE WHEN luck < 0.05 THEN 'failed' ELSE 'success' END
            WHEN luck < 0.03 THEN 'running' WHEN luck < 0.04 THEN 'queued' WHEN luck < 0.09 THEN 'failed' ELSE 'success' END AS state,
       CASE WHEN luck > 0.95 THEN 'manual' ELSE 'scheduled' END AS run_type
FROM (
    SELECT a.*, nth, a.dag_id || '/' || nth AS key, pg_temp.draw('run' || a.dag_id || '/' || nth, %(seed)s) AS luck,
           %(until)s - nth * CASE WHEN a.runs > 300 THEN interval '1 hour' ELSE interval '1 day' END
               - interval '1 minute' * (a.n %% 1440) AS at
    FROM a_dag a CROSS JOIN LATERAL generate_series(0, a.runs - 1) nth
) d;

-- name: dag_run
INSERT INTO dag_run (id, dag_id, run_id, dag_version_id, run_type, state, logical_date, data_interval_start, data_interval_end, run_after,
                     queued_at, start_date, end_date, last_scheduling_decision, conf, triggered_by, triggering_user_name, note, updated_at)
OVERRIDING SYSTEM VALUE
SELECT place + 1000, dag_id, run_type || '__' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'),
       pg_temp.a_uuid(dag_id || '/' || greatest(1, versions - nth * versions / runs), %(seed)s),
       run_type, state, at, at - interval '1 day', at, at, at, CASE WHEN state <> 'queued' THEN at + interval '1 second' END,
       CASE WHEN state IN ('success', 'failed') THEN at + interval '1 second' * (60 + luck * 3000) END,
       CASE WHEN state <> 'queued' THEN at END, '{}', CASE run_type WHEN 'manual' THEN 'ui' ELSE 'timetable' END,
       CASE run_type WHEN 'manual' THEN 'admin' END, CASE WHEN luck > 0.99 THEN 'looked at' END, at + interval '1 hour'
FROM a_run ORDER BY place;

-- name: identity
SELECT setval(pg_get_serial_sequence('dag_run', 'id'), (SELECT max(id) FROM dag_run));

-- name: task_instance (until the turning point tasks are done; what is there decides the run: failed, or goes on (half of these wait))
INSERT INTO task_instance (dag_run_id, task_id, id, dag_version_id, state, try_number, max_tries, operator, operator_name,
    task_display_name, pool, pool_slots, queue, priority_weight, scheduled_at, queued_at, start_date, end_date, hostname, unixname, pid,
    executor, because, rendered_fields, updated_at)
SELECT dag_run_id, task_id, pg_temp.a_uuid(key || task_id, %(seed)s), dag_version_id, state,
       CASE WHEN state IS NULL OR state IN ('skipped', 'upstream_failed') THEN 0 WHEN luck < 0.03 THEN 2 ELSE 1 END, max_tries, operator,
       operator_name, task_display_name, pool, pool_slots, queue, priority_weight, starts, starts,
       CASE WHEN state IN ('success', 'failed', 'running', 'up_for_reschedule') THEN starts END,
       CASE WHEN state IN ('success', 'failed', 'skipped', 'upstream_failed') THEN starts + interval '1 second' * (1 + luck * 30) END,
       CASE WHEN state IN ('success', 'failed', 'running') THEN 'worker-' || dag_run_id %% 20 END, 'leoflow', 4000 + (luck * 9000)::int, 'process',
       CASE state WHEN 'upstream_failed' THEN 'all_success: 1 upstream failed' WHEN 'failed' THEN 'exit code 1' END,
       CASE WHEN state IN ('success', 'failed') AND operator = 'BashOperator' THEN '{"bash_command": "echo 1", "env": null}'::jsonb END,
       at + interval '1 hour'
FROM (
    SELECT r.place + 1000 AS dag_run_id, r.key, r.at, t.task_id, t.max_tries, t.operator, t.operator_name, t.task_display_name, t.pool,
           t.pool_slots, t.queue, t.priority_weight, pg_temp.draw(r.key || t.task_id, %(seed)s) AS luck,
           pg_temp.a_uuid(r.dag_id || '/' || greatest(1, r.versions - r.nth * r.versions / r.runs), %(seed)s) AS dag_version_id,
           r.at + interval '1 second' * (2 + t.place * 30 %% 3000) AS starts,
           CASE r.state
               WHEN 'success' THEN CASE WHEN t.place > 1 AND pg_temp.draw('skip' || r.key || t.task_id, %(seed)s) < 0.03 THEN 'skipped' ELSE 'success' END
               WHEN 'failed' THEN CASE WHEN t.place < turn THEN 'success' WHEN t.place = turn THEN 'failed' ELSE 'upstream_failed' END
               WHEN 'running' THEN CASE WHEN t.place < turn THEN 'success' WHEN t.place > turn THEN NULL
                                        WHEN turn = 1 THEN 'up_for_reschedule' ELSE 'running' END
           END AS state
    FROM (SELECT *, pg_temp.draw('turn' || key, %(seed)s) AS turning FROM a_run) r
    JOIN a_task t ON t.kind = r.kind
    CROSS JOIN LATERAL (SELECT CASE WHEN r.state = 'running' AND r.turning < 0.5 THEN 1
                                    ELSE 2 + floor(r.turning * (t.of_them - 2))::int END AS turn) at_turn
) i
ORDER BY dag_run_id, task_id;

-- name: task_instance_history
INSERT INTO task_instance_history (id, dag_run_id, task_id, map_index, dag_version_id, state, try_number, max_tries, operator,
    operator_name, task_display_name, pool, pool_slots, queue, priority_weight, scheduled_at, queued_at, start_date, end_date, hostname,
    unixname, pid, executor, because)
SELECT pg_temp.a_uuid('try' || id, %(seed)s), dag_run_id, task_id, map_index, dag_version_id, 'failed', 1, max_tries, operator,
       operator_name, task_display_name, pool, pool_slots, queue, priority_weight, scheduled_at, queued_at, start_date, end_date, hostname,
       unixname, pid, executor, 'exit code 1'
FROM task_instance WHERE try_number = 2;

-- name: xcom
INSERT INTO xcom (dag_run_id, task_id, map_index, key, value, created_at)
SELECT dag_run_id, task_id, map_index, 'return_value', to_json(task_id || ' wrote ' || dag_run_id), end_date
FROM task_instance WHERE state = 'success' AND pg_temp.draw('xcom' || id, %(seed)s) < 0.2;

-- name: wait
INSERT INTO wait (dag_run_id, task_id, map_index, id, dag_id, kind, key, probe, terms, registered_at, deadline_at)
SELECT t.dag_run_id, t.task_id, t.map_index, t.id, r.dag_id, task -> 'wait' -> 'probe' ->> 'kind', md5(task -> 'wait' ->> 'probe'),
       (task -> 'wait' -> 'probe')::json, (task -> 'wait' -> 'terms')::json, t.start_date, t.start_date + interval '7 days'
FROM task_instance t JOIN dag_run r ON r.id = t.dag_run_id JOIN dag_version v ON v.id = r.dag_version_id
CROSS JOIN LATERAL (SELECT value AS task FROM jsonb_array_elements(v.spec -> 'tasks') WHERE value ->> 'task_id' = t.task_id) found
WHERE t.state = 'up_for_reschedule';

-- name: event_log (what people did: a row for each run, sealed afterwards)
WITH e AS (
    INSERT INTO event_log (occurred_at, event, owner, dag_id, run_id, logical_date, extra, client)
    SELECT r.run_after, CASE r.run_type WHEN 'manual' THEN 'trigger_dag_run' ELSE 'clear_task_instances' END,
           'owner_' || r.id %% 60, r.dag_id, r.run_id, r.logical_date, '{"conf": {}}', '10.0.0.' || r.id %% 250
    FROM dag_run r WHERE r.id > 1000 ORDER BY r.id RETURNING id
)
INSERT INTO audit_seal (event_id) SELECT id FROM e;

-- name: no_kinds
DELETE FROM dag_run WHERE id <= 1000;

-- name: no_kinds_dag
DELETE FROM dag WHERE dag_id IN (SELECT kind FROM a_dag);
