-- What lists need at a site's size (ADR 92). Older releases read all of it as before.

-- Newest first with those that have not begun last is how lists are ordered; an index in plain order does not serve that.
DROP INDEX task_instance_by_start, task_instance_state, dag_run_by_start;
CREATE INDEX task_instance_by_start ON task_instance (start_date DESC NULLS LAST);
CREATE INDEX task_instance_state ON task_instance (state, start_date DESC NULLS LAST) WHERE state IS NOT NULL;
CREATE INDEX dag_run_by_start ON dag_run (start_date DESC NULLS LAST);

-- The few that have no state yet are counted for the dashboard.
CREATE INDEX task_instance_without_state ON task_instance (dag_run_id) WHERE state IS NULL;

-- What each DAG's last run is like, for lists and counters of DAGs, without a look at the run.
DROP INDEX dag_run_recent;
CREATE INDEX dag_run_recent ON dag_run (dag_id, run_after DESC, id DESC) INCLUDE (state, start_date);

-- Few of the runs: lists and counts of those that failed, or go on.
CREATE INDEX dag_run_by_state ON dag_run (state, run_after DESC, id DESC);

-- Two facts of an artifact that each row of the list of DAGs shows: the whole document was read for them.
ALTER TABLE dag_version
    ADD COLUMN is_periodic boolean NOT NULL
        GENERATED ALWAYS AS (coalesce(spec -> 'timetable' ->> 'type' IN ('cron', 'delta', 'dates'), false)) STORED,
    ADD COLUMN has_task_limits boolean NOT NULL
        GENERATED ALWAYS AS (coalesce(jsonb_path_exists(spec,
            '$.tasks[*] ? (exists (@.max_active_tis_per_dag) || exists (@.max_active_tis_per_dagrun))'), false)) STORED;
