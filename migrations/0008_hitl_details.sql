-- What tasks ask people, and what these answered (ADR 41).

CREATE TABLE hitl_detail (
    dag_run_id     bigint NOT NULL,
    task_id        text NOT NULL,
    map_index      integer NOT NULL,
    try_number     integer NOT NULL,
    wait_id        uuid NOT NULL UNIQUE,
    subject        text NOT NULL,
    body           text,
    options        json NOT NULL,
    defaults       json,
    multiple       boolean NOT NULL,
    params         json NOT NULL,
    assigned_users json NOT NULL,
    created_at     timestamptz NOT NULL,
    responded_at   timestamptz,
    responded_by_id   text,
    responded_by_name text,
    chosen_options json,
    params_input   json NOT NULL DEFAULT '{}',
    closed_at      timestamptz,
    PRIMARY KEY (dag_run_id, task_id, map_index, try_number),
    FOREIGN KEY (dag_run_id, task_id, map_index) REFERENCES task_instance ON UPDATE CASCADE ON DELETE CASCADE,
    CHECK ((responded_at IS NULL) = (chosen_options IS NULL)),
    CHECK ((responded_by_id IS NULL) = (responded_by_name IS NULL)),
    CHECK (responded_at IS NULL OR closed_at IS NULL)
);
CREATE INDEX hitl_detail_open ON hitl_detail (created_at) WHERE responded_at IS NULL;
CREATE INDEX wait_for_people ON wait (deadline_at) WHERE kind = 'human' AND status = 'waiting';
COMMENT ON TABLE hitl_detail IS
    'One question per try. It can be answered while task_instance.id = wait_id and the instance is deferred.';
COMMENT ON COLUMN hitl_detail.responded_by_id IS 'User name; NULL beside responded_at: nobody answered in time, the defaults were taken.';
COMMENT ON COLUMN hitl_detail.closed_at IS 'Nobody answered in time, and there were no defaults: no answer counts any more.';
