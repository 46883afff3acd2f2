"""docs/openapi.json is what is served, and holds what every commit before it promised."""

import pytest

from tests.contract import __main__ as written
from tests.contract.document import FILE, NOBODY_MET, ROOT, as_served, broken, checked_in, earlier, text


def test_what_is_checked_in_is_what_is_served() -> None:
    assert checked_in() == as_served(), f"{FILE} is not what is served: run `make openapi`"
    assert (ROOT / FILE).read_text(encoding="utf-8") == text(as_served()), "it was written by hand: run `make openapi`"


def test_no_client_of_an_earlier_commit_is_broken() -> None:
    now = as_served()
    before = dict(earlier())
    if not before:
        pytest.skip("there is no history here to compare the document with")

    assert {commit: found for commit, one in before.items() if (found := broken(one, now))} == {}


def test_a_break_that_is_taken_all_the_same_is_one_and_has_a_reason() -> None:
    now = as_served()
    known = {sentence for _, one in earlier() for sentence in broken(one, now, forgiven=())}

    assert NOBODY_MET.keys() <= known
    assert all(reason for reason in NOBODY_MET.values())


def test_the_document_is_not_written_when_that_breaks_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    before, now = as_served(), as_served()
    del now["paths"]["/v1/auth/me"]
    there = (ROOT / FILE).read_bytes()
    monkeypatch.setattr(written, "as_served", lambda: now)
    monkeypatch.setattr(written, "promised", lambda: [("abc1234", before)])

    with pytest.raises(
        SystemExit, match=r"(?s)clients of abc1234.*GET /v1/auth/me: is gone.*count .* VERSION"
    ) as ended:
        written.main()

    assert ended.value.code
    assert (ROOT / FILE).read_bytes() == there
