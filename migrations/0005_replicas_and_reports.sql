-- Several daemons on one database: what one that does not lead was told, who is there, and who was given a try (ADR 28).

CREATE TABLE report (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body        json NOT NULL,
    reported_at timestamptz NOT NULL
);
COMMENT ON TABLE report IS
    'What agents told a daemon that does not lead; the leader decides each row and then deletes it. body: scheduler.inbox.Report.';

CREATE TABLE replica (
    id       text PRIMARY KEY,
    name     text NOT NULL,
    beat     bigint NOT NULL DEFAULT 0,
    heard_at timestamptz NOT NULL,
    tries    uuid[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE replica IS 'One row per daemon. beat grows while it lives; tries are those that it heard a moment ago.';

ALTER TABLE task_instance ADD COLUMN launcher text NOT NULL DEFAULT '';
COMMENT ON COLUMN task_instance.launcher IS 'replica.id whose executor was given the current try; empty = the only one there was.';
