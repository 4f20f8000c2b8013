"""The first tables: accounts and keys, jobs and their events, resources, deliveries."""

from alembic import op

revision = "0001"
down_revision = None

# One statement each: the driver prepares them, and can prepare only one at a time.
STATEMENTS = [
    """
CREATE TABLE accounts (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL UNIQUE,
    webhook_secret bytea NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
)
""",
    """
-- Keys are random and long, so a plain SHA-256 is as safe as a slow hash, and fast enough for each request.
CREATE TABLE api_keys (
    hash       bytea PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    prefix     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
)
""",
    """
CREATE TABLE jobs (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id       bigint NOT NULL REFERENCES accounts,
    request_id       text NOT NULL,
    fingerprint      bytea NOT NULL,
    dialect          text NOT NULL,
    submission       jsonb NOT NULL,
    status           text NOT NULL DEFAULT 'WAITING'
                     CHECK (status IN ('WAITING', 'RUNNING', 'SUCCESS', 'FAILED', 'CANCELED')),
    attempt          integer NOT NULL DEFAULT 0,
    score            double precision NOT NULL,
    available_at     timestamptz NOT NULL DEFAULT now(),
    worker           text,
    lease_expires_at timestamptz,
    failure_code     text,
    failure_reason   text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    started_at       timestamptz,
    finished_at      timestamptz,
    UNIQUE (account_id, request_id)
)
""",
    """
CREATE INDEX jobs_waiting ON jobs (id) WHERE status = 'WAITING'
""",
    """
CREATE INDEX jobs_waiting_order ON jobs (score) WHERE status = 'WAITING'
""",
    """
CREATE INDEX jobs_retried ON jobs (available_at) WHERE status = 'WAITING' AND attempt > 0
""",
    """
CREATE INDEX jobs_leased ON jobs (lease_expires_at) WHERE status = 'RUNNING'
""",
    """
CREATE TABLE job_events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id     bigint NOT NULL REFERENCES jobs,
    attempt    integer NOT NULL,
    kind       text NOT NULL,
    detail     text,
    created_at timestamptz NOT NULL DEFAULT now()
)
""",
    """
CREATE INDEX job_events_of_job ON job_events (job_id, id)
""",
    """
-- An upload waits for its bytes until stored_at is set; an output has a job and a position in it.
CREATE TABLE resources (
    id         uuid PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    job_id     bigint REFERENCES jobs,
    position   integer,
    key        text,
    format     text,
    width      integer,
    height     integer,
    stored_at  timestamptz,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
)
""",
    """
CREATE INDEX resources_of_job ON resources (job_id, position) WHERE job_id IS NOT NULL
""",
    """
CREATE TABLE deliveries (
    id              uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id          bigint NOT NULL REFERENCES jobs,
    url             text NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('RUNNING', 'TERMINAL')),
    state           text NOT NULL DEFAULT 'PENDING'
                    CHECK (state IN ('PENDING', 'DELIVERED', 'SUPERSEDED', 'DEAD')),
    tries           integer NOT NULL DEFAULT 0,
    next_try_at     timestamptz NOT NULL DEFAULT now(),
    claimed_until   timestamptz,
    last_status     integer,
    last_error      text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    settled_at      timestamptz
)
""",
    """
CREATE INDEX deliveries_due ON deliveries (next_try_at) WHERE state = 'PENDING'
""",
    """
CREATE INDEX deliveries_of_job ON deliveries (job_id)
""",
    """
-- The dispatcher sleeps on LISTEN; a NOTIFY is sent when the transaction commits, never before.
CREATE FUNCTION notify_deliveries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY deliveries;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER deliveries_inserted AFTER INSERT ON deliveries
    FOR EACH STATEMENT EXECUTE FUNCTION notify_deliveries()
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
