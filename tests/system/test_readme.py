"""The README's five requests, as they stand there."""

import json
import re
import subprocess
from pathlib import Path

from tests.services.parts import ORDERLOG
from tests.system.conftest import EMBEDDED
from tests.system.installation import Installation, environment

README = Path(__file__).parents[2] / "README.md"


@EMBEDDED
def test_the_five_requests_of_the_readme_do_what_it_says(installation: Installation) -> None:
    [requests] = [block for block in re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL) if "# 5." in block]
    script = requests.replace(".venv/bin/orderlog", str(ORDERLOG)).replace(
        "http://127.0.0.1:8000", installation.urls[0]
    )
    # The history is a read model: whoever types the last request gives it the time to catch up.
    script = script.replace("# 5.", "sleep 2\n# 5.").replace("curl ", "curl --silent --fail --show-error ")

    done = subprocess.run(  # noqa: PLW1510  the assertion says more
        ["bash", "-euc", script],
        env=environment(installation.settings),
        cwd=installation.home,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    history = json.loads(done.stdout[done.stdout.rindex('{"items"') :])
    assert [entry["type"].split(".")[2] for entry in history["items"]] == ["placed", "payment-authorized", "confirmed"]
