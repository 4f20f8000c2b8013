-- name: claim_deliveries(claim, limit)
-- Per job and URL, one at a time and in order: a row waits while another is in flight, or an earlier one is due.
-- The claim lapses by itself, so that a dispatcher that died is followed by another.
-- Materialized, so that no plan can run the locking part twice and take more than the limit.
WITH taken AS MATERIALIZED (
    SELECT id FROM deliveries AS due
    WHERE state = 'PENDING' AND next_try_at <= now() AND (claimed_until IS NULL OR claimed_until < now())
      AND NOT EXISTS (
        SELECT FROM deliveries AS other
        WHERE other.job_id = due.job_id AND other.url = due.url AND other.id <> due.id
          AND (other.claimed_until > now()
            OR other.state = 'PENDING' AND other.next_try_at <= now() AND other.created_at < due.created_at))
    ORDER BY next_try_at LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE deliveries SET tries = tries + 1, claimed_until = now() + :claim::interval
FROM taken, accounts, jobs
WHERE deliveries.id = taken.id AND jobs.id = deliveries.job_id AND accounts.id = jobs.account_id
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
