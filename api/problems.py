"""The pages that a problem's `type` leads to: what it means and what to do about it, from the table of the problems."""

from collections.abc import Iterator
from html import escape
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from api.errors import PROBLEMS, TYPES, Problem
from api.oauth import TITLES
from api.refusals import REFUSED, STATUS
from commands.refusals import Refusal

ADVICE: dict[str, str] = {
    "bad-request": "Speak HTTP/1.1: a request line, header lines without control characters, and a body of the length "
    "that Content-Length or Transfer-Encoding says. The connection is closed.",
    "not-caught-up": "The write of your Consistency-Token is safe, but the read model that answers this read does not "
    "include it yet. Ask again after Retry-After seconds, wait longer (Prefer: wait=10), or leave handling=strict away "
    "to be answered with the older state.",
    "idempotency-key-missing": "Make a key of your own for each request, such as a UUID, send it as Idempotency-Key, "
    "and send the same one when you try the same request again.",
    "idempotency-key-reused": "The key was sent before, with another method, path or body. Nothing was done now. Use a "
    "new key for a new request.",
    "idempotency-key-in-flight": "The first request with the key is still being done, by us or before the database. "
    "Try the same request again after Retry-After seconds: you will get the first one's answer.",
    "if-match-missing": "Here this command must say which version of the order you have seen, so that it does not undo "
    "what somebody else has done since: read the order, and send its ETag as If-Match; in a batch, the version as the "
    "item's expected_version.",
    "batch-not-applied": "Another item of the batch was refused, and the batch is atomic: this one is not done, and "
    "its key is not used. Mend what the other items' problems name, and send the batch again.",
    "batch-answer-full": "The items before it answer with as much as one batch may. It is not done, and its key is not "
    "used: send it in another batch.",
    "too-many-requests": "You have used up what RateLimit-Policy allows. Wait Retry-After seconds; RateLimit says what "
    "is left with each answer.",
    "malformed-message": "`errors` names the place in the message, or in what the query of GET /v1/events stands for, "
    "and what would be right. A socket is closed after it: connect again, and go on from your cursor.",
    "snapshot-too-large": "Narrow the filter; or subscribe from now, and read the orders page by page from "
    "GET /v1/orders.",
    "too-many-subscriptions": "Unsubscribe from what you no longer need, or open another connection.",
    "busy": "More commands wait than can be decided soon. Nothing was done. Try again after Retry-After seconds, with "
    "the same Idempotency-Key.",
    "unavailable": "The database did not answer in time, and whether your command was taken is not known. Try again "
    "with the same Idempotency-Key: it is done once.",
    "internal-error": "This is our fault; the log has the error under the request_id. Trying again with the same "
    "Idempotency-Key is safe.",
    "not-ready": "The member `parts` says which part waits, and for what.",
    "cors-refused": "The operator lists the origins whose pages may ask in ORDERLOG_CORS_ORIGINS; the methods are GET, "
    "POST, PUT and PATCH.",
    "bad-cursor": "Begin again without a cursor. One is good for the list, the filters and the caller that it was "
    "given for.",
    "order-id-unusable": "Nothing was placed. Make another id, a UUID of version 7, or leave order_id out.",
    "stale-version": "Read the order again, decide again, and send If-Match with the version that you have seen.",
}
"""What to do about a problem, where there is more to say than for its status."""

BY_STATUS: dict[int, str] = {
    400: "Mend the request; sent again as it is, it will be refused again.",
    401: "Get a token and send it as Authorization: Bearer <token>.",
    403: "Ask as somebody who may.",
    404: "It is not there, or it is not yours to see.",
    405: "The header Allow names the methods that there are.",
    408: "Send the request whole, at once. The connection is closed; nothing was done.",
    409: "The state of things does not allow it. `detail` and the further members say what is in the way, "
    "`allowed_commands` what may be done with an order now.",
    412: "What you have seen has changed. Read it again.",
    413: "Send less at once.",
    415: "Send JSON in UTF-8 with Content-Type: application/json.",
    422: "`errors` names each place that is wrong, as a JSON pointer into the body or as a parameter.",
    429: "Wait Retry-After seconds.",
    431: "Send fewer or shorter headers.",
    500: "Try again later, with the same Idempotency-Key.",
    503: "Try again after Retry-After seconds, with the same Idempotency-Key.",
}

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 42rem; margin: 2rem auto; padding: 0 1rem }}
code {{ background: #eee }}
</style>
{body}
</html>
"""


def every_problem() -> dict[str, tuple[int, str]]:
    """Code to status and title of whatever may be answered: ours, the token endpoint's, refusals, and plain HTTP's."""
    plain = {
        status.phrase.lower().replace(" ", "-"): (status.value, status.phrase)
        for status in HTTPStatus
        if status >= 400  # noqa: PLR2004  errors
    }
    refused = {one.code: (STATUS.get(one, REFUSED), (one.__doc__ or "").rstrip(".")) for one in every_refusal()}
    token = {error.replace("_", "-"): status_and_title for error, status_and_title in TITLES.items()}
    return plain | token | refused | PROBLEMS


def advice(code: str, status: int) -> str:
    """What whoever gets the problem should do."""
    return ADVICE.get(code) or BY_STATUS.get(status) or BY_STATUS[500 if status >= 500 else 400]  # noqa: PLR2004


async def problem_page(request: Request) -> Response:
    """The page about one problem. Raises a `Problem` for a code that there is not."""
    code = request.path_params["code"]
    found = every_problem().get(code)
    if found is None:
        raise Problem("not-found", f"No problem has this code; {TYPES} lists those there are.")
    status, title = found
    body = (
        f"<h1>{escape(title)}</h1><p><code>{escape(code)}</code>, HTTP status {status}</p>"
        f"<p>{escape(advice(code, status))}</p><p><a href='{TYPES}'>All problems</a></p>"
    )
    return _page(title, body)


async def problem_list(_: Request) -> Response:
    """All problems that are orderlog's own."""
    own = [(code, one) for code, one in every_problem().items() if code in PROBLEMS or _is_ours(code)]
    rows = "".join(
        f"<li>{status} <a href='{TYPES}/{escape(code)}'><code>{escape(code)}</code></a> {escape(title)}</li>"
        for code, (status, title) in sorted(own, key=lambda row: (row[1][0], row[0]))
    )
    return _page("Problems", f"<h1>Problems</h1><p>What may go wrong (RFC 9457), by status.</p><ul>{rows}</ul>")


def _page(title: str, body: str) -> Response:
    headers = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(_PAGE.format(title=escape(title), body=body), headers=headers)


def _is_ours(code: str) -> bool:
    return code.replace("-", "_") in TITLES or any(one.code == code for one in every_refusal())


def every_refusal(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for one in kind.__subclasses__():
        yield one
        yield from every_refusal(one)
