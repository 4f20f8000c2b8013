-- name: standing_of_account(name)^
SELECT id, balance, held, waiting, running, credits_enforced, max_waiting, max_running FROM accounts WHERE name = :name;

-- name: locked_standings(account_ids)
-- By id, as everywhere: two writers that lock in another order would wait for each other.
SELECT id, balance, held, waiting, running, credits_enforced, max_waiting, max_running FROM accounts
WHERE id = ANY(:account_ids::bigint[])
ORDER BY id
FOR NO KEY UPDATE;

-- name: add_to_ledger(name, kind, amount, note)$
-- The account's balance follows by a trigger.
INSERT INTO ledger (account_id, kind, amount, note)
SELECT id, :kind, :amount, :note FROM accounts WHERE name = :name
RETURNING id;

-- name: set_limits(credits_enforced, max_waiting, max_running, account_id)!
UPDATE accounts SET credits_enforced = :credits_enforced, max_waiting = :max_waiting, max_running = :max_running
WHERE id = :account_id;
