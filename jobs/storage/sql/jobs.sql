-- name: accept_jobs(jobs, submissions)
-- A JSON list of objects with the columns of a job each, and as many lines of JSON with what each asks for: one text of
-- many rows costs the client far less than an array for each column. Gives back only the jobs that are new, and makes
-- none for an account whose limits do not allow all that are asked for: which of them fit is then for the caller to
-- choose. Accounts are locked first, by id, so that two batches never wait for each other. What is held follows by a
-- trigger. The row itself is the event of acceptance, see `events_after`.
WITH job AS MATERIALIZED (
    SELECT * FROM ROWS FROM (
        json_to_recordset(:jobs::json) AS (
            account_id bigint, request_id text, fingerprint bytea, dialect text, credits numeric,
            cost_s double precision, work_kind text, need text, weight double precision, priority integer,
            created_at timestamptz),
        string_to_table(:submissions::text, E'\n')
    ) WITH ORDINALITY AS job (
        account_id, request_id, fingerprint, dialect, credits, cost_s, work_kind, need, weight, priority, created_at,
        submission, position)
), asked AS (
    SELECT account_id, sum(credits) AS price, count(*) AS number FROM job GROUP BY account_id
), allowed AS MATERIALIZED (
    -- One after the other by the index: the planner takes what comes as JSON for very many accounts.
    SELECT found.id FROM (SELECT * FROM asked ORDER BY account_id) AS asked CROSS JOIN LATERAL (
        SELECT id FROM accounts
        WHERE id = asked.account_id
          AND (NOT credits_enforced OR asked.price <= balance - held)
          AND (max_waiting IS NULL OR waiting + asked.number <= max_waiting)
        FOR NO KEY UPDATE
    ) AS found
), accepted AS (
    INSERT INTO jobs (
        account_id, request_id, fingerprint, dialect, submission, credits, cost_s, work_kind, need, weight,
        priority, created_at)
    SELECT account_id, request_id, fingerprint, dialect, submission::jsonb, credits, cost_s, work_kind, need, weight,
        priority, created_at
    FROM job WHERE account_id IN (SELECT id FROM allowed)
    ORDER BY position
    ON CONFLICT (account_id, request_id) DO NOTHING
    RETURNING id, account_id, request_id
)
SELECT id, account_id, request_id FROM accepted;

-- name: jobs_by_request(account_ids, request_ids)
SELECT jobs.* FROM jobs
JOIN unnest(:account_ids::bigint[], :request_ids::text[]) AS asked (account_id, request_id)
USING (account_id, request_id);

-- name: job_of_account(job_id, account_id)^
SELECT * FROM jobs WHERE id = :job_id AND account_id = :account_id;

-- name: jobs_running_at(worker)$
SELECT count(*) FROM jobs WHERE status = 'RUNNING' AND worker = coalesce(:worker::text, worker);

-- name: told_jobs(job_ids)
-- A row for each of their pictures, or one without. What was asked for is long, and is not read.
SELECT jobs.id AS job_id, jobs.account_id, request_id, dialect, credits, status, attempt, cost_s, work_kind, need,
    failure_code, failure_reason, picture.*
FROM jobs LEFT JOIN LATERAL (
    -- In order, so that each job's are looked up by the index: the planner does not know how few are asked for.
    SELECT id, position, key, format, width, height, expires_at FROM resources
    WHERE job_id = jobs.id AND jobs.status = 'SUCCESS' ORDER BY position
) AS picture ON TRUE
WHERE jobs.id = ANY(:job_ids::bigint[])
ORDER BY jobs.id, position;

-- name: images_of_jobs(job_ids)
SELECT * FROM resources WHERE job_id = ANY(:job_ids::bigint[]) ORDER BY job_id, position;

