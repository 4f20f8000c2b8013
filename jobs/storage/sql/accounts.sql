-- name: add_account(name, webhook_secret)!
-- Of two that come at once, one is added.
INSERT INTO accounts (name, webhook_secret) VALUES (:name, :webhook_secret) ON CONFLICT (name) DO NOTHING;

-- name: account_by_name(name)^
SELECT id, name, webhook_secret FROM accounts WHERE name = :name;

-- name: add_key(hash, account_id, prefix)!
INSERT INTO api_keys (hash, account_id, prefix) VALUES (:hash, :account_id, :prefix);

-- name: account_of_key(hash)$
SELECT account_id FROM api_keys WHERE hash = :hash AND revoked_at IS NULL;
