"""What a change of the OpenAPI document would break for clients that were written by the document before.

Requests may only become wider: what was accepted is accepted. Answers may only become narrower: what a client reads is
there, and of the kind that it was. A new value of an enumeration, a new kind of event, a new problem are no breaks: the
document says that there may be more of them.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

Json = dict[str, Any]
Break = tuple[str, str]  # where below the operation, and what

_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_FIXED = ("pattern", "format", "const")


def breaks(before: Json, after: Json) -> list[str]:
    """A sentence for each thing that clients of `before` may rely on and that `after` does not hold."""
    shapes = Shapes(before, after)
    return [
        f"{method.upper()} {path}{where}: {what}"
        for path, methods in before["paths"].items()
        for method, operation in methods.items()
        for where, what in _operation(operation, after["paths"].get(path, {}).get(method), shapes)
    ]


def _operation(before: Json, after: Json | None, shapes: "Shapes") -> Iterator[Break]:
    if after is None:
        yield "", "is gone"
        return
    if before["operationId"] != after["operationId"]:
        yield "", f"its operationId was {before['operationId']}, and is {after['operationId']}"
    if before.get("security") == [] != after.get("security"):
        yield "", "wants a token now"
    yield from _parameters(before.get("parameters", ()), after.get("parameters", ()), shapes)
    yield from _body(before.get("requestBody", {}), after.get("requestBody", {}), shapes)
    yield from _answers(before["responses"], after["responses"], shapes)


def _parameters(before: Iterable[Json], after: Iterable[Json], shapes: "Shapes") -> Iterator[Break]:
    known = {(one["in"], one["name"].lower()): one for one in before}
    now = {(one["in"], one["name"].lower()): one for one in after}
    for key in known.keys() - now.keys():
        yield f" {key[1]}", "the parameter is gone"
    for key, one in now.items():
        if one.get("required") and not known.get(key, {}).get("required"):
            yield f" {key[1]}", "the parameter is required now"
        if key in known:
            yield from _within(f" {key[1]}", shapes.asked(known[key]["schema"], one["schema"]))


def _body(before: Json, after: Json, shapes: "Shapes") -> Iterator[Break]:
    if after.get("required") and not before.get("required"):
        yield " body", "is required now"
    for media, content in before.get("content", {}).items():
        if media not in after.get("content", {}):
            yield " body", f"{media} is not taken any more"
        else:
            yield from _within(" body", shapes.asked(content["schema"], after["content"][media]["schema"]))


def _answers(before: Json, after: Json, shapes: "Shapes") -> Iterator[Break]:
    for status, answer in before.items():
        where = f" {status}"
        now = after.get(status)
        if now is None:
            yield where, "is not answered any more"
            continue
        for name in answer.get("headers", {}).keys() - now.get("headers", {}).keys():
            yield where, f"the header {name} is gone"
        for media, content in answer.get("content", {}).items():
            if media not in now.get("content", {}):
                yield where, f"is not {media} any more"
            else:
                yield from _within(where, shapes.told(content["schema"], now["content"][media]["schema"]))


def _within(where: str, found: Iterable[Break]) -> Iterator[Break]:
    yield from ((f"{where}{below}", what) for below, what in found)


class Shapes:
    """Compares the schemas of two documents, each pair once."""

    def __init__(self, before: Json, after: Json) -> None:
        self._before, self._after = before, after
        self._found: dict[tuple[int, int, str], list[Break]] = {}
        self._seen: list[Json] = []  # so that none of them leaves its id to another

    def asked(self, before: Json, after: Json) -> list[Break]:
        """What was accepted and is not."""
        return self._compared(before, after, "asked")

    def told(self, before: Json, after: Json) -> list[Break]:
        """What may be answered and may not have been."""
        return self._compared(before, after, "told")

    def _compared(self, before: Json, after: Json, kind: Literal["asked", "told"]) -> list[Break]:
        before, after = _resolved(before, self._before), _resolved(after, self._after)
        key = (id(before), id(after), kind)
        if key not in self._found:
            self._seen += before, after
            self._found[key] = []  # for a shape that holds itself
            rule = self._asked if kind == "asked" else self._told
            self._found[key] = list(rule(before, after))
        return self._found[key]

    def _asked(self, before: Json, after: Json) -> Iterator[Break]:
        """Each kind of value that was accepted must be accepted as one of those that are."""
        kinds, among = _kinds(before), _kinds(after)
        if kinds == [before] and among == [after]:
            yield from self._value_asked(before, after)
        else:
            for one in kinds:
                yield from min((self.asked(one, other) for other in among), key=len)

    def _told(self, before: Json, after: Json) -> Iterator[Break]:
        """Each kind of value that is answered must be one of those that were; of tagged ones there may be new."""
        kinds, among = _kinds(after), _kinds(before)
        if kinds == [after] and among == [before]:
            yield from self._value_told(before, after)
            return
        for one in kinds:
            if "discriminator" not in after:
                yield from min((self.told(other, one) for other in among), key=len)
            elif one in among:
                yield from self.told(one, one)

    def _value_asked(self, before: Json, after: Json) -> Iterator[Break]:
        if not _accepts(before.get("type"), after.get("type")):
            yield "", f"was {before.get('type', 'anything')}, and must be {after['type']}"
            return
        if "enum" in after and (gone := [one for one in before.get("enum", ["…"]) if one not in after["enum"]]):
            yield "", f"{', '.join(map(str, gone))} is not accepted any more"
        for names, is_narrower in ((_LEAST, _is_more), (_MOST, _is_less), (_FIXED, _is_other)):
            for name in names:
                if is_narrower(before.get(name), after.get(name)):
                    yield "", f"{name} was {before.get(name)}, and is {after[name]}"
        yield from self._members_asked(before, after)
        yield from self._items(before, after, self.asked)

    def _members_asked(self, before: Json, after: Json) -> Iterator[Break]:
        known, now = before.get("properties", {}), after.get("properties", {})
        for name in {*after.get("required", ())} - {*before.get("required", ())}:
            yield f"/{name}", "is required now"
        if after.get("additionalProperties") is False:
            for name in known.keys() - now.keys():
                yield f"/{name}", "is not accepted any more"
            if before.get("additionalProperties") is not False and before.get("type") == "object":
                yield "", "further members are not accepted any more"
        for name in known.keys() & now.keys():
            yield from _within(f"/{name}", self.asked(known[name], now[name]))

    def _value_told(self, before: Json, after: Json) -> Iterator[Break]:
        if not _accepts(after.get("type"), before.get("type")):
            yield "", f"was {before['type']}, and may be {after.get('type', 'anything')}"
            return
        for name in _FIXED:
            if _is_other(after.get(name), before.get(name)):
                yield "", f"{name} was {before[name]}, and is {after.get(name)}"
        if "enum" in before and "enum" in after and not {*before["enum"]} & {*after["enum"]}:
            yield "", f"was {', '.join(before['enum'])}, and is {', '.join(after['enum'])}"
        known, now = before.get("properties", {}), after.get("properties", {})
        for name in known.keys() - now.keys():
            yield f"/{name}", "is gone"
        for name in ({*before.get("required", ())} - {*after.get("required", ())}) & now.keys():
            yield f"/{name}", "may be missing now"
        for name in known.keys() & now.keys():
            yield from _within(f"/{name}", self.told(known[name], now[name]))
        yield from self._items(before, after, self.told)

    def _items(self, before: Json, after: Json, compare: Callable[[Json, Json], list[Break]]) -> Iterator[Break]:
        for name in ("items", "additionalProperties"):
            if isinstance(before.get(name), dict) and isinstance(after.get(name), dict):
                yield from _within(f"/{name}", compare(before[name], after[name]))


def _resolved(schema: Json, document: Json) -> Json:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def _kinds(schema: Json) -> list[Json]:
    """The kinds of value that a schema is of: itself, unless it says several; the parts of one that has parts."""
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return list(schema[several])
    if isinstance(kind := schema.get("type"), list):
        return [schema | {"type": one} for one in kind]
    return [schema]


def _accepts(narrow: str | None, wide: str | None) -> bool:
    """Whether all values of the one type are of the other."""
    return wide is None or narrow == wide or (narrow, wide) == ("integer", "number")


def _is_more(before: float | None, after: float | None) -> bool:
    return after is not None and (before is None or after > before)


def _is_less(before: float | None, after: float | None) -> bool:
    return after is not None and (before is None or after < before)


def _is_other(before: Any, after: Any) -> bool:
    return after is not None and after != before
