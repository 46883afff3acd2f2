"""How long a processor that has just started takes to know a stream that is long.

`python -m tests.benchmarks.loading --url DATABASE` prints JSON.
"""

import argparse
import json
from contextlib import closing
from time import perf_counter

import psycopg

from commands.remembered import Remembered
from commands.snapshots import EVERY
from events import codec
from events.envelope import Cause, product_stream
from events.log import Log
from events.product import StockReceived
from tests.examples import NOON, a_cup

EVENTS = 1_000_000

_FILL = """
INSERT INTO events (originator_id, originator_version, notification_id, topic, state)
SELECT %(stream)s, number, number, %(type)s, %(state)s FROM generate_series(2, %(events)s) AS number"""
"""A stream's second event and all that follow, every one the same."""


def measure(url: str) -> dict[str, float]:
    """Milliseconds to load the product: from all its events, and from its snapshot and `EVERY` - 1 events."""
    log = Log(url)
    log.create()
    fill(log, EVENTS)
    whole = loaded_within(log)  # and leaves a snapshot
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE snapshots SET version = version - %s", (EVERY - 1,))
    kept = min(loaded_within(log) for _ in range(5))
    log.close()
    return {"whole_ms": whole, "snapshot_ms": kept}


def fill(log: Log, events: int) -> None:
    stream, cause, received = product_stream("CUP"), Cause(NOON, "bench"), StockReceived(NOON, 1)
    writer = log.writer()
    writer.append_unlocked([(stream, 1, 1, codec.event_type(a_cup), codec.encode(a_cup, cause))], [])
    writer.close()
    values = {
        "stream": stream,
        "type": codec.event_type(received),
        "state": codec.encode(received, cause),
        "events": events,
    }
    with psycopg.connect(log.url, autocommit=True) as connection:
        connection.execute(_FILL, values)
        connection.execute("ANALYZE events")


def loaded_within(log: Log) -> float:
    with closing(log.writer()) as writer:
        remembered = Remembered(writer, most=10)
        writer.head()  # connects
        start = perf_counter()
        remembered.state(product_stream("CUP"))
        milliseconds = (perf_counter() - start) * 1e3
        remembered.keep_grown()
    return milliseconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    print(json.dumps(measure(parser.parse_args().url)))
