-- Variables, encrypted like the secrets of connections (ADR 14, ADR 39).

CREATE TABLE variable (
    key         text PRIMARY KEY CHECK (key <> '' AND length(key) <= 250),
    value       bytea NOT NULL,
    key_id      text NOT NULL,
    description text,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL
);
COMMENT ON COLUMN variable.value IS 'Nonce, ciphertext, tag (store.secret_box), of the text.';
COMMENT ON COLUMN variable.key_id IS 'The key of the ring that sealed the value; no part of the variable''s own key.';
