-- Waits of the cheap-task pool (ADR 13), and connections, encrypted (ADR 14).

ALTER TABLE task_instance DROP CONSTRAINT task_instance_check2;
COMMENT ON COLUMN task_instance.due_at IS
    'When up_for_retry / up_for_reschedule ends (UTC). NULL in up_for_reschedule: the cheap-task pool waits for it.';
ALTER TABLE task_instance ADD CONSTRAINT task_instance_retry_has_a_time
    CHECK (state IS DISTINCT FROM 'up_for_retry' OR due_at IS NOT NULL);

CREATE TABLE wait (
    dag_run_id    bigint NOT NULL,
    task_id       text NOT NULL,
    map_index     integer NOT NULL DEFAULT -1,
    id            uuid NOT NULL UNIQUE,
    dag_id        text NOT NULL,
    status        text NOT NULL DEFAULT 'waiting' CHECK (status IN ('waiting', 'fired')),
    kind          text NOT NULL,
    key           text NOT NULL,
    probe         jsonb NOT NULL,
    terms         jsonb NOT NULL,
    registered_at timestamptz NOT NULL,
    deadline_at   timestamptz,
    event         jsonb,
    ended_at      timestamptz,
    PRIMARY KEY (dag_run_id, task_id, map_index),
    FOREIGN KEY (dag_run_id, task_id, map_index) REFERENCES task_instance ON DELETE CASCADE,
    CHECK ((status = 'fired') = (ended_at IS NOT NULL))
);
CREATE INDEX wait_of_dag ON wait (dag_id) WHERE status = 'waiting';
CREATE INDEX wait_by_key ON wait (key) WHERE status = 'waiting';
COMMENT ON TABLE wait IS
    'What a task instance waits for. Current only while task_instance.id = wait.id: a row of an older try is dead.';
COMMENT ON COLUMN wait.key IS 'contract.waits.coalescing_key: waits with equal keys share one probe.';
COMMENT ON COLUMN wait.event IS 'fired: contract.waits.ResumeWith, kept until the resumed try has ended.';

CREATE TABLE webhook_delivery (
    name        text NOT NULL,
    delivery_id text NOT NULL,
    received_at timestamptz NOT NULL,
    body        jsonb,
    signature   text NOT NULL,
    PRIMARY KEY (name, delivery_id),
    UNIQUE (name, signature)
);
CREATE INDEX webhook_delivery_by_time ON webhook_delivery (name, received_at);
COMMENT ON TABLE webhook_delivery IS 'Signed webhooks that arrived; both keys refuse replays. Swept after a week.';
COMMENT ON COLUMN webhook_delivery.signature IS
    'Hex HMAC as sent. The delivery id is not signed: a captured call must not be accepted again under another one.';

CREATE TABLE connection (
    connection_id text PRIMARY KEY CHECK (connection_id ~ '^[[:alnum:]#!()\-.:/\\_]{1,250}$'),
    conn_type     text NOT NULL CHECK (conn_type <> ''),
    description   text,
    host          text,
    schema        text,
    login         text,
    port          integer,
    password      bytea,
    extra         bytea,
    key_id        text,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    CHECK (key_id IS NOT NULL OR (password IS NULL AND extra IS NULL))
);
COMMENT ON COLUMN connection.password IS 'AES-256-GCM: nonce, ciphertext and tag; the connection id and the column are bound in.';
COMMENT ON COLUMN connection.key_id IS 'Which key sealed password and extra.';
