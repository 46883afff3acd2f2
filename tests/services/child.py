"""A server process that lives no longer than the process that started it."""

import ctypes
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from signal import Signals


class StartFailed(Exception):
    """A server did not come up; the message ends with the end of its log."""


class Child:
    """A running program: its output goes to `log`, and it gets the signal `orphaned` when our process ends.

    `user` is the system user to run as (only root may say so).
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        orphaned: Signals,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._name = Path(command[0]).name
        self._log = log
        with log.open("ab") as output:
            self._log_starts_at = output.tell()
            # The kernel ties `orphaned` to the *thread* that starts the program, so one thread that stays does it.
            self._process = (
                _starter()
                .submit(
                    subprocess.Popen,
                    launched(command, orphaned=orphaned, user=user),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=log.parent,
                    env=env,
                    start_new_session=True,  # a Ctrl-C in the terminal is for the tests, which then stop their servers
                )
                .result()
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; -9 after a kill -9."""
        return self._process.poll()

    def wait_until(self, ready: Callable[[], bool], within: float) -> None:
        """Wait until `ready()`; raise StartFailed if the program ends before, or after `within` seconds."""
        deadline = time.monotonic() + within
        while not ready():
            if not self.running:
                raise StartFailed(f"{self._name} ended with {self._process.returncode}; {self._end_of_log()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{self._name} did not answer within {within:.0f} s; {self._end_of_log()}")
            time.sleep(0.05)

    def end(self, by: Signals, within: float = 60) -> None:
        """Send the signal and wait for the end; one that has not ended `within` seconds is killed."""
        self._process.send_signal(by)
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _end_of_log(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_starts_at)
            lines = log.read().decode(errors="replace").splitlines()
        return "\n".join([f"the end of its log {self._log}:", *lines[-40:]])


def launched(command: Sequence[str], *, orphaned: Signals, user: str | None = None) -> list[str]:
    """The command that runs `command` as `user`, tied to the life of its parent."""
    us = [sys.executable, "-I", "-S", __file__]
    return [*us, str(os.getpid()), str(int(orphaned)), user or "", *command]


def free_port() -> int:
    """A free TCP port on the loopback that no outgoing connection will be given.

    From the range for outgoing connections, a client that retries while the server is down could be given the server's
    own port, connect to itself, and keep the server from coming back.
    """
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest_outgoing = int(ports.read_text(encoding="ascii").split()[0]) if ports.exists() else 32768
    while True:
        port = random.randrange(10_000, max(lowest_outgoing, 20_000))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@cache
def _starter() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="starts-servers")


def _launch(parent: int, orphaned: Signals, user: str, command: list[str]) -> None:
    """Become the command. Between fork and exec this would need `preexec_fn`, which is unsafe beside threads."""
    if user:
        entry = pwd.getpwnam(user)
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if sys.platform == "linux":  # after setuid, which clears it
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(orphaned), 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execv(command[0], command)


if __name__ == "__main__":
    _launch(int(sys.argv[1]), Signals(int(sys.argv[2])), sys.argv[3], sys.argv[4:])
