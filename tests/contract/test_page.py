"""/docs shows all that the document says: the page's own script, run on the document."""

import subprocess
from pathlib import Path

from api.page import DOCS
from tests.contract.document import FILE, ROOT, as_served
from tests.contract.linter import NODE


def test_the_page_shows_every_route_with_its_examples_and_its_problems() -> None:
    script = Path(__file__).with_name("page.mjs")
    done = subprocess.run([NODE, script, DOCS, ROOT / FILE], capture_output=True, text=True, check=True)
    shown = {line.strip() for line in done.stdout.splitlines()}
    document = as_served()

    assert {tag["name"] for tag in document["tags"]} <= shown
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert {path, method.upper(), operation["summary"], *operation["description"].splitlines()} <= shown, path
            assert {f"{status}: {answer['description']}" for status, answer in operation["responses"].items()} <= shown
    for code, example in document["components"]["examples"].items():
        assert f"{code}: {example['summary']}" in shown
        assert f'"request_id": "{example["value"]["request_id"]}"' in done.stdout
