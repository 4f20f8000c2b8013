-- name: accept_jobs(account_ids, request_ids, fingerprints, dialects, submissions, scores, created_ats)
-- All arguments are arrays of one length: one job each. Gives back only the jobs that are new.
WITH accepted AS (
    INSERT INTO jobs (account_id, request_id, fingerprint, dialect, submission, score, created_at)
    SELECT * FROM unnest(
        :account_ids::bigint[], :request_ids::text[], :fingerprints::bytea[], :dialects::text[],
        :submissions::jsonb[], :scores::double precision[], :created_ats::timestamptz[])
    ON CONFLICT (account_id, request_id) DO NOTHING
    RETURNING id, account_id, request_id
), logged AS (
    INSERT INTO job_events (job_id, attempt, kind) SELECT id, 0, 'ACCEPTED' FROM accepted
)
SELECT id, account_id, request_id FROM accepted;

-- name: jobs_by_request(account_ids, request_ids)
SELECT jobs.* FROM jobs
JOIN unnest(:account_ids::bigint[], :request_ids::text[]) AS asked (account_id, request_id)
USING (account_id, request_id);

-- name: job_of_account(job_id, account_id)^
SELECT * FROM jobs WHERE id = :job_id AND account_id = :account_id;

-- name: job_by_id(job_id)^
SELECT * FROM jobs WHERE id = :job_id;

-- name: jobs_by_id(job_ids)
SELECT * FROM jobs WHERE id = ANY(:job_ids::bigint[]);

-- name: images_of_jobs(job_ids)
SELECT * FROM resources WHERE job_id = ANY(:job_ids::bigint[]) ORDER BY job_id, position;

-- name: claim_job(worker, lease, job_id, attempt)^
-- The attempt in the condition means that a second worker with the same signal claims nothing.
WITH claimed AS (
    UPDATE jobs SET status = 'RUNNING', attempt = attempt + 1, worker = :worker,
        lease_expires_at = now() + :lease::interval, started_at = coalesce(started_at, now())
    WHERE id = :job_id AND status = 'WAITING' AND attempt = :attempt - 1
    RETURNING *
), logged AS (
    INSERT INTO job_events (job_id, attempt, kind, detail) SELECT id, attempt, 'STARTED', worker FROM claimed
), told AS (
    INSERT INTO deliveries (job_id, url, kind)
    SELECT id, submission ->> 'running_notify_url', 'RUNNING' FROM claimed
    WHERE submission ->> 'running_notify_url' IS NOT NULL
)
SELECT * FROM claimed;

-- name: renew_lease(lease, job_id, attempt)^
UPDATE jobs SET lease_expires_at = now() + :lease::interval
WHERE id = :job_id AND attempt = :attempt AND status = 'RUNNING'
RETURNING id;

-- name: end_job(status, failure_code, failure_reason, job_id, attempt, leaving)^
-- The only way to a terminal status. Attempts that were given up, and ends that come twice, find no row.
-- Without an attempt it ends whichever there is, of the statuses in `leaving`.
WITH ended AS (
    UPDATE jobs SET status = :status, failure_code = :failure_code, failure_reason = :failure_reason,
        finished_at = now(), lease_expires_at = NULL
    WHERE id = :job_id AND attempt = coalesce(:attempt, attempt) AND status = ANY(:leaving::text[])
    RETURNING id, attempt, status, failure_reason, submission
), logged AS (
    INSERT INTO job_events (job_id, attempt, kind, detail) SELECT id, attempt, status, failure_reason FROM ended
), superseded AS (
    -- A progress call that has not left yet must not arrive after the end.
    UPDATE deliveries SET state = 'SUPERSEDED'
    FROM ended WHERE job_id = ended.id AND kind = 'RUNNING' AND state = 'PENDING'
), told AS (
    INSERT INTO deliveries (job_id, url, kind)
    SELECT DISTINCT id, url, 'TERMINAL' FROM ended,
        unnest(ARRAY[submission ->> 'notify_url', submission ->> 'running_notify_url']) AS url
    WHERE url IS NOT NULL
)
SELECT attempt FROM ended;

-- name: add_output(id, account_id, job_id, position, key, format, width, height, expires_at)!
INSERT INTO resources (id, account_id, job_id, position, key, format, width, height, expires_at, stored_at)
VALUES (:id, :account_id, :job_id, :position, :key, :format, :width, :height, :expires_at, now());

-- name: requeue_job(delay, job_id, attempt, reason)^
WITH requeued AS (
    UPDATE jobs SET status = 'WAITING', worker = NULL, lease_expires_at = NULL,
        available_at = now() + :delay::interval
    WHERE id = :job_id AND attempt = :attempt AND status = 'RUNNING'
    RETURNING id, attempt
), logged AS (
    INSERT INTO job_events (job_id, attempt, kind, detail) SELECT id, attempt, 'REQUEUED', :reason::text FROM requeued
)
SELECT id FROM requeued;

-- name: lapsed_jobs(limit)
SELECT id, attempt FROM jobs WHERE status = 'RUNNING' AND lease_expires_at < now()
ORDER BY lease_expires_at LIMIT :limit
FOR UPDATE SKIP LOCKED;

-- name: waiting_jobs(after, limit)
-- A page of the jobs that ought to be in the queue, by id.
SELECT id, attempt, score FROM jobs
WHERE status = 'WAITING' AND id > :after AND available_at <= now()
ORDER BY id LIMIT :limit;

-- name: retried_jobs(limit)
SELECT id, attempt, score FROM jobs
WHERE status = 'WAITING' AND attempt > 0 AND available_at <= now()
ORDER BY available_at LIMIT :limit;

-- name: waiting_between(scores)
-- Waiting jobs by how many of these scores, which ascend, are not over theirs. One look at the line for all of them,
-- and so it costs more the longer the line is: only for when Redis does not know.
SELECT width_bucket(score, :scores::double precision[]) AS scores_reached, count(*) AS jobs
FROM jobs WHERE status = 'WAITING' GROUP BY 1;
