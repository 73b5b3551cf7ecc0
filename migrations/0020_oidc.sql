-- Logins by OpenID Connect (ADR 91). Older releases know none of it; to them these are users whom no password fits.

CREATE TABLE oidc_identity (
    issuer        text NOT NULL,
    subject       text NOT NULL,
    username      text NOT NULL UNIQUE REFERENCES app_user ON DELETE CASCADE,
    email         text,
    created_at    timestamptz NOT NULL,
    last_login_at timestamptz NOT NULL,
    PRIMARY KEY (issuer, subject)
);
COMMENT ON TABLE oidc_identity IS 'Users of an identity provider. Who it is, issuer and subject say; never the name.';

CREATE TABLE oidc_session (
    session     text PRIMARY KEY,
    issuer      text NOT NULL,
    subject     text NOT NULL,
    sid         text,
    key_id      text,
    id_token    bytea,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    FOREIGN KEY (issuer, subject) REFERENCES oidc_identity ON DELETE CASCADE,
    CHECK ((key_id IS NULL) = (id_token IS NULL))
);
COMMENT ON COLUMN oidc_session.session IS 'The `sid` of our tokens, as in revoked_token.';
COMMENT ON COLUMN oidc_session.sid IS 'The provider''s session.';
COMMENT ON COLUMN oidc_session.id_token IS 'Encrypted; tells the provider at the logout whose it is.';
CREATE INDEX oidc_session_of_subject ON oidc_session (issuer, subject);
CREATE INDEX oidc_session_by_sid ON oidc_session (sid) WHERE sid IS NOT NULL;
CREATE INDEX oidc_session_by_end ON oidc_session (expires_at);
