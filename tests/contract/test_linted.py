"""Spectral has nothing to say about the document, and would have if there were."""

import json
from pathlib import Path

import pytest

from tests.conftest import not_run
from tests.contract.document import FILE, ROOT
from tests.contract.linter import Linter, NoLinter, find_linter


@pytest.fixture(scope="module")
def linter() -> Linter:
    """Where it cannot be had, its tests are skipped, loudly; in CI they fail."""
    try:
        return find_linter()
    except NoLinter as none:
        return not_run("SPECTRAL DID NOT RUN", str(none))


def test_spectrals_own_rules_find_nothing_and_would_find_what_is_wrong(linter: Linter, tmp_path: Path) -> None:
    document = json.loads((ROOT / FILE).read_text(encoding="utf-8"))
    operation = document["paths"]["/v1/auth/me"]["get"]
    document["paths"] = {"/v1/auth/me": {"get": operation}}
    operation["responses"]["200"]["content"]["application/json"]["examples"]["example 1"]["value"]["roles"] = "customer"
    del operation["operationId"]
    spoilt = tmp_path / "openapi.json"
    spoilt.write_text(json.dumps(document), encoding="utf-8")

    found = linter.findings(ROOT / FILE, spoilt)

    assert found[ROOT / FILE] == []
    rules = {finding.partition(":")[0] for finding in found[spoilt]}
    assert rules >= {"oas3-valid-media-example", "operation-operationId"}
