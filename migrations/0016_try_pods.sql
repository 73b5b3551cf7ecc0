-- Which pod is a try's: the first that asked for its spec, and no other (ADR 78).

CREATE TABLE try_pod (
    try_id     uuid PRIMARY KEY,
    dag_run_id bigint NOT NULL REFERENCES dag_run ON DELETE CASCADE,
    pod_uid    text NOT NULL CHECK (pod_uid <> '' AND length(pod_uid) <= 128)
);
CREATE INDEX try_pod_of_run ON try_pod (dag_run_id);
COMMENT ON TABLE try_pod IS
    'Written once, before a pod hears what its try is; another pod of the same try runs nothing. try_id: of a task instance or a callback.';
