"""What an account may do: its priority and rate, scopes and lives of its keys, and apps that sign their requests."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = [
    """
ALTER TABLE accounts
    ADD COLUMN priority   integer NOT NULL DEFAULT 0 CHECK (priority BETWEEN -100 AND 100),
    ADD COLUMN rate_per_s double precision CHECK (rate_per_s > 0),
    ADD COLUMN burst      integer CHECK (burst > 0),
    ADD CONSTRAINT accounts_rate_limit CHECK ((rate_per_s IS NULL) = (burst IS NULL))
""",
    """
-- Keys that there are already may do all they could. replaced_by is the key that came of a rotation.
ALTER TABLE api_keys
    ADD COLUMN id           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN scopes       text[] NOT NULL DEFAULT '{jobs:read,jobs:write,resources:write}',
    ADD COLUMN expires_at   timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN replaced_by  bigint REFERENCES api_keys (id)
""",
    """
ALTER TABLE api_keys ALTER COLUMN scopes DROP DEFAULT
""",
    """
-- The id is what clients send as app_id, the key a PEM of at least 2048 bits.
CREATE TABLE apps (
    id           text PRIMARY KEY,
    account_id   bigint NOT NULL REFERENCES accounts,
    public_key   text NOT NULL,
    scopes       text[] NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz,
    revoked_at   timestamptz
)
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
