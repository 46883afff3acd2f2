"""The one exception of the client: a request that did not get what it asked for, and why."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Self

import httpx

UNREACHABLE = "unreachable"
"""The code where no attempt was answered in time: whether a command was carried out is then not known."""


class Problem(Exception):
    """A problem as RFC 9457 has it. `told` is all that the answer said; the rest are its most wanted members.

    A command that ended so may be tried again later under the same `idempotency_key`, and is then still one command.
    """

    def __init__(self, status: int | None, told: Mapping[str, Any], idempotency_key: str | None = None) -> None:
        self.status = status  # None: nothing was answered
        self.told = told
        self.code: str = told["code"]  # stable: this is what programs go by
        self.detail: str = told.get("detail", "")
        self.request_id: str | None = told.get("request_id")  # under which orderlog has logged it
        self.errors: list[dict[str, str]] = told.get("errors", [])  # each with pointer, detail and in
        self.current_status: str | None = told.get("current_status")  # of the order, where it refused the command; so
        self.current_version: int | None = told.get("current_version")  # are these two
        self.allowed_commands: list[str] = told.get("allowed_commands", [])
        self.idempotency_key = idempotency_key
        super().__init__(f"{self.code}: {self.detail}" if self.detail else self.code)

    @classmethod
    def of(cls, answer: httpx.Response, idempotency_key: str | None = None) -> Self:
        """What an answer says; what stands between us and orderlog may answer without saying much."""
        try:
            told = answer.json()
        except ValueError:
            told = None
        if not isinstance(told, dict) or "code" not in told:
            phrase = HTTPStatus(answer.status_code).phrase if answer.status_code in set(HTTPStatus) else ""
            told = {"code": f"http-{answer.status_code}", "detail": phrase}
        return cls(answer.status_code, told, idempotency_key)

    @classmethod
    def unreachable(cls, url: str, why: Exception | None, seconds: float, idempotency_key: str | None) -> Self:
        reason = f": {str(why) or type(why).__name__}" if why is not None else ""
        detail = f"{url} did not answer within {seconds:g} s{reason}"
        return cls(None, {"code": UNREACHABLE, "detail": detail}, idempotency_key)
