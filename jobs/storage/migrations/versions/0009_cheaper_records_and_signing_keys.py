"""Callbacks that are claimed and recorded at less cost: fewer indexes and checks, and steps that no plan can leave.

And key pairs of accounts, which sign them for receivers that are to know no secret.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS = [
    """
-- With it a plan may sort all that is pending, over and over, where steps through the other index are meant.
DROP INDEX deliveries_due
""",
    """
-- The destinations that anything is pending for, by steps through an index: the cost follows their number, however
-- long their backlogs are.
CREATE VIEW waiting_destinations AS
WITH RECURSIVE waiting (id) AS (
    (SELECT destination_id FROM deliveries WHERE state = 'PENDING' ORDER BY destination_id LIMIT 1)
    UNION ALL
    SELECT next.destination_id FROM waiting CROSS JOIN LATERAL (
        SELECT destination_id FROM deliveries WHERE state = 'PENDING' AND destination_id > waiting.id
        ORDER BY destination_id LIMIT 1
    ) AS next
)
SELECT id FROM waiting
""",
    """
-- An attempt is written with the change of its delivery, in one statement: to look for it again, one by one, was a
-- sixth of the statement's time. Who forgets a delivery forgets its attempts.
ALTER TABLE delivery_attempts DROP CONSTRAINT delivery_attempts_delivery_id_fkey
""",
    """
-- Private keys: the seed of Ed25519, PKCS#8 in DER of RSA. NULL where none signs.
ALTER TABLE accounts ADD COLUMN ed25519_key bytea, ADD COLUMN rsa_key bytea
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
