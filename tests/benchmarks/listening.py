"""A listener on the live feed: how long after an order was decided does it arrive at a socket?

`python -m tests.benchmarks.listening --url ws://… --token … --seconds 10` prints JSON: the number of events, and the
median, the 99th percentile and the longest of (arrival - the event's own time) in milliseconds. One machine, one clock.
"""

import argparse
import asyncio
import json
import os
import time
from datetime import datetime

import uvloop
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

SUBSCRIBE = json.dumps({"type": "subscribe", "id": "all", "filter": {}, "from": "now"})


async def listen(url: str, token: str, seconds: float) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {token}"}
    delays: list[float] = []
    async with connect(
        url,
        subprotocols=[Subprotocol("orderlog.v1")],
        additional_headers=headers,
        compression=None,
        max_queue=100_000,
    ) as live:
        await live.send(SUBSCRIBE)
        until = time.time() + seconds
        while (left := until - time.time()) > 0:
            try:
                text = await asyncio.wait_for(live.recv(), left)
            except TimeoutError:
                break
            arrived = time.time()
            assert isinstance(text, str)
            if text.startswith('{"type":"event"'):
                delays.append(arrived - _time(text))
    if not delays:
        return {"events": 0}
    delays.sort()
    at = [delays[int(len(delays) * share)] * 1000 for share in (0.5, 0.99)]
    return {"events": len(delays), "p50_ms": at[0], "p99_ms": at[1], "max_ms": delays[-1] * 1000}


def _time(text: str) -> float:
    start = text.index('"time":"') + 8
    return datetime.fromisoformat(text[start : text.index('"', start)]).timestamp()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--cpu", type=int)
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    print(json.dumps(uvloop.run(listen(options.url, options.token, options.seconds))))
