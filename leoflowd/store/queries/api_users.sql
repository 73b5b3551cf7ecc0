-- name: fetch_user
SELECT username, password_hash, role, created_at, sessions_valid_from FROM app_user WHERE username = %(username)s;

-- name: fetch_session
-- Every authenticated request: primary keys of app_user and revoked_token.
SELECT username, role, sessions_valid_from,
       EXISTS (SELECT FROM revoked_token WHERE jti = %(jti)s) AS is_revoked
FROM app_user WHERE username = %(username)s;

-- name: insert_user
INSERT INTO app_user (username, password_hash, role, created_at, sessions_valid_from)
VALUES (%(username)s, %(password_hash)s, %(role)s, %(now)s, %(now)s)
ON CONFLICT (username) DO NOTHING;

-- name: mark_password
UPDATE app_user SET password_hash = %(password_hash)s, sessions_valid_from = %(now)s WHERE username = %(username)s;

-- name: insert_revoked_token
INSERT INTO revoked_token (jti, expires_at) VALUES (%(jti)s, %(expires_at)s) ON CONFLICT (jti) DO NOTHING;

-- name: delete_expired_revocations
DELETE FROM revoked_token WHERE expires_at < %(now)s;
