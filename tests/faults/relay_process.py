"""A relay as a process of its own, to be killed: `python -m tests.faults.relay_process URL KAFKA LARGEST_BATCH`."""

import asyncio
import os
import sys
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

from events.log import Log
from events.relay import Relay
from tests.services.child import Child

ROOT = Path(__file__).parents[2]


class RelayProcess:
    """Starts it; `kill`, `freeze` and `thaw` are what happens to it."""

    def __init__(self, url: str, bootstrap_servers: str, folder: Path, *, largest_batch: int = 50) -> None:
        command = [sys.executable, "-m", "tests.faults.relay_process", url, bootstrap_servers, str(largest_batch)]
        self.output = folder / "relay.log"
        self._child = Child(command, self.output, orphaned=SIGKILL, env={**os.environ, "PYTHONPATH": str(ROOT)})

    @property
    def running(self) -> bool:
        return self._child.running

    def kill(self) -> None:
        self._child.end(SIGKILL)

    def stop(self, within: float = 5) -> None:
        self._child.end(SIGTERM, within)

    def freeze(self) -> None:
        self._signal(SIGSTOP)

    def thaw(self) -> None:
        self._signal(SIGCONT)

    def _signal(self, signal: Signals) -> None:
        os.kill(self._child.pid, signal)


async def main(url: str, bootstrap_servers: str, largest_batch: int) -> None:
    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(SIGTERM, running.cancel)
    await Relay(Log(url), bootstrap_servers, largest_batch=largest_batch).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
