"""Money is an integer count of minor units of one ISO 4217 currency."""

from collections.abc import Sequence

MAX_AMOUNT = 10**12
"""The largest amount of one price or one order, in minor units: sums over a day of them stay within 64 bits."""

_EXPONENTS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF "
    "CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF "
    "IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN "
    "MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS "
    "SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}

EXPONENTS: dict[str, int] = {code: exponent for exponent, codes in _EXPONENTS.items() for code in codes.split()}
"""ISO 4217 currency code to its number of decimal digits: EUR 2, JPY 0, KWD 3."""


def part(amount: int, pieces: int, of: int) -> int:
    """What so many pieces are worth of an amount for `of` pieces, rounded half-even (ISO 80000-1, rule A)."""
    quotient, rest = divmod(amount * pieces, of)
    up = 2 * rest > of or (2 * rest == of and quotient % 2 == 1)
    return quotient + 1 if up else quotient


def allocate(amount: int, weights: Sequence[int]) -> list[int]:
    """An amount in as many parts as there are weights, in their proportion, by largest remainder.

    The parts sum to the amount exactly, and each is its exact share rounded up or down. Of equal remainders the earlier
    one is served first. Where all weights are 0, all parts weigh the same. Neither amount nor weights are below 0.
    """
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    parts, remainders = [], []
    for weight in weights:
        share, remainder = divmod(amount * weight, whole)
        parts.append(share)
        remainders.append(remainder)
    largest_first = sorted(range(len(parts)), key=remainders.__getitem__, reverse=True)
    for index in largest_first[: amount - sum(parts)]:
        parts[index] += 1
    return parts
