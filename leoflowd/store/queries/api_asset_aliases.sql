-- name: columns
l.id, l.name, l.group_name AS "group"

-- name: source
FROM asset_alias l

-- name: visible
(NOT EXISTS (SELECT FROM asset_use u WHERE u.alias_id = l.id)
 OR EXISTS (SELECT FROM asset_use u WHERE u.alias_id = l.id AND u.dag_id = ANY (%(visible)s)))

-- name: filters
(%(id)s::bigint IS NULL OR l.id = %(id)s)
AND (%(name_ilike)s::text[] IS NULL OR l.name ILIKE ANY (%(name_ilike)s))
AND (%(name_like)s::text[] IS NULL OR l.name LIKE ANY (%(name_like)s))
