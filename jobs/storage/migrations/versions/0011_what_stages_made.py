"""What finished stages made, by content address: a second attempt, or a job that begins alike, goes on from there."""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS = [
    """
CREATE TABLE stage_outputs (
    account_id bigint NOT NULL REFERENCES accounts,
    address    bytea NOT NULL,
    canvas     jsonb NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, address)
)
""",
    """
CREATE INDEX stage_outputs_expired ON stage_outputs (expires_at)
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
