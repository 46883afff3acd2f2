"""What every command is made of: fields that ride in, and the values people write."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from commands.refusals import CurrencyMismatch
from events.money import EXPONENTS, MAX_AMOUNT

MOST_LINES = 2_000
"""Of one order."""


def one_of(*names: str) -> dict[str, Any]:
    """JSON Schema of an object that must have a value in one of these fields at least."""
    return {"anyOf": [{"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names]}


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class Command(Model):
    """Something asked of one stream at a time that rides in: a decision asks the world for nothing."""

    at: AwareDatetime = Field(description="business time; set by the edge")


class OrderCommand(Command):
    order_id: UUID


def _known_currency(code: str) -> str:
    if code not in EXPONENTS:
        raise ValueError("is not an ISO 4217 currency code, such as EUR")
    return code


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _of_one_word(text: str) -> str:
    if text != text.strip() or not text.isprintable():
        raise ValueError("must consist of printable characters, with no space at either end")
    return text


# What the functions above refuse, as JSON Schema (ECMA-262) says it: in the document, not in the check.
_CURRENCIES = Field(json_schema_extra={"enum": [*sorted(EXPONENTS)]})
_NO_NUL = {"pattern": r"^[^\u0000]*$"}
_WITHOUT_NUL = Field(json_schema_extra={**_NO_NUL})
_NAMES_WITHOUT_NUL = {"propertyNames": {"minLength": 1, "maxLength": 200, **_NO_NUL}}
UNPRINTABLE = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u1680\u180e\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb"
)
"""What `str.isprintable` refuses up to U+FFFF, but for what Unicode has not assigned: for a pattern that says the same
with ECMA-262's flag u and without it, since not all validators set the flag."""
_OF_ONE_WORD = Field(json_schema_extra={"pattern": f"^[^ {UNPRINTABLE}]([^{UNPRINTABLE}]*[^ {UNPRINTABLE}])?$"})

Currency = Annotated[str, AfterValidator(_known_currency), _CURRENCIES]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_of_one_word), _OF_ONE_WORD]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_of_one_word), _OF_ONE_WORD]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul), _WITHOUT_NUL]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_no_nul), _WITHOUT_NUL]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul), _WITHOUT_NUL]
Note = Annotated[str, StringConstraints(min_length=1, max_length=5_000), AfterValidator(_no_nul), _WITHOUT_NUL]
Email = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")]
LineId = Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(_no_nul), _WITHOUT_NUL]
Metadata = Annotated[dict[Name, Reason], Field(max_length=50, json_schema_extra={**_NAMES_WITHOUT_NUL})]
Quantity = Annotated[int, Field(strict=True, gt=0, le=1_000_000_000)]
Amount = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]


class Money(Model):
    """An amount in minor units of its currency: 19.99 EUR is {"amount": 1999, "currency": "EUR"}."""

    amount: Amount
    currency: Currency


class LinePieces(Model):
    """Some pieces of one line."""

    line_id: LineId
    quantity: Quantity


def _each_line_once(lines: tuple[LinePieces, ...]) -> tuple[LinePieces, ...]:
    if len({line.line_id for line in lines}) < len(lines):
        raise ValueError("names the same line twice")
    return lines


Pieces = Annotated[tuple[LinePieces, ...], Field(min_length=1, max_length=MOST_LINES), AfterValidator(_each_line_once)]


def in_currency(money: Money | None, currency: str, pointer: str) -> int:
    """Its minor units; no money is 0. Raises `CurrencyMismatch`, which says where in the command the money stands."""
    if money is None:
        return 0
    if money.currency != currency:
        raise CurrencyMismatch(pointer=pointer, expected=currency, got=money.currency)
    return money.amount
