"""An account has so many destinations of its own, and one for all the others; those not used any more are forgotten."""

from alembic import op

revision = "0015"
down_revision = "0014"

STATEMENTS = [
    """
-- The destination of an account's address, made where there is none. The row stays as long as our transaction lasts:
-- who forgets destinations takes those that nobody holds. Hosts beyond the 256th share one, whose origin is '*'.
CREATE FUNCTION destination_of(account bigint, url text) RETURNS destinations LANGUAGE plpgsql AS $$
DECLARE
    wanted text := origin_of(url);
    target destinations;
BEGIN
    SELECT * INTO target FROM destinations WHERE account_id = account AND origin = wanted FOR KEY SHARE;
    IF FOUND THEN
        RETURN target;
    END IF;
    IF (SELECT count(*) FROM destinations WHERE account_id = account) >= 256 THEN
        wanted := '*';
    END IF;
    -- Once is enough but for a destination that is forgotten just now.
    LOOP
        INSERT INTO destinations (account_id, origin) VALUES (account, wanted) ON CONFLICT DO NOTHING;
        SELECT * INTO target FROM destinations WHERE account_id = account AND origin = wanted FOR KEY SHARE;
        IF FOUND THEN
            RETURN target;
        END IF;
    END LOOP;
END $$
""",
    """
-- Accounts are locked before, by the change of their job: two that come with a new destination wait in one order.
CREATE OR REPLACE FUNCTION direct_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    target destinations := destination_of((SELECT account_id FROM jobs WHERE id = NEW.job_id), NEW.url);
BEGIN
    NEW.destination_id := target.id;
    IF target.disabled_at IS NOT NULL THEN
        NEW.state := 'DEAD';
        NEW.last_error := 'the destination is disabled';
        NEW.settled_at := now();
    END IF;
    RETURN NEW;
END $$
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
