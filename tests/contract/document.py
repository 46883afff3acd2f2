"""docs/openapi.json: the document as it is served, as it is checked in, and as earlier commits had it."""

import json
import subprocess
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from api.openapi import served
from tests.contract.compatibility import breaks

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
FILE = Path("docs/openapi.json")
WIDTH = 120

NOBODY_MET: dict[str, str] = {}
"""Breaks that are taken all the same, as `breaks` says them, each with the reason why no client can have met them."""


def text(document: Json) -> str:
    """As it is checked in: what fits into a line is on one line, so that a change shows where it is."""
    return _laid_out(document, 0) + "\n"


def _laid_out(value: Any, depth: int) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(line) + 2 * depth <= WIDTH:
        return line
    named = isinstance(value, dict)
    parts = [f"{json.dumps(name)}: " for name in value] if named else [""] * len(value)
    values = value.values() if isinstance(value, dict) else value
    inner = ",\n".join(
        "  " * (depth + 1) + part + _laid_out(one, depth + 1) for part, one in zip(parts, values, strict=True)
    )
    opening, closing = "{}" if named else "[]"
    return f"{opening}\n{inner}\n{'  ' * depth}{closing}"


def as_served() -> Json:
    document: Json = json.loads(served())
    return document


def checked_in() -> Json | None:
    path = ROOT / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def earlier() -> Iterator[tuple[str, Json]]:
    """The last commits that changed the file, each with the file as it left it; none where there is no history."""
    commits = _git("log", "--format=%h", "--max-count=30", "--", str(FILE)).split()
    for commit in commits:
        if before := _git("show", f"{commit}:{FILE}"):
            yield commit, json.loads(before)


def _git(*command: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def promised() -> list[tuple[str, Json]]:
    """What a new document must hold: where it was promised, and the document."""
    here = checked_in()
    return [*earlier(), *([("the file as it is", here)] if here is not None else [])]


def broken(before: Json, after: Json, forgiven: Container[str] = NOBODY_MET) -> list[str]:
    """What breaks without being announced by the first number of the version."""
    if _major(after) > _major(before):
        return []
    return [one for one in breaks(before, after) if one not in forgiven]


def _major(document: Json) -> int:
    return int(document["info"]["version"].partition(".")[0])
