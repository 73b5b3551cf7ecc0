-- When dag runs are to have succeeded (ADR 58). Rows are written with their run. Older releases leave all of it alone.

CREATE TABLE deadline (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    dag_run_id     bigint NOT NULL REFERENCES dag_run ON DELETE CASCADE,
    position       integer NOT NULL CHECK (position >= 0),
    deadline_time  timestamptz NOT NULL,
    after_queued_s double precision,
    missed         boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL,
    UNIQUE (dag_run_id, position)
);
CREATE INDEX deadline_open ON deadline (deadline_time) WHERE NOT missed;
COMMENT ON COLUMN deadline.position IS 'In the list of its DAG, where the code is that is called when it is missed.';
COMMENT ON COLUMN deadline.after_queued_s IS 'Set when it is reckoned from the queued_at of the run, which a clear moves.';
COMMENT ON COLUMN deadline.missed IS 'Written once, with the row of its callback. One that was met is deleted.';
