"""What jobs cost: a ledger, and accounts that know their balance, what is held, and how many jobs wait and run.

Two rules, each kept by the database itself, whoever writes:

- accounts.balance is the sum of the account's ledger, because an insert into the ledger adds to it;
- accounts.held, waiting and running follow the account's jobs, because an insert or a change of status adds to
  them. The change to SUCCESS writes the charge into the ledger.

Locks are taken in one order, so that no two writers wait for each other: first the job, then its account, and
accounts by id. Whoever changes the status of several accounts' jobs in one transaction does so job by job, in the
order of the accounts. No job leaves SUCCESS, FAILED or CANCELED.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = [
    """
-- Parked is a waiting job that a worker was about to run while its account ran as many as it may.
ALTER TABLE jobs
    ADD COLUMN credits   numeric(20, 4) NOT NULL DEFAULT 0,
    ADD COLUMN parked_at timestamptz
""",
    """
ALTER TABLE accounts
    ADD COLUMN balance          numeric(20, 4) NOT NULL DEFAULT 0,
    ADD COLUMN held             numeric(20, 4) NOT NULL DEFAULT 0,
    ADD COLUMN waiting          integer NOT NULL DEFAULT 0,
    ADD COLUMN running          integer NOT NULL DEFAULT 0,
    ADD COLUMN credits_enforced boolean NOT NULL DEFAULT false,
    ADD COLUMN max_waiting      integer CHECK (max_waiting >= 0),
    ADD COLUMN max_running      integer CHECK (max_running >= 0)
""",
    """
UPDATE accounts SET waiting = alive.waiting, running = alive.running
FROM (
    SELECT account_id, count(*) FILTER (WHERE status = 'WAITING') AS waiting,
        count(*) FILTER (WHERE status = 'RUNNING') AS running
    FROM jobs WHERE status IN ('WAITING', 'RUNNING') GROUP BY account_id
) AS alive
WHERE accounts.id = alive.account_id
""",
    """
-- Outlives jobs, and so does not reference them.
CREATE TABLE ledger (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    job_id     bigint,
    kind       text NOT NULL CHECK (kind IN ('GRANT', 'CHARGE', 'ADJUST')),
    amount     numeric(20, 4) NOT NULL CHECK (amount <> 0),
    note       text,
    created_at timestamptz NOT NULL DEFAULT now()
)
""",
    """
CREATE INDEX ledger_of_account ON ledger (account_id, id)
""",
    """
CREATE UNIQUE INDEX ledger_charged_once ON ledger (job_id) WHERE kind = 'CHARGE'
""",
    """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only; a mistake is mended by another row', TG_TABLE_NAME;
END $$
""",
    """
CREATE TRIGGER ledger_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
""",
    """
CREATE FUNCTION balance_accounts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM accounts WHERE id IN (SELECT account_id FROM entered) ORDER BY id FOR NO KEY UPDATE;
    UPDATE accounts SET balance = balance + entry.amount
    FROM (SELECT account_id, sum(amount) AS amount FROM entered GROUP BY account_id) AS entry
    WHERE accounts.id = entry.account_id;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER ledger_inserted AFTER INSERT ON ledger REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION balance_accounts()
""",
    """
CREATE FUNCTION count_new_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM accounts WHERE id IN (SELECT account_id FROM entered) ORDER BY id FOR NO KEY UPDATE;
    UPDATE accounts SET held = accounts.held + alive.held, waiting = accounts.waiting + alive.waiting,
        running = accounts.running + alive.running
    FROM (
        SELECT account_id, sum(credits) AS held, count(*) FILTER (WHERE status = 'WAITING') AS waiting,
            count(*) FILTER (WHERE status = 'RUNNING') AS running
        FROM entered WHERE status IN ('WAITING', 'RUNNING') GROUP BY account_id
    ) AS alive
    WHERE accounts.id = alive.account_id;
    RETURN NULL;
END $$
""",
    """
CREATE TRIGGER jobs_inserted AFTER INSERT ON jobs REFERENCING NEW TABLE AS entered
    FOR EACH STATEMENT EXECUTE FUNCTION count_new_jobs()
""",
    """
-- Before the update, when the job is locked and not yet changed: an acceptance that holds the account, and meets this
-- job's request id again, waits for a change but not for a lock.
CREATE FUNCTION settle_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts SET
        held = held - CASE WHEN NEW.status IN ('WAITING', 'RUNNING') THEN 0 ELSE NEW.credits END,
        waiting = waiting - (OLD.status = 'WAITING')::integer + (NEW.status = 'WAITING')::integer,
        running = running - (OLD.status = 'RUNNING')::integer + (NEW.status = 'RUNNING')::integer
    WHERE id = NEW.account_id;
    IF NEW.status = 'SUCCESS' AND NEW.credits > 0 THEN
        INSERT INTO ledger (account_id, job_id, kind, amount) VALUES (NEW.account_id, NEW.id, 'CHARGE', -NEW.credits);
    END IF;
    RETURN NEW;
END $$
""",
    """
CREATE TRIGGER jobs_status_changed BEFORE UPDATE OF status ON jobs
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION settle_job()
""",
    """
CREATE INDEX jobs_parked ON jobs (account_id, score) WHERE status = 'WAITING' AND parked_at IS NOT NULL
""",
]


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
