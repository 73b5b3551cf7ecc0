-- Dag runs that retention took away (ADR 93), until their logs and values outside of the database are gone too. Older releases
-- know nothing of it.

CREATE TABLE removed_run (
    dag_run_id bigint PRIMARY KEY,
    dag_id     text NOT NULL,
    run_id     text NOT NULL,
    removed_at timestamptz NOT NULL
);
COMMENT ON TABLE removed_run IS 'Written in the transaction that deletes the run: a kill in between leaves nothing behind.';
