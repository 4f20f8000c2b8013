-- name: add_app(id, account_id, public_key, scopes)!
INSERT INTO apps (id, account_id, public_key, scopes) VALUES (:id, :account_id, :public_key, :scopes::text[]);

-- name: app_by_id(id)^
SELECT public_key, scopes, account_id, name, webhook_secret, priority, weight, rate_per_s, burst
FROM apps JOIN accounts ON accounts.id = account_id
WHERE apps.id = :id AND revoked_at IS NULL;

-- name: apps_of(account)
-- Of all accounts where :account is NULL.
SELECT apps.id, name AS account, scopes, apps.created_at, last_used_at, revoked_at
FROM apps JOIN accounts ON accounts.id = account_id
WHERE :account::text IS NULL OR name = :account::text
ORDER BY apps.created_at, apps.id;

-- name: revoke_app(id)$
UPDATE apps SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id RETURNING id;

-- name: note_apps_used(ids, times)!
UPDATE apps SET last_used_at = used.at
FROM unnest(:ids::text[], :times::timestamptz[]) AS used (id, at)
WHERE apps.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at);
