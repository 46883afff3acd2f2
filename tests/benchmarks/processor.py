"""The processor alone: orders a second without HTTP, from many callers that each wait for their answer.

`python -m tests.benchmarks.processor --url DATABASE --orders 40000 --callers 512 [--processes 1]` prints JSON.
"""

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from uuid import uuid4

import uvloop

from api.ids import new_order_id
from commands.exchange import Accepted, Refused, Request
from commands.order import PlaceOrder
from commands.processor import Processor
from commands.product import ListProduct
from events.log import Log

SKUS = 1_000
ANSWER = b"x" * 1_200  # as long as the answer to an order of three lines


def answer(_: Accepted | Refused) -> bytes:
    return ANSWER


async def list_products(processor: Processor, tracked: bool = False) -> None:  # noqa: FBT001, FBT002
    now = datetime.now(UTC)
    stock = "tracked" if tracked else "untracked"
    for number in range(1, SKUS + 1):
        prices = [{"amount": 100 + number, "currency": "EUR"}]
        fields = {"at": now, "sku": f"SKU-{number}", "name": f"Product {number}", "prices": prices, "stock": stock}
        processor.submit(Request(ListProduct.model_validate(fields), "bench", answer))
    await processor.submit(Request(ListProduct.model_validate(fields), "bench", answer))


async def measure(url: str, orders: int, callers: int) -> dict[str, float]:
    log = Log(url)
    log.create()
    processor = Processor(log, queue=100_000)
    processor.start()
    await list_products(processor)
    requests = [request(number) for number in range(orders)]
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    pending = iter(requests)
    batches = processor.batches
    start = time.perf_counter()

    async def caller() -> None:
        for one in pending:
            await processor.submit(one)

    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds = time.perf_counter() - start
    await processor.stop()
    log.close()
    return {"orders_per_second": orders / seconds, "orders_a_batch": orders / (processor.batches - batches)}


def request(number: int) -> Request:
    """Each with an idempotency key and three lines, parsed beforehand."""
    lines = [{"sku": f"SKU-{(number * 7 + step * 13) % SKUS + 1}", "quantity": 2} for step in range(3)]
    fields = {
        "order_id": new_order_id(),
        "at": datetime.now(UTC),
        "customer_id": "c",
        "currency": "EUR",
        "lines": lines,
    }
    key = uuid4().hex
    return Request(PlaceOrder.model_validate(fields), "bench", answer, key=key, fingerprint=key, new=True)


def processor_rate(url: str, orders: int = 40_000, callers: int = 512) -> dict[str, float]:
    """Measured in a process of its own, which inherits the caller's CPU."""
    command = [sys.executable, "-m", "tests.benchmarks.processor", "--url", url]
    command += ["--orders", str(orders), "--callers", str(callers)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--orders", type=int, default=40_000)
    parser.add_argument("--callers", type=int, default=512)
    options = parser.parse_args()
    print(json.dumps(uvloop.run(measure(options.url, options.orders, options.callers))))
