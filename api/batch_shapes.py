"""What a batch is made of, and what it is answered with."""

from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from api.requests import LONGEST_KEY
from api.routes import ON_ORDER, PLACE, Route

MOST_ITEMS = 500


def _known(name: str) -> str:
    if name not in ON_ORDER:
        raise ValueError(f"must be a command on an order: {', '.join(ON_ORDER)}")
    return name


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class BatchItem(_Model):
    """One command: what its own route takes in path, headers and body."""

    command: Annotated[
        str,
        AfterValidator(_known),
        Field(
            json_schema_extra={"enum": [*ON_ORDER]},
            description="as in the path of its route; place without an order_id is POST /v1/orders",
        ),
    ]
    order_id: Annotated[
        str | None, Field(validate_default=True, description="as in the path; left out for a new order")
    ] = None
    idempotency_key: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=LONGEST_KEY,
            pattern="^[!-~]+$",
            description="as the header Idempotency-Key; the same key in a batch and alone is the same key",
        ),
    ] = None
    expected_version: Annotated[
        int | None, Field(ge=0, lt=10**18, description="as the header If-Match, without the quotes")
    ] = None
    body: Annotated[dict[str, Any], Field(description="as the body of the command's own route")] = {}

    @field_validator("order_id")
    @classmethod
    def _about_an_order(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("command", "place") != "place":
            raise ValueError("must name the order that the command is about")
        return value

    @property
    def route(self) -> Route:
        return PLACE if self.order_id is None else ON_ORDER[self.command]

    @property
    def path(self) -> str:
        """Of the command's own route, as a client would ask for it."""
        return PLACE.path if self.order_id is None else self.route.path.replace("{order_id}", self.order_id)


class Batch(_Model):
    """Commands, decided in their order, each on what the earlier ones leave."""

    atomic: Annotated[bool, Field(description="all of them, or none; else each for itself")] = False
    items: Annotated[list[BatchItem], Field(min_length=1, max_length=MOST_ITEMS)]


class BatchResult(msgspec.Struct, frozen=True):
    """What the command's own route would have answered."""

    status: int
    headers: dict[str, str]
    body: msgspec.Raw


class BatchAnswer(msgspec.Struct, frozen=True):
    """One result for each item, in their order."""

    items: list[BatchResult]
