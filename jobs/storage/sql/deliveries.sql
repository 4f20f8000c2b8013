-- name: claim_deliveries(claim, limit, strangers, each, ids, rooms, busies, trusts)
-- Up to :limit due rows, fairly: those first whose destination has the least under way. A destination gives as many
-- as its room, or :each where :ids does not name it; those that are not trusted give :strangers together.
-- One that is closed gives one row when its time has come, to one claimer of all: the probe.
-- Per job and URL, one at a time and in order: a row waits while another is in flight, or an earlier one is due.
-- The claim lapses by itself, so that a dispatcher that died is followed by another.
-- Sequences are given here, where only one of a job and URL can be: they grow in the order of sending.
WITH ready AS MATERIALIZED (
    SELECT destinations.id, closed_until, coalesce(room, :each) AS room, coalesce(busy, 0) AS busy,
        coalesce(trust, FALSE) AS trust
    FROM waiting_destinations JOIN destinations USING (id)
    LEFT JOIN unnest(:ids::bigint[], :rooms::integer[], :busies::integer[], :trusts::boolean[])
        AS lane (id, room, busy, trust) USING (id)
    WHERE coalesce(room, :each) > 0 AND (closed_until IS NULL OR closed_until <= now()) AND (
        -- The limit keeps the planner from reading all that is due, the order from reading the table.
        SELECT TRUE FROM deliveries WHERE destination_id = destinations.id AND state = 'PENDING' AND next_try_at <= now()
          AND (claimed_until IS NULL OR claimed_until < now())
        ORDER BY next_try_at LIMIT 1)
), probing AS MATERIALIZED (
    -- No more than are sent now, or the others' time would pass unused; and half of the strangers at most.
    SELECT destinations.id FROM destinations JOIN ready USING (id) WHERE destinations.closed_until <= now()
    ORDER BY destinations.closed_until LIMIT least((:strangers + 1) / 2, :limit)
    FOR NO KEY UPDATE OF destinations SKIP LOCKED
), probed AS (
    UPDATE destinations SET closed_until = now() + :claim::interval
    FROM probing WHERE destinations.id = probing.id
    RETURNING destinations.id
), open AS (
    SELECT id, room, busy, trust FROM ready WHERE closed_until IS NULL
    UNION ALL
    SELECT id, 1, -1, FALSE FROM probed
), found AS MATERIALIZED (
    SELECT due.id, due.next_try_at, trust,
        busy + row_number() OVER (PARTITION BY open.id ORDER BY due.next_try_at) AS place
    FROM open CROSS JOIN LATERAL (
        SELECT id, next_try_at FROM deliveries AS due
        WHERE destination_id = open.id AND state = 'PENDING' AND next_try_at <= now()
          AND (claimed_until IS NULL OR claimed_until < now())
          AND NOT EXISTS (
            SELECT FROM deliveries AS other
            WHERE other.job_id = due.job_id AND other.url = due.url AND other.id <> due.id
              AND (other.claimed_until > now()
                OR other.state = 'PENDING' AND other.next_try_at <= now() AND other.created_at < due.created_at))
        -- Twice an equal share, so that where many have room not all that they have room for is locked.
        ORDER BY next_try_at LIMIT least(open.room, 1 + 2 * :limit / (SELECT count(*) FROM open))
        FOR UPDATE SKIP LOCKED
    ) AS due
), ranked AS (
    SELECT *, row_number() OVER (PARTITION BY trust ORDER BY place, next_try_at) AS rank FROM found
), taken AS MATERIALIZED (
    SELECT id FROM ranked WHERE trust OR rank <= :strangers ORDER BY place, next_try_at LIMIT :limit
), hasty AS MATERIALIZED (
    -- No wait for the disk: a claim that is lost with the server is made again, and the message has the same id.
    SELECT set_config('synchronous_commit', 'off', TRUE)
)
UPDATE deliveries SET claims = claims + 1, claimed_until = now() + :claim::interval,
    sequence = CASE WHEN kind = 'PROGRESS' OR sequence IS NULL THEN nextval('delivery_sequence') ELSE sequence END
FROM taken, hasty, destinations, accounts
WHERE deliveries.id = taken.id AND destinations.id = deliveries.destination_id AND accounts.id = destinations.account_id
RETURNING deliveries.id, deliveries.destination_id, deliveries.job_id, deliveries.url, deliveries.kind,
    deliveries.tries, deliveries.claims, deliveries.sequence, deliveries.told,
    webhook_secret || ARRAY(
        SELECT secret FROM retired_secrets
        WHERE retired_secrets.account_id = accounts.id AND expires_at > now() ORDER BY expires_at DESC
    ) AS secrets, ed25519_key, rsa_key;

