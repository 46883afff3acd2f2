"""The accounts and the signing keys of the built-in issuer.

They are no projections: nothing could make them anew from the log. So they are in a schema of their own, which who may
read the read models need not be allowed to read, and the read side's declared tables know nothing of them.
`api/accounts.py`, `api/sign_in.py` and `api/keys.py` have the statements.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
CREATE SCHEMA identity;

CREATE TABLE identity.accounts (
    name text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('user', 'client')),
    secret text NOT NULL,
    roles text[] NOT NULL,
    scopes text[] NOT NULL,
    customer_id text CHECK ((customer_id IS NOT NULL) = ('customer' = ANY (roles))),
    active boolean NOT NULL DEFAULT true,
    generation bigint NOT NULL DEFAULT 1,
    made_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL
);
CREATE INDEX accounts_changed ON identity.accounts (changed_at);

CREATE TABLE identity.attempts (
    name bytea,
    place bytea,
    failures integer NOT NULL,
    not_before timestamptz NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (name, place)
);
CREATE INDEX attempts_at ON identity.attempts (at);

CREATE TABLE identity.places (
    name bytea,
    place bytea,
    at timestamptz NOT NULL,
    PRIMARY KEY (name, place)
);
CREATE INDEX places_at ON identity.places (at);

CREATE TABLE identity.signing_keys (
    kid text PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT now(),
    signs_from timestamptz NOT NULL,
    accepted_until timestamptz
);
INSERT INTO identity.signing_keys (kid, signs_from) VALUES ('1', now());
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("DROP SCHEMA identity CASCADE")
