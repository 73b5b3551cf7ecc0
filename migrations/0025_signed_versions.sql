-- Who signed a version, where its server checks signatures.

ALTER TABLE dag_version ADD COLUMN signed_by text CHECK (signed_by <> '');
COMMENT ON COLUMN dag_version.signed_by IS 'Name and fingerprint of the key whose signature was checked when it was registered; null: nobody''s.';
