-- name: fetch_identity (primary key)
SELECT i.username, u.disabled_at IS NOT NULL AS is_disabled
FROM oidc_identity i JOIN app_user u USING (username) WHERE i.issuer = %(issuer)s AND i.subject = %(subject)s;

-- name: insert_identity
INSERT INTO oidc_identity (issuer, subject, username, email, created_at, last_login_at)
VALUES (%(issuer)s, %(subject)s, %(username)s, %(email)s, %(now)s, %(now)s);

-- name: mark_login
UPDATE oidc_identity SET email = %(email)s, last_login_at = %(now)s WHERE issuer = %(issuer)s AND subject = %(subject)s;

-- name: insert_teams (those that the configuration names are there once somebody is in them)
INSERT INTO team (name, created_at) SELECT unnest(%(teams)s::text[]), %(now)s ON CONFLICT DO NOTHING;

-- name: insert_memberships
INSERT INTO team_member (team, username) SELECT unnest(%(teams)s::text[]), %(username)s ON CONFLICT DO NOTHING;

-- name: delete_memberships (of teams that groups give; others are an administrator's)
DELETE FROM team_member WHERE username = %(username)s AND team = ANY (%(given)s) AND NOT team = ANY (%(teams)s);

-- name: delete_old_sessions (every login; index oidc_session_by_end)
DELETE FROM oidc_session WHERE expires_at < %(now)s;

-- name: insert_session
INSERT INTO oidc_session (session, issuer, subject, sid, key_id, id_token, created_at, expires_at)
VALUES (%(session)s, %(issuer)s, %(subject)s, %(sid)s, %(key_id)s, %(id_token)s, %(now)s, %(expires_at)s);

-- name: fetch_session (primary key)
SELECT session, key_id, id_token, expires_at FROM oidc_session WHERE session = %(session)s;

-- name: end_sessions (those of a provider's session, or all of a person, that began before it said so; how many)
WITH ended AS (
    DELETE FROM oidc_session
    WHERE issuer = %(issuer)s AND created_at <= %(before)s
      AND (subject = %(subject)s OR %(subject)s::text IS NULL) AND (sid = %(sid)s OR %(sid)s::text IS NULL)
    RETURNING session)
INSERT INTO revoked_token (jti, expires_at) SELECT session, %(refused_until)s FROM ended ON CONFLICT DO NOTHING;
