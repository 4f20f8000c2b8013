-- name: claim_deliveries(claim, limit)
-- Per job, one at a time and in order: a row waits while an earlier one for the same job is in flight.
-- The claim lapses by itself, so that a dispatcher that died is followed by another.
UPDATE deliveries SET tries = tries + 1, claimed_until = now() + :claim::interval
FROM accounts, jobs
WHERE deliveries.id IN (
    SELECT id FROM deliveries AS due
    WHERE state = 'PENDING' AND next_try_at <= now() AND (claimed_until IS NULL OR claimed_until < now())
      AND NOT EXISTS (
        SELECT FROM deliveries AS earlier
        WHERE earlier.job_id = due.job_id AND earlier.url = due.url AND earlier.id <> due.id
          AND earlier.created_at <= due.created_at AND earlier.claimed_until > now())
    ORDER BY next_try_at LIMIT :limit
    FOR UPDATE SKIP LOCKED)
AND jobs.id = deliveries.job_id AND accounts.id = jobs.account_id
RETURNING deliveries.id, deliveries.job_id, deliveries.url, deliveries.kind, deliveries.tries, accounts.webhook_secret;

-- name: settle_delivery(state, status, error, id, tries)!
-- Only the try that claimed it may settle it. A superseded row keeps its state.
UPDATE deliveries SET
    state = CASE WHEN state = 'PENDING' THEN :state ELSE state END,
    last_status = :status, last_error = :error, claimed_until = NULL, settled_at = now()
WHERE id = :id AND tries = :tries;

-- name: postpone_delivery(delay, status, error, id, tries)!
UPDATE deliveries SET next_try_at = now() + :delay::interval, last_status = :status, last_error = :error,
    claimed_until = NULL
WHERE id = :id AND tries = :tries;

-- name: seconds_to_next_delivery()$
SELECT extract(epoch FROM min(greatest(next_try_at, coalesce(claimed_until, next_try_at))) - now())
FROM deliveries WHERE state = 'PENDING';