-- name: claim_jobs(worker, lease, job_ids, attempts)
-- The attempt in the condition means that a second worker with the same signal claims nothing. The worker that has it is
-- given it again: it asks twice where the first answer was lost, with its connection, after the commit or before it.
-- One whose time to start is over is claimed no more, but for another attempt; `overdue_jobs` finds it.
-- A job whose account runs as many as it may is parked instead, until `unpark_jobs` finds room. The accounts are locked
-- while they are looked at, after the jobs as everywhere, so that two claims at once cannot both take the last room.
WITH asked AS MATERIALIZED (
    SELECT jobs.id, account_id, position, signal.attempt, status = 'WAITING' AS is_new FROM jobs
    JOIN unnest(:job_ids::bigint[], :attempts::integer[]) WITH ORDINALITY AS signal (id, attempt, position)
      ON signal.id = jobs.id
    WHERE status = 'RUNNING' AND jobs.attempt = signal.attempt AND worker = :worker
      OR status = 'WAITING' AND jobs.attempt = signal.attempt - 1
      AND (started_at IS NOT NULL OR submission ->> 'start_within_s' IS NULL
           OR created_at + (submission ->> 'start_within_s')::float8 * interval '1 second' > now())
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs
), room AS MATERIALIZED (
    SELECT id AS account_id, max_running - running AS number FROM accounts
    WHERE id = ANY(ARRAY(SELECT account_id FROM asked))
    ORDER BY id
    FOR NO KEY UPDATE
), counted AS (
    SELECT asked.id, number, row_number() OVER (PARTITION BY account_id ORDER BY position) AS nth
    FROM asked JOIN room USING (account_id) WHERE is_new
), parked AS (
    UPDATE jobs SET parked_at = now() WHERE id IN (SELECT id FROM counted WHERE nth > number)
), claimed AS (
    UPDATE jobs SET status = 'RUNNING', attempt = asked.attempt, worker = :worker,
        lease_expires_at = now() + :lease::interval, started_at = coalesce(started_at, now())
    FROM asked
    WHERE jobs.id = asked.id AND asked.id NOT IN (SELECT id FROM counted WHERE nth > number)
    RETURNING jobs.*, is_new
), logged AS (
    INSERT INTO job_events (job_id, attempt, kind, detail)
    SELECT id, attempt, 'STARTED', worker FROM claimed WHERE is_new
), superseded AS (
    -- Of an attempt before.
    UPDATE deliveries SET state = 'SUPERSEDED', settled_at = now()
    FROM claimed WHERE is_new AND job_id = claimed.id AND kind IN ('RUNNING', 'PROGRESS') AND state = 'PENDING'
), told AS (
    -- The start, and one row for all progress, whose time is always the next look. It is the younger one, and so waits.
    INSERT INTO deliveries (job_id, url, kind, next_try_at, created_at)
    SELECT id, submission ->> 'running_notify_url', kind, next_try_at, made_at
    FROM claimed, (VALUES
        ('RUNNING', now(), now()),
        ('PROGRESS', now() + interval '1 second', clock_timestamp())
    ) AS row (kind, next_try_at, made_at)
    WHERE is_new AND submission ->> 'running_notify_url' IS NOT NULL
)
SELECT * FROM claimed;

-- name: renew_lease(lease, job_id, attempt)^
UPDATE jobs SET lease_expires_at = now() + :lease::interval
WHERE id = :job_id AND attempt = :attempt AND status = 'RUNNING'
RETURNING id;

-- name: end_jobs(job_ids, attempts, statuses, failure_codes, failure_reasons, notes, leaving, image_ids, image_job_ids, image_attempts, positions, keys, formats, widths, heights, expires_ats)
-- The only way to a terminal status. Attempts that were given up, and ends that come twice, find no row.
-- Without an attempt it ends whichever there is. All must leave one of `leaving`. The arrays before that are of one
-- length, and so are those after it, which are the images that the jobs made.
-- All jobs and then all accounts are locked before anything is changed, by id: no two statements wait for each other.
WITH asked AS MATERIALIZED (
    SELECT jobs.id, account_id, new.status, new.failure_code, new.failure_reason, note FROM jobs
    JOIN unnest(:job_ids::bigint[], :attempts::integer[], :statuses::text[], :failure_codes::text[],
        :failure_reasons::text[], :notes::text[]) AS new (id, attempt, status, failure_code, failure_reason, note)
      ON new.id = jobs.id
    WHERE jobs.attempt = coalesce(new.attempt, jobs.attempt) AND jobs.status = ANY(:leaving::text[])
    ORDER BY jobs.id
    FOR NO KEY UPDATE OF jobs
), locked AS MATERIALIZED (
    SELECT id FROM accounts WHERE id = ANY(ARRAY(SELECT account_id FROM asked)) ORDER BY id FOR NO KEY UPDATE
), ended AS (
    UPDATE jobs SET status = asked.status, failure_code = asked.failure_code, failure_reason = asked.failure_reason,
        finished_at = now(), lease_expires_at = NULL
    FROM asked WHERE jobs.id = asked.id AND (SELECT count(*) FROM locked) > 0
    RETURNING jobs.id, jobs.account_id, attempt, jobs.status, jobs.failure_reason, note, submission
), logged AS (
    INSERT INTO job_events (job_id, attempt, kind, detail)
    SELECT id, attempt, status, coalesce(failure_reason, note) FROM ended
), superseded AS (
    -- A progress call that has not left yet must not arrive after the end.
    UPDATE deliveries SET state = 'SUPERSEDED', settled_at = now()
    FROM ended WHERE job_id = ended.id AND kind IN ('RUNNING', 'PROGRESS') AND state = 'PENDING'
), told AS (
    INSERT INTO deliveries (job_id, url, kind)
    SELECT DISTINCT id, url, 'TERMINAL' FROM ended,
        unnest(ARRAY[submission ->> 'notify_url', submission ->> 'running_notify_url']) AS url
    WHERE url IS NOT NULL
), shown AS (
    INSERT INTO resources (id, account_id, job_id, position, key, format, width, height, expires_at, stored_at)
    SELECT image.id, account_id, job_id, position, key, format, width, height, expires_at, now()
    FROM unnest(:image_ids::uuid[], :image_job_ids::bigint[], :image_attempts::integer[], :positions::integer[],
        :keys::text[], :formats::text[], :widths::integer[], :heights::integer[], :expires_ats::timestamptz[])
        AS image (id, job_id, attempt, position, key, format, width, height, expires_at)
    JOIN ended ON ended.id = job_id AND ended.attempt = image.attempt
)
SELECT id, attempt FROM ended;

