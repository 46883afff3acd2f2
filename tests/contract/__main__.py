"""Writes docs/openapi.json anew from the code (`make openapi`), unless that would break what it promises."""

import sys

from tests.contract.document import FILE, ROOT, as_served, broken, promised, text


def main() -> None:
    now = as_served()
    for where, before in promised():
        if found := broken(before, now):
            told = "\n  ".join(found)
            sys.exit(
                f"{FILE} was not written: this would break clients of {where}:\n  {told}\n"
                "Keep what they rely on; or count the first number of VERSION in api/openapi.py up; or, if nobody can "
                "have met it, say so in NOBODY_MET in tests/contract/document.py."
            )
    (ROOT / FILE).write_text(text(now), encoding="utf-8")
    sys.stdout.write(f"{FILE} is what is served.\n")


if __name__ == "__main__":
    main()
