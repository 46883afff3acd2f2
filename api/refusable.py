"""Which command may be refused for what: the table that the OpenAPI document lists each route's problems from."""

from collections.abc import Iterator

from commands.command import Command
from commands.order import (
    TABLE,
    AddNote,
    AmendOrder,
    CancelLines,
    CancelOrder,
    ConfirmDelivery,
    ConfirmOrder,
    DecideReturn,
    PlaceDraft,
    PlaceHold,
    PlaceOrder,
    ReceiveReturn,
    RecordAuthorization,
    RecordCapture,
    RecordRefund,
    ReleaseHold,
    ReportLost,
    RequestReturn,
    SetMetadata,
    SetTags,
    ShipItems,
    UpdateTracking,
    VoidAuthorization,
)
from commands.product import AdjustStock, ListProduct, ReceiveStock
from commands.refusals import (
    AddressFixed,
    AlreadyShipped,
    AmountOverflow,
    AmountsSettled,
    BeforeOrder,
    BelowFulfilled,
    CurrencyMismatch,
    DeliveredAlready,
    DuplicateLines,
    ExceedsDelivered,
    ExceedsOpen,
    ExceedsReturn,
    LineFixed,
    LostAlready,
    NegativeTotal,
    NoPrice,
    NoSuchOrder,
    NoSuchProduct,
    NothingOwed,
    NothingToVoid,
    NotReserved,
    OnHold,
    OrderConfirmedAlready,
    OrderIdUnusable,
    OutOfStock,
    OverCapture,
    OverRefund,
    PaymentRequired,
    ReferenceUsed,
    Refusal,
    ReturnDecided,
    ReturnExists,
    ReturnNotApproved,
    ShipmentExists,
    StaleVersion,
    StockBelowReserved,
    StockNotTracked,
    TooManyEvents,
    TooManyLines,
    TotalMismatch,
    UnknownLines,
    UnknownProducts,
    UnknownReturn,
    UnknownShipment,
)

Refusals = tuple[type[Refusal], ...]

_PRICED: Refusals = (
    UnknownProducts, NoPrice, DuplicateLines, OutOfStock, CurrencyMismatch, TotalMismatch, NegativeTotal,
    AmountOverflow,
)  # fmt: skip

BY_RULES: dict[type[Command], Refusals] = {
    PlaceOrder: (*_PRICED, OrderIdUnusable),
    PlaceDraft: (OutOfStock,),
    AmendOrder: (
        *_PRICED, AmountsSettled, UnknownLines, TooManyLines, LineFixed, BelowFulfilled, AddressFixed,
        OrderConfirmedAlready,
    ),
    ConfirmOrder: (OnHold, NotReserved, PaymentRequired),
    RecordAuthorization: (CurrencyMismatch, ReferenceUsed, NothingOwed, AmountOverflow),
    RecordCapture: (CurrencyMismatch, ReferenceUsed, NothingOwed, OverCapture),
    VoidAuthorization: (NothingToVoid,),
    RecordRefund: (CurrencyMismatch, ReferenceUsed, OverRefund),
    ShipItems: (OnHold, ShipmentExists, UnknownLines, ExceedsOpen, OutOfStock),
    UpdateTracking: (UnknownShipment,),
    ConfirmDelivery: (UnknownShipment, LostAlready),
    ReportLost: (UnknownShipment, DeliveredAlready),
    CancelLines: (UnknownLines, ExceedsOpen),
    CancelOrder: (AlreadyShipped,),
    RequestReturn: (UnknownLines, ExceedsDelivered, ReturnExists),
    DecideReturn: (UnknownReturn, ReturnDecided),
    ReceiveReturn: (UnknownReturn, ReturnNotApproved, UnknownLines, ExceedsReturn),
    PlaceHold: (),
    ReleaseHold: (),
    AddNote: (),
    SetTags: (),
    SetMetadata: (),
    ListProduct: (),
    ReceiveStock: (NoSuchProduct, StockNotTracked),
    AdjustStock: (NoSuchProduct, StockNotTracked, StockBelowReserved),
}  # fmt: skip
"""What the rules of a command's theme refuse."""


def refusals_of(command: type[Command]) -> list[type[Refusal]]:
    """All that a command may be refused for: by its rules, by the order's status, and by what holds for each order."""
    return list(dict.fromkeys(_refusals_of(command)))


def _refusals_of(command: type[Command]) -> Iterator[type[Refusal]]:
    yield StaleVersion
    yield from BY_RULES[command]
    for kind, row in TABLE.items():
        if kind is command:
            yield from (cell for cell in row if isinstance(cell, type))
            yield from () if command is PlaceOrder else (NoSuchOrder, BeforeOrder, TooManyEvents)
