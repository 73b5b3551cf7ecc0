-- Backfills of runs that have a partition in the place of a date (ADR 76).

ALTER TABLE backfill_dag_run ADD COLUMN partition_key text;
ALTER TABLE backfill_dag_run ADD COLUMN partition_date timestamptz;
COMMENT ON COLUMN backfill_dag_run.partition_key IS
    'Of the run, which then has no logical date and no interval: those of this row say where it stands among the others.';

CREATE INDEX dag_run_by_partition_key ON dag_run (dag_id, partition_key) WHERE partition_key IS NOT NULL;
