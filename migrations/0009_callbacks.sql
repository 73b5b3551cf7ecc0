-- What ends of tries and dag runs call for: callbacks, mails, alerts (ADR 48). A row is written with the end itself.

CREATE TABLE callback (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    try_id      uuid NOT NULL UNIQUE,
    dag_run_id  bigint NOT NULL REFERENCES dag_run ON DELETE CASCADE,
    task_id     text,
    map_index   integer NOT NULL,
    of_try      uuid,
    try_number  integer NOT NULL,
    max_tries   integer NOT NULL,
    call        json NOT NULL,
    state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'success', 'failed')),
    starts      integer NOT NULL DEFAULT 0,
    launcher    text NOT NULL DEFAULT '',
    hostname    text,
    queued_at   timestamptz NOT NULL,
    launched_at timestamptz,
    started_at  timestamptz,
    ended_at    timestamptz,
    because     text NOT NULL DEFAULT '',
    CHECK ((state IN ('success', 'failed')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'running' OR started_at IS NOT NULL),
    CHECK ((launcher = '') = (launched_at IS NULL))
);
CREATE INDEX callback_open ON callback (id) WHERE state IN ('queued', 'running');
CREATE INDEX callback_of_run ON callback (dag_run_id);
COMMENT ON COLUMN callback.try_id IS 'The fence of its process, as task_instance.id is of a try: new each time it is queued again.';
COMMENT ON COLUMN callback.of_try IS 'The try that ended; NULL for a dag run.';
COMMENT ON COLUMN callback.starts IS 'Processes that were started for it; more than one only after infrastructure faults, or by hand.';
COMMENT ON COLUMN callback.launcher IS 'The replica whose executor was given it; empty until then.';
