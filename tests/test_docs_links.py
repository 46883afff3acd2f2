"""What the pages for people link to, and the tests that they name, are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def linked(page: Path) -> Iterator[Path]:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target:
            yield page.parent / target
    for named in re.findall(r"`((?:tests|docs|api|commands|events|projections)/[\w./-]*)`", text):
        yield ROOT / named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_somewhere(page: Path) -> None:
    assert [str(target) for target in linked(page) if not target.exists()] == []


def test_each_decision_is_in_the_list() -> None:
    decisions = ROOT / "docs" / "decisions"
    listed = {target.name for target in linked(decisions / "README.md")}

    assert listed == {path.name for path in decisions.glob("0*.md")}
