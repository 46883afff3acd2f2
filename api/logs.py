"""Log lines: for people on a terminal, or one JSON object a line."""

import logging
import sys
from typing import Literal

import structlog


def configure(form: Literal["console", "json"]) -> None:
    """Log lines go to standard error, so that a command's output stays its own."""
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if form == "json" else _unchanged,
            last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # What aiokafka says of a broker that is away, our own lines say too, once and with what is done about it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)


def _unchanged(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return event
