"""The pages that people look at in a browser; they need nothing from the internet."""

from pathlib import Path

DOCS = Path(__file__).parent / "docs.html"
