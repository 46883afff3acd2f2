"""An API that dies between commit and reply: `python -m tests.faults.api_process FILE`, set as `orderlog api` is.

It lives until it has taken a command with an idempotency key. What it would have answered is then in the file.
"""

import os
import sys
from pathlib import Path
from signal import SIGKILL

import msgspec

from api.cli import main
from commands.exchange import Replies, Reply, Series, Told
from commands.processor import Processor, _Waiting
from tests.services.child import Child
from tests.services.parts import Part

ROOT = Path(__file__).parents[2]


class DyingApi(Part):
    """Starts it; `unsaid` is what it took to its grave."""

    def spawn(self) -> None:
        self._grave = self.log.with_suffix(".unsaid")
        command = [sys.executable, "-m", "tests.faults.api_process", str(self._grave)]
        environment = {**self._environment, "PYTHONPATH": str(ROOT)}
        self._child = Child(command, self.log, orphaned=SIGKILL, env=environment)

    def unsaid(self) -> list[bytes]:
        """The answers, as they are kept."""
        return msgspec.msgpack.decode(self._grave.read_bytes(), type=list[bytes])


def die_after_a_commit(grave: Path) -> None:
    deliver = Processor._deliver

    def die(processor: Processor, batch: list[_Waiting], replies: list[Told]) -> None:
        if any(isinstance(one.request, Series) or one.request.key for one in batch):
            told = [one for reply in replies for one in (reply.of if isinstance(reply, Replies) else [reply])]
            answers = [one.answer for one in told if isinstance(one, Reply)]
            grave.write_bytes(msgspec.msgpack.encode(answers))
            os.kill(os.getpid(), SIGKILL)
        deliver(processor, batch, replies)

    Processor._deliver = die  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    die_after_a_commit(Path(sys.argv[1]))
    sys.argv[1:] = ["api"]
    main()
