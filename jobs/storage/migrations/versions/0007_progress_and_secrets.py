"""What a progress callback has told, and secrets that go on signing for a while after another took their place."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = [
    """
-- A row of kind PROGRESS stands for all progress of an attempt; told says what its receiver knows.
ALTER TABLE deliveries ADD COLUMN told text
""",
    """
CREATE TABLE retired_secrets (
    account_id bigint NOT NULL REFERENCES accounts,
    secret     bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, secret)
)
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
