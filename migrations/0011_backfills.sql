-- Backfills: what a person asked for, and what became of each of its moments (ADR 49). Older releases leave all of it alone.

CREATE TABLE backfill (
    id                    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    dag_id                text NOT NULL REFERENCES dag ON DELETE CASCADE,
    from_date             timestamptz NOT NULL,
    to_date               timestamptz NOT NULL,
    dag_run_conf          json,
    reprocess_behavior    text NOT NULL CHECK (reprocess_behavior IN ('none', 'failed', 'completed')),
    max_active_runs       integer NOT NULL CHECK (max_active_runs >= 1),
    run_on_latest_version boolean NOT NULL,
    is_paused             boolean NOT NULL DEFAULT false,
    triggering_user_name  text,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    completed_at          timestamptz
);
CREATE UNIQUE INDEX backfill_open ON backfill (dag_id) WHERE completed_at IS NULL;
CREATE INDEX backfill_by_dag ON backfill (dag_id, id);
COMMENT ON COLUMN backfill.dag_run_conf IS 'NULL: new runs have none, and those that run again keep theirs.';
COMMENT ON COLUMN backfill.completed_at IS 'Cancelled, or every moment is decided and no run of it is queued or running.';

CREATE TABLE backfill_dag_run (
    backfill_id         bigint NOT NULL REFERENCES backfill ON DELETE CASCADE,
    sort_ordinal        integer NOT NULL CHECK (sort_ordinal >= 1),
    logical_date        timestamptz NOT NULL,
    data_interval_start timestamptz NOT NULL,
    data_interval_end   timestamptz NOT NULL,
    run_after           timestamptz NOT NULL,
    dag_run_id          bigint REFERENCES dag_run ON DELETE SET NULL,
    exception_reason    text CHECK (exception_reason IN ('in flight', 'already exists', 'unknown')),
    decided_at          timestamptz,
    PRIMARY KEY (backfill_id, sort_ordinal)
);
CREATE INDEX backfill_dag_run_pending ON backfill_dag_run (backfill_id, sort_ordinal) WHERE decided_at IS NULL;
CREATE INDEX backfill_dag_run_by_run ON backfill_dag_run (dag_run_id) WHERE dag_run_id IS NOT NULL;
COMMENT ON COLUMN backfill_dag_run.decided_at IS
    'NULL: its run is still to be made. Written in the transaction that makes the run, so that a kill neither loses nor doubles one.';

ALTER TABLE dag_run ADD COLUMN backfill_id bigint REFERENCES backfill ON DELETE SET NULL;
ALTER TABLE dag_run ADD COLUMN backfill_ordinal integer;
CREATE INDEX dag_run_of_backfill ON dag_run (backfill_id) WHERE backfill_id IS NOT NULL;
COMMENT ON COLUMN dag_run.backfill_id IS 'The backfill that made it or ran it again last: its limit of active runs counts, not that of the DAG.';
COMMENT ON COLUMN dag_run.backfill_ordinal IS 'Its place in that backfill, which is the order in which its runs start.';

-- Somebody made an older version current: what the file gives stays where it is until it gives something else (ADR 49).
ALTER TABLE dag ADD COLUMN rolled_back_from text;
COMMENT ON COLUMN dag.rolled_back_from IS 'Digest of the version that the file gave at the rollback; registering it again does not make it current.';
