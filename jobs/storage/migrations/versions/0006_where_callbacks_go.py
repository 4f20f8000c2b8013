"""Where callbacks go: destinations, which fail and recover as one, and what came of each attempt."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS = [
    """
-- The scheme, host and port of an account's callbacks. closed_until: it failed so often that nothing is sent but one
-- probe at that time; NULL while it works. failing_since is the first failure after the last success.
CREATE TABLE destinations (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id    bigint NOT NULL REFERENCES accounts,
    origin        text NOT NULL,
    failures      integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    closed_until  timestamptz,
    disabled_at   timestamptz,
    UNIQUE (account_id, origin)
)
""",
    """
CREATE INDEX destinations_closed ON destinations (closed_until) WHERE closed_until IS NOT NULL
""",
    """
-- Without user and password, which an address may carry.
CREATE FUNCTION origin_of(url text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT lower(regexp_replace(substring(url FROM '^[^:]+://[^/?#]*'), '//.*@', '//'))
$$
""",
    """
-- claims counts who took it and proves that a claim is still one's own; tries counts what was sent, and is recorded.
-- sequence grows with what is sent of one job to one address.
ALTER TABLE deliveries
    ADD COLUMN destination_id bigint REFERENCES destinations,
    ADD COLUMN claims         integer NOT NULL DEFAULT 0,
    ADD COLUMN sequence       bigint,
    ALTER COLUMN job_id DROP NOT NULL,
    DROP CONSTRAINT deliveries_kind_check,
    ADD CONSTRAINT deliveries_kind_check CHECK (kind IN ('RUNNING', 'PROGRESS', 'TERMINAL', 'TEST'))
""",
    """
CREATE SEQUENCE delivery_sequence CACHE 1
""",
    """
INSERT INTO destinations (account_id, origin)
SELECT DISTINCT account_id, origin_of(url) FROM deliveries JOIN jobs ON jobs.id = job_id
""",
    """
UPDATE deliveries SET destination_id = destinations.id, claims = tries
FROM jobs, destinations
WHERE jobs.id = job_id AND destinations.account_id = jobs.account_id AND destinations.origin = origin_of(url)
""",
    """
ALTER TABLE deliveries ALTER COLUMN destination_id SET NOT NULL
""",
    """
CREATE INDEX deliveries_of_destination ON deliveries (destination_id, next_try_at) WHERE state = 'PENDING'
""",
    """
CREATE INDEX deliveries_listed ON deliveries (destination_id, state, created_at, id)
""",
    """
-- Accounts are locked before, by the change of their job: two that come with a new destination wait in one order.
CREATE FUNCTION direct_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    account bigint := (SELECT account_id FROM jobs WHERE id = NEW.job_id);
    target  destinations;
BEGIN
    SELECT * INTO target FROM destinations WHERE account_id = account AND origin = origin_of(NEW.url);
    IF NOT FOUND THEN
        INSERT INTO destinations (account_id, origin) VALUES (account, origin_of(NEW.url)) ON CONFLICT DO NOTHING;
        SELECT * INTO target FROM destinations WHERE account_id = account AND origin = origin_of(NEW.url);
    END IF;
    NEW.destination_id := target.id;
    IF target.disabled_at IS NOT NULL THEN
        NEW.state := 'DEAD';
        NEW.last_error := 'the destination is disabled';
        NEW.settled_at := now();
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER deliveries_directed BEFORE INSERT ON deliveries
    FOR EACH ROW WHEN (NEW.destination_id IS NULL) EXECUTE FUNCTION direct_delivery()
""",
    """
-- next_try_at is NULL where none follows.
CREATE TABLE delivery_attempts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id uuid NOT NULL REFERENCES deliveries ON DELETE CASCADE,
    started_at  timestamptz NOT NULL,
    seconds     double precision NOT NULL,
    status      integer,
    error       text,
    answer      text,
    next_try_at timestamptz
)
""",
    """
CREATE INDEX delivery_attempts_of_delivery ON delivery_attempts (delivery_id, id)
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
