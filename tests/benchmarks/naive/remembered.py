"""The baseline's idempotency keys: looked up before, kept after, each in a transaction of its own.

It promises less than ours: two retries at the same time make two orders, and so does a crash between the two commits.
"""

from collections.abc import Mapping

from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

CREATE = "CREATE TABLE IF NOT EXISTS idempotency_keys (key text PRIMARY KEY, answer text NOT NULL)"
FIND = "SELECT answer FROM idempotency_keys WHERE key = %s"
KEEP = "INSERT INTO idempotency_keys (key, answer) VALUES (%s, %s) ON CONFLICT DO NOTHING"


class RememberedAnswers:
    def __init__(self, environment: Mapping[str, str]) -> None:
        address = make_conninfo(
            dbname=environment["POSTGRES_DBNAME"],
            host=environment["POSTGRES_HOST"],
            port=environment["POSTGRES_PORT"],
            user=environment["POSTGRES_USER"],
            password=environment["POSTGRES_PASSWORD"],
        )
        self.pool = ConnectionPool(address, min_size=5, max_size=15, open=True)  # as many as the library's own pool
        with self.pool.connection() as connection:
            connection.execute(CREATE)

    def find(self, key: str) -> str | None:
        with self.pool.connection() as connection:
            row = connection.execute(FIND, (key,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, key: str, answer: str) -> None:
        with self.pool.connection() as connection:
            connection.execute(KEEP, (key, answer))
