"""What a job's row tells already is not looked up for each that is accepted.

The statement that accepts jobs locks their accounts' rows, and makes none for an account that is not there. That no
account goes while it has jobs is seen to where accounts would go, and not at each job that comes.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

STATEMENTS = [
    # Both tables at once, and never waiting for long: who accepts or claims meanwhile locks them in either order, and
    # must not be ended because two wait for each other.
    """
    DO $$ BEGIN
        FOR i IN 1..600 LOOP
            BEGIN
                SET LOCAL lock_timeout = '50ms';
                LOCK TABLE accounts, jobs IN ACCESS EXCLUSIVE MODE;
                SET LOCAL lock_timeout TO DEFAULT;
                RETURN;
            EXCEPTION WHEN lock_not_available THEN
                PERFORM pg_sleep(0.05);
            END;
        END LOOP;
        RAISE lock_not_available USING MESSAGE = 'jobs and accounts are in use; try again';
    END $$
    """,
    """
    CREATE FUNCTION keep_account_with_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM jobs WHERE account_id = OLD.id) THEN
            RAISE foreign_key_violation USING MESSAGE = format('account %s has jobs', OLD.id);
        END IF;
        RETURN OLD;
    END
    $$
    """,
    """
    CREATE TRIGGER accounts_with_jobs_stay BEFORE DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION keep_account_with_jobs()
    """,
    "ALTER TABLE jobs DROP CONSTRAINT jobs_account_id_fkey",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
