"""The table of what each command may be refused for holds what the decisions can raise, no more and no less."""

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest

from api.problem_examples import MEMBERS
from api.problems import every_refusal
from api.refusable import BY_RULES
from commands import order, product
from commands.command import Command
from commands.order import ShipItems
from commands.placing import place
from commands.product import AdjustStock, ListProduct, ReceiveStock
from commands.refusals import AmountsSettled, OrderIdUnusable, OutOfStock, Refusal, ShipmentExists

Table = dict[type[Command], set[type[Refusal]]]

ABOUT_THE_CALLER: Table = {order.PlaceOrder: {OrderIdUnusable}}
"""What the processor refuses, which knows who asks."""

BEFORE_ITS_CASE: Table = {ShipItems: {ShipmentExists}}
"""What `decide` refuses before it looks at the case of the command."""

CANNOT_BE: Table = {
    order.PlaceOrder: {AmountsSettled},  # nothing is settled of an order that begins
    order.CancelLines: {OutOfStock},  # these two give stock back, by the function that takes some too
    order.CancelOrder: {OutOfStock},
}
"""What the decisions name, but for other commands."""


def raised_from(
    function: Callable[..., Any], seen: set[Callable[..., Any]]
) -> Iterator[tuple[type[Refusal], set[str]]]:
    """Each refusal that a function raises, or another one of ours that it names; with the details that it is given."""
    if function not in seen:
        seen.add(function)
        yield from raised_in(ast.parse(inspect.getsource(function)), inspect.getmodule(function), seen)


def raised_in(
    tree: ast.AST, module: ModuleType | None, seen: set[Callable[..., Any]]
) -> Iterator[tuple[type[Refusal], set[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = node.exc if isinstance(node.exc, ast.Call) else None
            what = named(call.func if call else node.exc, module)
            if isinstance(what, type) and issubclass(what, Refusal):
                yield what, {one.arg for one in call.keywords if one.arg} if call else set()
        elif isinstance(what := named(node, module), FunctionType) and what.__module__.startswith("commands."):
            yield from raised_from(what, seen)


def named(node: ast.AST, module: ModuleType | None) -> Any:
    """What a name, or a name in a module, stands for."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id, None)
    if isinstance(node, ast.Attribute):
        return getattr(named(node.value, module), node.attr, None)
    return None


def cases(function: Callable[..., Any]) -> dict[type[Command], list[ast.stmt]]:
    """Command to what a function does with it: the bodies of its `match`."""
    tree = ast.parse(inspect.getsource(function))
    match = next(node for node in ast.walk(tree) if isinstance(node, ast.Match))
    found: dict[type[Command], list[ast.stmt]] = {}
    for case in match.cases:
        for pattern in ast.walk(case.pattern):
            if isinstance(pattern, ast.MatchClass):
                found.setdefault(named(pattern.cls, inspect.getmodule(function)), []).extend(case.body)
    return found


def refused_by(command: type[Command]) -> dict[type[Refusal], set[str]]:
    """What the decision on a command may raise, with its details."""
    if command is order.PlaceOrder:
        return dict(raised_from(place, set()))
    bodies = cases(product.decide)[command] if command in cases(product.decide) else cases(order._decided)[command]
    module = product if command in {ListProduct, ReceiveStock, AdjustStock} else order
    if command in cases(order._paid):
        bodies = cases(order._paid)[command]
    return dict(found for body in bodies for found in raised_in(body, module, set()))


@pytest.mark.parametrize("command", BY_RULES, ids=lambda command: command.__name__)
def test_a_command_is_refused_for_what_its_decision_raises(command: type[Command]) -> None:
    beside = ABOUT_THE_CALLER.get(command, set()) | BEFORE_ITS_CASE.get(command, set())

    assert {*BY_RULES[command]} == refused_by(command).keys() - CANNOT_BE.get(command, set()) | beside


def test_the_example_of_a_refusal_has_the_members_that_are_raised() -> None:
    raised: dict[str, list[set[str]]] = {}
    for name in ("amending", "cancelling", "command", "lines", "order", "payment", "pricing", "batch", "product"):
        gather(importlib.import_module(f"commands.{name}"), raised)
    for name in ("returns", "shipment", "steps"):
        gather(importlib.import_module(f"commands.{name}"), raised)
    refusals = {one.code for one in every_refusal()} - {"order-unfinished"}  # which nobody is answered

    assert MEMBERS.keys() <= refusals
    for code in refusals & raised.keys():
        assert {*MEMBERS.get(code, {})} in raised[code], code


def gather(module: ModuleType, raised: dict[str, list[set[str]]]) -> None:
    for kind, details in raised_in(ast.parse(inspect.getsource(module)), module, set()):
        raised.setdefault(kind.code, []).append(details)
