-- name: add_account(name, webhook_secret)!
-- Of two that come at once, one is added.
INSERT INTO accounts (name, webhook_secret) VALUES (:name, :webhook_secret) ON CONFLICT (name) DO NOTHING;

-- name: account_by_name(name)^
SELECT id AS account_id, name, webhook_secret, priority, weight, rate_per_s, burst FROM accounts WHERE name = :name;

-- name: account_names(limit)
SELECT name FROM accounts ORDER BY name LIMIT :limit;

-- name: set_priority(account_id, priority)!
UPDATE accounts SET priority = :priority WHERE id = :account_id;

-- name: set_weight(account_id, weight)!
UPDATE accounts SET weight = :weight WHERE id = :account_id;

-- name: set_rate_limit(account_id, per_s, burst)!
UPDATE accounts SET rate_per_s = :per_s, burst = :burst WHERE id = :account_id;

-- name: add_key(hash, account_id, prefix, scopes, lifetime)$
INSERT INTO api_keys (hash, account_id, prefix, scopes, expires_at)
VALUES (:hash, :account_id, :prefix, :scopes::text[], now() + :lifetime::interval)
RETURNING id;

-- name: grant_of_key(hash)^
SELECT api_keys.id AS key_id, scopes, account_id, name, webhook_secret, priority, weight, rate_per_s, burst
FROM api_keys JOIN accounts ON accounts.id = account_id
WHERE hash = :hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now());

-- name: keys_of(account)
-- Of all accounts where :account is NULL.
SELECT api_keys.id, name AS account, prefix, scopes, api_keys.created_at, expires_at, last_used_at, revoked_at, replaced_by
FROM api_keys JOIN accounts ON accounts.id = account_id
WHERE :account::text IS NULL OR name = :account::text
ORDER BY api_keys.id;

-- name: revoke_key(id)$
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id RETURNING id;

-- name: key_to_rotate(id)^
-- Locked, so that of two rotations at once the second finds it replaced.
SELECT account_id, scopes, expires_at - created_at AS lifetime, replaced_by,
    revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS works
FROM api_keys WHERE id = :id FOR UPDATE;

-- name: replace_key(id, replaced_by, overlap)!
-- least() takes no notice of NULL.
UPDATE api_keys SET replaced_by = :replaced_by, expires_at = least(expires_at, now() + :overlap::interval)
WHERE id = :id;

-- name: note_keys_used(ids, times)!
UPDATE api_keys SET last_used_at = used.at
FROM unnest(:ids::bigint[], :times::timestamptz[]) AS used (id, at)
WHERE api_keys.id = used.id AND (last_used_at IS NULL OR last_used_at < used.at);

-- name: signing_key(name, kind)^
SELECT CASE :kind WHEN 'ed25519' THEN ed25519_key WHEN 'tams-rsa' THEN rsa_key END AS key
FROM accounts WHERE name = :name;

-- name: set_signing_key(name, kind, key)!
UPDATE accounts SET ed25519_key = CASE WHEN :kind = 'ed25519' THEN :key::bytea ELSE ed25519_key END,
    rsa_key = CASE WHEN :kind = 'tams-rsa' THEN :key::bytea ELSE rsa_key END
WHERE name = :name;

-- name: rotate_webhook_secret(name, secret, overlap)$
-- The forgotten ones go with the first rotation after their time.
WITH found AS MATERIALIZED (
    SELECT id, webhook_secret FROM accounts WHERE name = :name FOR NO KEY UPDATE
), retired AS (
    INSERT INTO retired_secrets (account_id, secret, expires_at)
    SELECT id, webhook_secret, now() + :overlap::interval FROM found
), forgotten AS (
    DELETE FROM retired_secrets USING found WHERE account_id = found.id AND expires_at <= now()
)
UPDATE accounts SET webhook_secret = :secret FROM found WHERE accounts.id = found.id RETURNING accounts.id;
