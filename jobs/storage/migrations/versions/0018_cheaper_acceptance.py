"""What a job's row tells already is not looked up for each that is accepted.

The statement that accepts jobs locks their accounts' rows, and makes none for an account that is not there. That no
account goes while it has jobs is seen to where accounts would go, and not at each job that comes.
"""

from alembic import op

revision = "0018"
down_revision = "0017"

STATEMENTS = [
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
