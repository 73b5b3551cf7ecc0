-- XCom values that are kept outside of the database (ADR 60, 61). Older releases write none, and read none as null: the
-- settings that make them are for when all replicas are of this release.

ALTER TABLE xcom
    ADD COLUMN place text,  -- where the value is: `redis:<name>`, `objects:<name>`; null = in `value`
    ADD COLUMN bytes bigint,  -- of that value
    ADD COLUMN items integer,  -- how many items it has, for tasks that are mapped over it; null = none to map over
    ADD CONSTRAINT xcom_placed CHECK (place IS NULL OR (value IS NULL AND bytes IS NOT NULL));
