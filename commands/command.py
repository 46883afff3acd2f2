"""What every command is made of: fields that ride in, and the values people write."""

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from events.money import EXPONENTS, MAX_AMOUNT


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)


class Command(Model):
    """Something asked of one stream at a time that rides in: a decision asks the world for nothing."""

    at: AwareDatetime = Field(description="business time; set by the edge")


def _known_currency(code: str) -> str:
    if code not in EXPONENTS:
        raise ValueError("is not an ISO 4217 currency code, such as EUR")
    return code


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _sku_of_one_word(sku: str) -> str:
    if sku != sku.strip() or not sku.isprintable():
        raise ValueError("must consist of printable characters, with no space at either end")
    return sku


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("must be an integer, not a boolean")  # noqa: TRY004  pydantic reports ValueError with its place
    return value


def text(longest: int, shortest: int = 1) -> object:
    """A string type of so many characters, without NUL, which PostgreSQL cannot keep."""
    return Annotated[str, StringConstraints(min_length=shortest, max_length=longest), AfterValidator(_no_nul)]


Currency = Annotated[str, AfterValidator(_known_currency)]
Sku = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_sku_of_one_word)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_no_nul)]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_no_nul)]
Quantity = Annotated[int, Field(strict=True, gt=0, le=1_000_000_000)]
Amount = Annotated[int, Field(strict=True, ge=0, le=MAX_AMOUNT)]


class Money(Model):
    """An amount in minor units of its currency: 19.99 EUR is {"amount": 1999, "currency": "EUR"}."""

    amount: Amount
    currency: Currency