-- name: requeue_job(delay, job_id, attempt, reason, handed_back, need)^
WITH requeued AS (
    UPDATE jobs SET status = 'WAITING', worker = NULL, lease_expires_at = NULL,
        available_at = now() + :delay::interval, handed_back = handed_back + :handed_back,
        need = coalesce(:need::text, need)
    WHERE id = :job_id AND attempt = :attempt AND status = 'RUNNING'
    RETURNING id, attempt
), logged AS (
    INSERT INTO job_events (job_id, attempt, kind, detail) SELECT id, attempt, 'REQUEUED', :reason::text FROM requeued
)
SELECT id FROM requeued;

-- name: lapsed_jobs(limit)
SELECT id, attempt, handed_back, account_id, worker FROM jobs WHERE status = 'RUNNING' AND lease_expires_at < now()
ORDER BY lease_expires_at LIMIT :limit
FOR UPDATE SKIP LOCKED;

-- name: overdue_jobs(limit)
SELECT id, account_id, ended FROM (
    SELECT id, account_id, created_at, started_at,
        created_at + (submission ->> 'end_within_s')::float8 * interval '1 second' < now() AS ended,
        created_at + (submission ->> 'start_within_s')::float8 * interval '1 second' < now() AS started
    FROM jobs WHERE status IN ('WAITING', 'RUNNING')
      AND coalesce(submission ->> 'start_within_s', submission ->> 'end_within_s') IS NOT NULL
) AS bounded
WHERE ended OR (started AND started_at IS NULL)
ORDER BY account_id LIMIT :limit;

-- name: waiting_after(after, limit)
-- A page of the jobs that ought to be in the queue, by id.
SELECT id, attempt FROM jobs
WHERE status = 'WAITING' AND id > :after AND available_at <= now() AND parked_at IS NULL
ORDER BY id LIMIT :limit;

-- name: waiting_jobs(job_ids)
SELECT id, attempt, account_id, cost_s, need, weight, priority FROM jobs
WHERE id = ANY(:job_ids::bigint[]) AND status = 'WAITING' AND available_at <= now() AND parked_at IS NULL
ORDER BY id;

-- name: retried_jobs(limit)
SELECT id, attempt, account_id, cost_s, need, weight, priority FROM jobs
WHERE status = 'WAITING' AND attempt > 0 AND available_at <= now() AND parked_at IS NULL
ORDER BY available_at LIMIT :limit;

-- name: attempts_that_wait(job_ids)
SELECT id, attempt FROM jobs WHERE id = ANY(:job_ids::bigint[]) AND status = 'WAITING' AND parked_at IS NULL;

-- name: waiting_between(ids)
-- Waiting jobs by how many of these ids, which ascend, are not over theirs. One look at the line for all of them,
-- and so it costs more the longer the line is: only for when Redis does not know.
SELECT width_bucket(id, :ids::bigint[]) AS ids_reached, count(*) AS jobs
FROM jobs WHERE status = 'WAITING' GROUP BY 1;

-- name: hold_of_job(job_id)^
-- Why it waits, if it does, apart from its place in the line.
SELECT parked_at IS NOT NULL AS is_parked,
    extract(epoch FROM greatest(available_at - now(), interval '0'))::double precision AS held_s
FROM jobs WHERE id = :job_id;

-- name: unpark_jobs(parked_for, limit)
-- For each account that has parked jobs, as many as it has room for, first come first; without a limit of its own up to
-- `limit`. Those that were given before and wait for their claim have their room already. A job that finds no room after
-- all is parked again.
WITH room AS (
    SELECT id AS account_id, least(max_running - running - given.number, :limit) AS number
    FROM accounts CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM jobs
        WHERE account_id = accounts.id AND status = 'WAITING' AND parked_at IS NULL AND unparked_attempt = attempt
    ) AS given
    WHERE id IN (SELECT account_id FROM jobs WHERE status = 'WAITING' AND parked_at IS NOT NULL)
      AND (max_running IS NULL OR running + given.number < max_running)
), first AS MATERIALIZED (
    SELECT job.id FROM room CROSS JOIN LATERAL (
        SELECT id FROM jobs
        WHERE account_id = room.account_id AND status = 'WAITING' AND parked_at <= now() - :parked_for::interval
        ORDER BY id LIMIT room.number
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS job
)
UPDATE jobs SET parked_at = NULL, unparked_attempt = attempt WHERE id IN (SELECT id FROM first)
RETURNING id, attempt, account_id, cost_s, need, weight, priority;
