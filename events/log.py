"""The log of events: the only user of `eventsourcing`, whose recorder gives the table and reads it.

Appending is our own, because it is where the speed is: one transaction holds the log's lock for a whole batch of
decisions. Positions are given out under that lock, so they have no gaps and a reader that follows them misses nothing.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
import psycopg
from eventsourcing.persistence import OperationalError, PersistenceError
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Connection
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import tuple_row
from psycopg.sql import SQL

from events.codec import Row
from events.explained import Explained
from events.numbers import FIRST_DRAWN, KEY_BYTES

TABLE = "events"
CHANNEL = "events"
"""The NOTIFY channel that says: the log has grown."""

LOCK_WAIT = 5
"""Seconds that a writer waits for a lock of another session before it says that the log cannot be written."""

FAR_BEHIND = 5_000
"""A writer this many events behind drops what it remembers instead of catching up under the lock."""

_CREATE_ANSWERS = """
CREATE TABLE IF NOT EXISTS answers (
    key uuid PRIMARY KEY,
    fingerprint uuid NOT NULL,
    answer bytea NOT NULL,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
)"""

_CREATE_NUMBERS = """
CREATE TABLE IF NOT EXISTS order_numbers (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    key bytea NOT NULL
)"""

_DRAW_NUMBERS = "ALTER TABLE order_numbers ADD COLUMN IF NOT EXISTS drawn bigint NOT NULL DEFAULT 0"
"""How many numbers were drawn; until this was there, orders were numbered by positions."""

MAKE_NUMBERS_KEY = "INSERT INTO order_numbers (key) VALUES (%s) ON CONFLICT DO NOTHING"
"""The key of the order numbers, made once for a log and never changed: another one would make numbers twice."""

NUMBERS_KEY = "SELECT key FROM order_numbers"
"""The key of the order numbers."""

DRAW = "UPDATE order_numbers SET drawn = drawn + %s RETURNING drawn"
"""So many numbers, which nobody else gets."""

_CREATE_SNAPSHOTS = """
CREATE TABLE IF NOT EXISTS snapshots (
    stream text PRIMARY KEY,
    version bigint NOT NULL,
    shape text NOT NULL,
    state bytea NOT NULL
)"""

_CREATE_RELAY_PROGRESS = """
CREATE TABLE IF NOT EXISTS relay_progress (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint NOT NULL,
    complete_until timestamptz,
    noted_at timestamptz NOT NULL
)"""

_COLUMNS = "originator_id, originator_version, notification_id, topic, state"

READ = f"SELECT {_COLUMNS} FROM {TABLE} WHERE notification_id > %s ORDER BY notification_id LIMIT %s"
"""The log after a position, in order."""

HEAD = f"SELECT coalesce(max(notification_id), 0) FROM {TABLE}"
"""The position of the newest event; 0 for an empty log."""

NEWS = f"""
SELECT ({HEAD}), {_COLUMNS} FROM (SELECT) AS one LEFT JOIN {TABLE}
ON notification_id > %(after)s AND notification_id <= %(after)s::bigint + %(most)s
AND NOT (originator_version = 1 AND originator_id ^@ 'order-') ORDER BY notification_id
"""
"""The head of the log, and what happened after a position to streams that a writer may know: orders that are new it
does not."""

STREAMS = f"SELECT {_COLUMNS} FROM {TABLE} WHERE originator_id = ANY(%s) ORDER BY originator_id, originator_version"
"""Some streams whole, each in order of version."""

STREAM = f"SELECT {_COLUMNS} FROM {TABLE} WHERE originator_id = %s ORDER BY originator_version"
"""One stream, whole."""

WRITTEN = f"""
SELECT ({HEAD}), last.originator_version, last.notification_id
FROM (SELECT) AS one LEFT JOIN (
    SELECT originator_version, notification_id FROM {TABLE}
    WHERE originator_id = %(stream)s AND notification_id <= %(position)s
    ORDER BY originator_version DESC LIMIT 1
) AS last ON true
"""
"""The head of the log, and the last event of a stream up to a position, if there is one."""

SPAN = f"""
SELECT notification_id, originator_id FROM {TABLE}
WHERE notification_id > %s AND notification_id <= %s ORDER BY notification_id
"""
"""Which streams the events between two positions belong to, in order."""

LAST_IN_SPAN = f"""
SELECT max(notification_id), originator_id FROM {TABLE}
WHERE notification_id > %s AND notification_id <= %s AND originator_id ^@ %s GROUP BY originator_id
"""
"""The last event, between two positions, of each stream of a kind."""

LOAD = f"""
SELECT stream, version, NULL::bigint, NULL::text, state
FROM snapshots WHERE stream = ANY(%(streams)s) AND shape = %(shape)s
UNION ALL
SELECT happened.*
FROM unnest(%(streams)s::text[]) AS asked (stream)
LEFT JOIN snapshots AS kept ON kept.stream = asked.stream AND kept.shape = %(shape)s
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM {TABLE}
    WHERE originator_id = asked.stream AND originator_version > coalesce(kept.version, 0)
    ORDER BY originator_version OFFSET 0
) AS happened"""
"""Some streams: what they had come to, where that was kept in a shape, without a position; and what came since, each in
order. OFFSET 0 keeps the planner from scanning the log for all of them at once."""

KEEP = """
INSERT INTO snapshots (stream, version, shape, state)
SELECT stream, version, %s, state FROM unnest(%s::text[], %s::bigint[], %b::bytea[]) AS kept (stream, version, state)
ON CONFLICT (stream) DO UPDATE SET version = excluded.version, shape = excluded.shape, state = excluded.state
WHERE snapshots.version < excluded.version OR snapshots.shape <> excluded.shape"""
"""Snapshots of streams, in a shape, in the place of older ones."""

LOCK = f"LOCK TABLE {TABLE} IN EXCLUSIVE MODE"
"""One writer at a time, first come first served; readers go on."""

ANSWERS = "SELECT key, fingerprint, answer, position FROM answers WHERE key = ANY(%s::uuid[])"
"""What was answered to earlier commands with these keys."""

APPEND = f"""
WITH answered AS (
    INSERT INTO answers (key, fingerprint, answer, position)
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %b::bytea[], %s::bigint[])
), happened AS (
    INSERT INTO {TABLE} (originator_id, originator_version, notification_id, topic, state)
    SELECT * FROM unnest(%b::text[], %s::bigint[], %s::bigint[], %b::text[], %b::bytea[])
)
SELECT pg_notify('{CHANNEL}', '')"""
"""All events and answers of a batch, or none: a position, a version or a key that is taken fails the statement."""


class NotAppended(Exception):
    """Another writer has appended since, or a key is known, or the database refuses what is to be written."""


class LogUnavailable(Explained):
    """The log's database does not answer."""


