-- JSON from outside is kept as the text it came as (ADR 18): `json` has NUL, integers of any size and 1e20, which `jsonb`
-- refuses or changes. What people only look at (task_instance.rendered_fields, event_log.extra) and artifacts stay `jsonb`.

ALTER TABLE xcom ALTER COLUMN value TYPE json;
ALTER TABLE dag_run ALTER COLUMN conf TYPE json;
ALTER TABLE wait ALTER COLUMN probe TYPE json, ALTER COLUMN terms TYPE json, ALTER COLUMN event TYPE json;
ALTER TABLE webhook_delivery ALTER COLUMN body TYPE json;

COMMENT ON COLUMN xcom.value IS 'Exactly as the task pushed it. The operators of json read no value with a NUL: leave it to Python.';
COMMENT ON COLUMN dag_run.conf IS 'An object, at most 256 KiB; exactly as it was asked for.';

CREATE FUNCTION jsonb_set(target json, path text[], new_value jsonb) RETURNS json
    LANGUAGE sql IMMUTABLE AS 'SELECT pg_catalog.jsonb_set(target::jsonb, path, new_value)::json';
COMMENT ON FUNCTION jsonb_set(json, text[], jsonb) IS
    'For the release before this column type, which changes wait.terms in place; nobody else calls it.';