-- name: record_attempt(state, delay, seconds, status, error, answer, told, trip, shortest, longest, hopeless, id, claims)^
-- Only who holds the claim may record. What has been superseded meanwhile is not tried again.
WITH tried AS (
    UPDATE deliveries SET tries = tries + 1, claimed_until = NULL, last_status = :status, last_error = :error,
        told = coalesce(:told::text, told),
        state = CASE WHEN state = 'PENDING' THEN :state ELSE state END,
        next_try_at = coalesce(now() + :delay::interval, next_try_at),
        settled_at = CASE WHEN state <> 'PENDING' OR :state <> 'PENDING' THEN now() END
    WHERE id = :id AND claims = :claims
    RETURNING id, destination_id, CASE WHEN state = 'PENDING' THEN next_try_at END AS next_try_at
), logged AS (
    INSERT INTO delivery_attempts (delivery_id, started_at, seconds, status, error, answer, next_try_at)
    SELECT id, now() - :seconds::double precision * interval '1 second', :seconds, :status, :error, :answer,
        next_try_at
    FROM tried
)
UPDATE destinations SET
    failures = CASE WHEN :error::text IS NULL THEN 0 ELSE failures + 1 END,
    failing_since = CASE WHEN :error::text IS NOT NULL THEN coalesce(failing_since, now()) END,
    closed_until = CASE WHEN :error::text IS NOT NULL AND failures + 1 >= :trip
        THEN now() + least(:longest::interval, :shortest::interval * 2 ^ least(failures + 1 - :trip, 20)) END,
    disabled_at = CASE WHEN :error::text IS NOT NULL THEN disabled_at END
FROM tried
-- A success of what never failed changes nothing: it must not wait for a lock.
WHERE destinations.id = tried.destination_id AND (:error::text IS NOT NULL OR failing_since IS NOT NULL)
RETURNING failures >= :trip AND disabled_at IS NULL AND failing_since < now() - :hopeless::interval AS is_hopeless;

-- name: record_delivered(ids, claims, seconds, statuses, answers, tolds)!
-- The same for many that were delivered: all arguments are arrays of one length. In the order of ids, and destinations
-- after them, so that no two wait for each other. No wait for the disk: what is lost with the server is sent again.
WITH hasty AS MATERIALIZED (
    SELECT set_config('synchronous_commit', 'off', TRUE)
), mine AS MATERIALIZED (
    SELECT sent.* FROM unnest(:ids::uuid[], :claims::integer[], :seconds::double precision[], :statuses::integer[],
        :answers::text[], :tolds::text[]) AS sent (id, claims, seconds, status, answer, told)
    JOIN deliveries USING (id, claims) CROSS JOIN hasty
    ORDER BY id
    FOR UPDATE OF deliveries
), tried AS (
    -- Joined once: the planner, who does not know how many they are, would look through all of `sent` for each.
    UPDATE deliveries SET tries = tries + 1, claimed_until = NULL, last_status = status, last_error = NULL,
        state = 'DELIVERED', settled_at = now()
    FROM mine WHERE deliveries.id = mine.id AND deliveries.claims = mine.claims
    RETURNING deliveries.id, destination_id, job_id, url, kind, seconds, status, answer, mine.told
), known AS (
    -- A start that was told late has told of progress too.
    UPDATE deliveries SET told = tried.told FROM tried
    WHERE tried.kind = 'RUNNING' AND tried.told IS NOT NULL
      AND deliveries.job_id = tried.job_id AND deliveries.url = tried.url AND deliveries.kind = 'PROGRESS'
), logged AS (
    INSERT INTO delivery_attempts (delivery_id, started_at, seconds, status, answer)
    SELECT id, now() - seconds * interval '1 second', seconds, status, answer FROM tried
), mended AS MATERIALIZED (
    SELECT id FROM destinations WHERE id IN (SELECT destination_id FROM tried) AND failing_since IS NOT NULL
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE destinations SET failures = 0, failing_since = NULL, closed_until = NULL, disabled_at = NULL
FROM mended WHERE destinations.id = mended.id;

-- name: lay_aside(state, delay, id, claims)!
-- Without an attempt. If it was to be its destination's probe, another one may be.
WITH laid AS (
    UPDATE deliveries SET claimed_until = NULL, state = CASE WHEN state = 'PENDING' THEN :state ELSE state END,
        next_try_at = coalesce(now() + :delay::interval, next_try_at),
        settled_at = CASE WHEN state <> 'PENDING' OR :state <> 'PENDING' THEN now() END
    WHERE id = :id AND claims = :claims AND claimed_until IS NOT NULL
    RETURNING destination_id
)
UPDATE destinations SET closed_until = now()
FROM laid WHERE destinations.id = laid.destination_id AND closed_until IS NOT NULL;

-- name: give_back(ids, claims)!
UPDATE deliveries SET claimed_until = NULL
FROM unnest(:ids::uuid[], :claims::integer[]) AS mine (id, claims)
WHERE deliveries.id = mine.id AND deliveries.claims = mine.claims AND claimed_until IS NOT NULL;

-- name: superseded_of(ids)
SELECT id FROM deliveries WHERE id = ANY(:ids::uuid[]) AND state = 'SUPERSEDED';

-- name: disable_destination(id, error)!
WITH disabled AS (
    UPDATE destinations SET disabled_at = now() WHERE id = :id AND disabled_at IS NULL RETURNING id
)
UPDATE deliveries SET state = 'DEAD', last_error = :error, settled_at = now()
FROM disabled WHERE destination_id = disabled.id AND state = 'PENDING';

-- name: seconds_to_next_delivery()$
-- What is due already waits for an end that its dispatcher hears of, or for a destination.
SELECT extract(epoch FROM least(
    (SELECT min(soonest) FROM waiting_destinations CROSS JOIN LATERAL (
        SELECT next_try_at AS soonest FROM deliveries
        WHERE destination_id = waiting_destinations.id AND state = 'PENDING' AND next_try_at > now()
        ORDER BY next_try_at LIMIT 1
    ) AS next),
    (SELECT min(closed_until) FROM destinations WHERE closed_until > now())
) - now());
