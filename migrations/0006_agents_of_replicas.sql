-- `explain` names the daemon without an agent, in whichever daemon it is asked.

ALTER TABLE replica ADD COLUMN agents integer NOT NULL DEFAULT 0 CHECK (agents >= 0);
COMMENT ON COLUMN replica.agents IS 'Host agents attached to it at its last beat.';
