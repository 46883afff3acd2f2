"""The socket that a process serves on."""

import resource
import socket

import structlog

from api.settings import Settings
from api.starting import CannotStart

OTHER_FILES = 200
"""That a process has open besides the connections of clients."""

log = structlog.get_logger()


def listen(settings: Settings, port: int, setting: str = "ORDERLOG_PORT") -> socket.socket:
    """The socket to serve on. Raises `CannotStart`, which names the port's setting, when the port is in use."""
    _allow_files(2 * (settings.connections + OTHER_FILES))
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, port))
    except OSError as error:
        listener.close()
        raise CannotStart(
            f"cannot listen on {settings.host}:{port} ({error.strerror}); "
            f"stop what listens there, or set {setting} to another port"
        ) from None
    return listener


def _allow_files(wanted: int) -> None:
    """As many open files as that, as far as the system lets us: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted // 2:
            log.warning("ORDERLOG_CONNECTIONS asks for more files than may be open", open_files=allowed)
