"""The least a server can do with an order: read the body and answer 201. It shows the ceiling of the load generator."""

from typing import Any

ANSWER = b'{"order_id":"0"}'
START = {
    "type": "http.response.start",
    "status": 201,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))],
}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: reads one whole body, answers with a constant."""
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send({"type": "http.response.body", "body": ANSWER})
