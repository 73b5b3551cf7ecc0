-- What a deleted dag run leaves beside the database is found by its row here until it is gone (ADR 96). Whoever deletes a
-- run, by whatever statement and of whichever release, writes that row.

CREATE TABLE deleted_run (
    dag_run_id bigint PRIMARY KEY,
    dag_id     text NOT NULL,
    run_id     text NOT NULL,
    places     text[] NOT NULL,
    attempts   integer NOT NULL DEFAULT 0,
    because    text,
    is_clean   boolean NOT NULL DEFAULT false,
    again_at   timestamptz
);
CREATE INDEX deleted_run_due ON deleted_run (again_at NULLS FIRST, dag_run_id);
COMMENT ON TABLE deleted_run IS 'Dag runs that are deleted, and whose logs and results may still be there.';
COMMENT ON COLUMN deleted_run.places IS 'xcom.place of its values.';
COMMENT ON COLUMN deleted_run.attempts IS 'That failed in a row; because: the last failure.';
COMMENT ON COLUMN deleted_run.is_clean IS 'All is deleted; once more at again_at, for what a straggler wrote meanwhile.';
COMMENT ON COLUMN deleted_run.again_at IS 'When to look at it; null = at once.';

CREATE FUNCTION note_deleted_run() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO deleted_run (dag_run_id, dag_id, run_id, places)
    SELECT OLD.id, OLD.dag_id, OLD.run_id,
           ARRAY(SELECT place FROM xcom WHERE dag_run_id = OLD.id AND place IS NOT NULL);
    RETURN OLD;
END
$$;
CREATE TRIGGER note_deleted_run BEFORE DELETE ON dag_run FOR EACH ROW EXECUTE FUNCTION note_deleted_run();
