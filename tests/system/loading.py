"""An `orderlog` command that leaves behind what it loaded: `python -m tests.system.loading FILE ARGUMENT…`.

It imports nothing that the command itself does not.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    file = Path(sys.argv.pop(1))
    from api.cli import main

    try:
        main()
    finally:
        file.write_text("\n".join(sorted(sys.modules)))