class StoredAnswer(msgspec.Struct, frozen=True, gc=False):
    """What a command with an idempotency key was answered."""

    key: str  # a UUID in hexadecimal: the hash of caller and key
    fingerprint: str  # a UUID in hexadecimal: the hash of the request
    answer: bytes
    position: int  # the log's head right after it


class Snapshot(msgspec.Struct, frozen=True, gc=False):
    """What a stream had come to."""

    stream: str
    version: int
    state: bytes


class _Recorder(PostgresApplicationRecorder):
    def __init__(self, datastore: PostgresDatastore) -> None:
        super().__init__(datastore, events_table_name=TABLE)
        self.sql_create_statements += [SQL(_CREATE_ANSWERS).format(), SQL(_CREATE_NUMBERS).format()]
        self.sql_create_statements += [SQL(_DRAW_NUMBERS).format()]
        self.sql_create_statements += [SQL(_CREATE_SNAPSHOTS).format(), SQL(_CREATE_RELAY_PROGRESS).format()]


class Log:
    """Reads the log, and opens writers on it. Safe to share between threads; a `Writer` is not.

    Raises `LogUnavailable` where the database does not answer.
    """

    def __init__(self, url: str, *, connect_timeout: float = 5.0) -> None:
        self.url = url
        self._datastore = PostgresDatastore(
            "", "", "", "", "", pool_size=0, max_overflow=4, connect_timeout=connect_timeout, originator_id_type="text"
        )
        # The library takes five parts of an address; this keeps the others, such as sslmode, too.
        self._datastore.pool.kwargs = {**conninfo_to_dict(url), "row_factory": tuple_row}

    def create(self) -> None:
        """Make the tables, unless they are there."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(hashtext('orderlog.create'))")
            self._datastore.pool.open()
            recorder = _Recorder(self._datastore)
            for statement in recorder.sql_create_statements:
                if "TABLE" in (text := statement.as_string()) or "INDEX" in text:
                    connection.execute(statement)
            connection.execute(MAKE_NUMBERS_KEY, (secrets.token_bytes(KEY_BYTES),))

    def close(self) -> None:
        self._datastore.close()

    def head(self) -> int:
        """The position of the newest event; 0 for an empty log."""
        return cast(int, self._fetch(HEAD, ())[0][0])

    def read(self, after: int, limit: int) -> list[Row]:
        """At most so many events after a position, in order."""
        return cast(list[Row], self._fetch(READ, (after, limit)))

    def streams(self, ids: Sequence[str]) -> list[Row]:
        """The whole streams, one after another, each in order of version."""
        return cast(list[Row], self._fetch(STREAMS, (list(ids),)))

    def writer(self) -> "Writer":
        return Writer(self.url)

    def _fetch(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            try:
                return self._fetched(query, parameters)
            except OperationalError:  # a pooled connection may be older than a restart of the database
                self._datastore.pool.check()
                return self._fetched(query, parameters)
        except (PersistenceError, psycopg.Error) as error:
            raise LogUnavailable(str(error)) from error

    def _fetched(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        with self._datastore.get_connection() as connection:
            return connection.cursor(row_factory=tuple_row, binary=True).execute(query, parameters).fetchall()


class Writer:
    """One connection that appends. `begin`, then `append` or `abandon`; for one thread.

    Raises `psycopg.OperationalError` when the connection is lost: then `reconnect`.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection[tuple[Any, ...]] | None = None

    def reconnect(self) -> None:
        self.close()
        self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=5, row_factory=tuple_row)
        # A plan made while the log was small must not become a scan of it when it is large. And a writer that holds
        # the lock but does not answer any more must not stop the others for ever, nor whatever else may hold one.
        self._connection.execute(
            "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
            f"SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '{LOCK_WAIT:g}s';"
            "SET synchronous_commit = on"
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def connection(self) -> Connection[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self.reconnect()
        assert self._connection is not None
        return self._connection

    def head(self) -> int:
        return cast(int, self._rows(HEAD, ())[0][0])

    def streams(self, ids: Iterable[str]) -> list[Row]:
        return cast(list[Row], self._rows(STREAMS, (list(ids),)))

    def numbers_key(self) -> bytes:
        """For `events.numbers.Numbers`: the same for all writers of this log, for ever."""
        return cast(bytes, self._rows(NUMBERS_KEY, ())[0][0])

    def draw_numbers(self, count: int) -> range:
        """So many of the numbers that orders have, for this writer alone; not within a transaction."""
        end = FIRST_DRAWN + cast(int, self._rows(DRAW, (count,))[0][0])
        return range(end - count, end)

    def load(self, streams: Iterable[str], shape: str) -> tuple[list[Snapshot], list[Row]]:
        """The streams: the snapshots there are of them in a shape, and what came since, each stream in order."""
        rows = self._rows(LOAD, {"streams": list(streams), "shape": shape})
        kept = [Snapshot(row[0], row[1], row[4]) for row in rows if row[2] is None]
        return kept, [cast(Row, row) for row in rows if row[2] is not None]

    def keep(self, snapshots: Sequence[Snapshot], shape: str) -> None:
        versions = _array(one.version for one in snapshots)
        states = [one.state for one in snapshots]
        self.connection.execute(KEEP, (shape, [one.stream for one in snapshots], versions, states))

    def begin(self, after: int, keys: Sequence[str]) -> tuple[int, list[Row], dict[str, StoredAnswer]]:
        """Take the log's lock; return its head, what was appended after a position, and the answers known for the keys.

        One round trip. Of what was appended, the first events of orders are left out, and what comes more than
        `FAR_BEHIND` after the position.
        """
        connection = self.connection
        with connection.pipeline():
            connection.execute("BEGIN")
            connection.execute(LOCK)
            news = connection.cursor(binary=True).execute(NEWS, {"after": after, "most": FAR_BEHIND})
            known = connection.cursor(binary=True).execute(ANSWERS, (_array(keys),)) if keys else None
        rows = news.fetchall()
        happened = [cast(Row, row[1:]) for row in rows if row[1] is not None]
        return rows[0][0], happened, _answers(known.fetchall()) if known else {}

    def answers(self, keys: Sequence[str]) -> dict[str, StoredAnswer]:
        """What is known for more keys, of commands that came when the lock was had. One round trip, for none none."""
        return _answers(self._rows(ANSWERS, (_array(keys),))) if keys else {}

    def append(self, rows: Sequence[Row], answers: Sequence[StoredAnswer]) -> None:
        """Append under the lock that `begin` took, and give it back; on disk when it returns. One round trip."""
        connection = self.connection
        with connection.pipeline():
            connection.execute(APPEND, _parameters(rows, answers))
            connection.execute("COMMIT")

    def append_unlocked(self, rows: Sequence[Row], answers: Sequence[StoredAnswer]) -> None:
        """Append without `begin`, by a writer that is probably alone; on disk when it returns. One round trip.

        Positions follow on what this writer has seen. Whoever appended meanwhile has taken them, so this is refused:
        raises `NotAppended`. There must be events: answers alone would not be held against the log.
        """
        try:
            self.connection.execute(APPEND, _parameters(rows, answers))
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except psycopg.Error as error:
            raise NotAppended from error

    def abandon(self) -> None:
        """Give the lock back; nothing was appended."""
        self.connection.execute("ROLLBACK")

    def _rows(self, query: str, parameters: tuple[Any, ...] | dict[str, Any]) -> list[tuple[Any, ...]]:
        return self.connection.cursor(binary=True).execute(query, parameters).fetchall()


def _answers(rows: Iterable[tuple[Any, ...]]) -> dict[str, StoredAnswer]:
    answers = (StoredAnswer(row[0].hex, row[1].hex, row[2], row[3]) for row in rows)
    return {answer.key: answer for answer in answers}


def _parameters(rows: Sequence[Row], answers: Sequence[StoredAnswer]) -> tuple[Any, ...]:
    streams, versions, positions, types, states = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    return (
        _array(answer.key for answer in answers),
        _array(answer.fingerprint for answer in answers),
        [answer.answer for answer in answers],
        _array(answer.position for answer in answers),
        list(streams),
        _array(versions),
        _array(positions),
        list(types),
        list(states),
    )


def _array(values: Iterable[object]) -> str:
    """An array literal of numbers or UUIDs: one text, which PostgreSQL reads faster than psycopg writes an array."""
    return "{" + ",".join(map(str, values)) + "}"
