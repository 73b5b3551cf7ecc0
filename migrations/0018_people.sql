-- Users, roles of one's own, teams (ADR 85). Older releases read `app_user.role` alone: a role that they do not know gives
-- nothing there, and further roles, teams and `disabled_at` are unknown to them.

CREATE TABLE role (
    name        text PRIMARY KEY CHECK (name <> ''),
    is_built_in boolean NOT NULL DEFAULT false,
    description text NOT NULL DEFAULT '',
    created_at  timestamptz
);
INSERT INTO role (name, is_built_in) VALUES ('Admin', true), ('Op', true), ('User', true), ('Viewer', true);

ALTER TABLE app_user
    DROP CONSTRAINT app_user_role_check,
    ADD FOREIGN KEY (role) REFERENCES role,
    ADD COLUMN disabled_at timestamptz;
CREATE UNIQUE INDEX app_user_by_name ON app_user (lower(username));
CREATE INDEX app_user_of_role ON app_user (role);
COMMENT ON COLUMN app_user.role IS 'The first of the roles; the others are in user_role.';

CREATE TABLE user_role (
    username text NOT NULL REFERENCES app_user ON DELETE CASCADE,
    role     text NOT NULL REFERENCES role,
    PRIMARY KEY (username, role)
);
CREATE INDEX user_role_of_role ON user_role (role);

CREATE TABLE team (
    name       text PRIMARY KEY CHECK (name <> ''),
    created_at timestamptz NOT NULL
);

CREATE TABLE team_member (
    team     text NOT NULL REFERENCES team ON DELETE CASCADE,
    username text NOT NULL REFERENCES app_user ON DELETE CASCADE,
    PRIMARY KEY (team, username)
);
CREATE INDEX team_member_of_user ON team_member (username);

CREATE TABLE team_dag (
    team    text NOT NULL REFERENCES team ON DELETE CASCADE,
    pattern text NOT NULL CHECK (pattern <> ''),
    PRIMARY KEY (team, pattern)
);
COMMENT ON COLUMN team_dag.pattern IS 'A DAG id, in which * stands for any characters.';

CREATE TABLE role_grant (
    role   text NOT NULL REFERENCES role ON DELETE CASCADE,
    rights text NOT NULL CHECK (rights IN ('read', 'run', 'deploy', 'operate', 'settings')),
    kind   text NOT NULL CHECK (kind IN ('all', 'dag', 'tag', 'team', 'my-teams')),
    name   text NOT NULL DEFAULT '',
    team   text GENERATED ALWAYS AS (CASE WHEN kind = 'team' THEN name END) STORED REFERENCES team,
    PRIMARY KEY (role, rights, kind, name),
    CHECK ((kind IN ('all', 'my-teams')) = (name = ''))
);
CREATE INDEX role_grant_of_team ON role_grant (team);
COMMENT ON COLUMN role_grant.name IS 'Of the tag, of the team, or the pattern of DAG ids.';

-- For grants: DAGs by tag, and by the beginning of their id.
CREATE INDEX dag_by_tag ON dag USING gin (tags);
CREATE INDEX dag_by_beginning ON dag (dag_id COLLATE "C");

-- Everything that decides what a user may do at this moment, in one row. Whoever has built-in roles alone has no row in
-- role_grant, which two looks into indexes say.
CREATE VIEW user_access AS
SELECT u.username, u.sessions_valid_from, u.disabled_at IS NOT NULL AS is_disabled,
       ARRAY[u.role] || ARRAY(SELECT m.role FROM user_role m WHERE m.username = u.username ORDER BY m.role) AS roles,
       (SELECT coalesce(jsonb_agg(jsonb_build_object(
                   'rights', g.rights, 'is_all', g.kind = 'all', 'patterns', p.patterns, 'ids', to_jsonb(ARRAY(
                       SELECT d.dag_id FROM dag d WHERE g.kind = 'tag' AND d.tags @> ARRAY[g.name]
                       UNION
                       SELECT d.dag_id
                       FROM unnest(p.patterns) pattern, split_part(pattern, '*', 1) beginning, dag d
                       WHERE strpos(pattern, '*') > 0
                         AND d.dag_id COLLATE "C" >= beginning AND d.dag_id COLLATE "C" < beginning || U&'\+10FFFF'
                         AND d.dag_id LIKE
                             replace(replace(replace(replace(pattern, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%')
                   )))), '[]')
        FROM role_grant g
        CROSS JOIN LATERAL (SELECT ARRAY(
            SELECT g.name WHERE g.kind = 'dag'
            UNION
            SELECT t.pattern FROM team_dag t WHERE g.kind = 'team' AND t.team = g.name
            UNION
            SELECT t.pattern FROM team_member m JOIN team_dag t ON t.team = m.team
            WHERE g.kind = 'my-teams' AND m.username = u.username) AS patterns) p
        WHERE g.role IN (SELECT u.role UNION SELECT m.role FROM user_role m WHERE m.username = u.username)) AS grants
FROM app_user u;
