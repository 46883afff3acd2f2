"""Asks a processor as the edge does, with the outcome itself as the answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from typing import Any
from uuid import UUID, uuid4

import msgspec

from commands.exchange import Accepted, AnyCommand, Refused, Reply, Request
from commands.processor import Processor
from events import codec
from events.envelope import Recorded
from events.log import Log


class Answer(msgspec.Struct, frozen=True):
    """What the answering function keeps of an outcome."""

    accepted: bool
    version: int
    position: int = 0  # the reply's
    code: str | None = None
    details: dict[str, Any] = {}


def answer(outcome: Accepted | Refused) -> bytes:
    if isinstance(outcome, Accepted):
        return msgspec.json.encode(Answer(accepted=True, version=outcome.version))
    refusal = outcome.refusal
    return msgspec.json.encode(
        Answer(
            accepted=False,
            version=outcome.version,
            code=refusal.code,
            details=refusal.details,
        )
    )


def read(reply: Reply) -> Answer:
    return msgspec.structs.replace(msgspec.json.decode(reply.answer, type=Answer), position=reply.position)


def request(command: AnyCommand, key: str | None = None, **more: Any) -> Request:
    print_of_it = blake2b(command.model_dump_json(exclude={"at"}).encode(), digest_size=16).hexdigest()
    name = blake2b(key.encode(), digest_size=16).hexdigest() if key else None
    return Request(command, "tests", answer, key=name, fingerprint=print_of_it, request_id=str(uuid4()), **more)


class Asking:
    def __init__(self, processor: Processor) -> None:
        self.processor = processor

    async def one(self, command: AnyCommand, key: str | None = None, **more: Any) -> Answer:
        return read(await self.processor.submit(request(command, key, **more)))

    async def all(self, *commands: AnyCommand) -> list[Answer]:
        """All at once: they share batches."""
        replies = await asyncio.gather(*(self.processor.submit(request(command)) for command in commands))
        return [read(reply) for reply in replies]


@asynccontextmanager
async def asking(log: Log, **settings: Any) -> AsyncIterator[Asking]:
    processor = Processor(log, **settings)
    processor.start()
    try:
        yield Asking(processor)
    finally:
        await processor.stop()


def recorded(log: Log) -> list[Recorded]:
    """The whole log."""
    return [codec.decode(row) for row in log.read(0, 1_000_000)]


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]
