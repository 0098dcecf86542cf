"""Runs Kafka from the ``apache/kafka`` image, through the ``docker`` command line."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.local.kafka.distribution import JVM_OPTIONS
from deploy.local.kafka.errors import SourceError
from deploy.local.kafka.jars import KAFKA_VERSION

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
SCRIPTS = "/opt/kafka/bin"
ANSWER_TIMEOUT_SECONDS = 20
PULL_TIMEOUT_SECONDS = 600

# The engine, not we, is the parent of a container: a killed `docker run` would leave it running. But the engine closes
# the container's stdin when the client goes, and this script ends the broker on it. (A background command of a shell
# without job control reads /dev/null, hence descriptor 3.)
END_WITH_STDIN = """\
exec 3<&0
"$@" </dev/null 3<&- &
broker=$!
trap 'kill -TERM $broker' TERM
{ cat <&3 >/dev/null; kill -KILL $broker; } 2>/dev/null &
exec 3<&-
while kill -0 $broker 2>/dev/null; do wait $broker; status=$?; done
exit $status
"""


class DockerDistribution:
    """A pulled image. Containers share the host's network and the node's directory, under the same names."""

    ends_with_its_process = False

    def format_command(self, configuration: Path, cluster_id: str) -> list[str]:
        """See `deploy.local.kafka.distribution.Distribution`."""
        script = [f"{SCRIPTS}/kafka-storage.sh", "format", "-t", cluster_id, "-c", str(configuration)]
        return [*self._run(configuration.parent), "--entrypoint", script[0], IMAGE, *script[1:]]

    def run_command(self, configuration: Path, log4j: Path) -> list[str]:
        """See `deploy.local.kafka.distribution.Distribution`."""
        logging = f"KAFKA_LOG4J_OPTS=-Dlog4j2.configurationFile={log4j}"
        container = [*self._run(configuration.parent), "--interactive", "--env", logging, "--entrypoint", "sh", IMAGE]
        return [*container, "-c", END_WITH_STDIN, "sh", f"{SCRIPTS}/kafka-server-start.sh", str(configuration)]

    @property
    def environment(self) -> Mapping[str, str]:
        """Nothing: a container sees only what its command line passes."""
        return {}

    @staticmethod
    def _run(directory: Path) -> list[str]:
        user = f"{os.getuid()}:{os.getgid()}"
        environment = [f"KAFKA_HEAP_OPTS={' '.join(JVM_OPTIONS)}", f"LOG_DIR={directory}"]
        flags = [flag for each in environment for flag in ("--env", each)]
        volume = f"{directory}:{directory}"
        return ["docker", "run", "--rm", "--network", "host", "--user", user, "--volume", volume, *flags]


def find_image() -> DockerDistribution:
    """Asks the engine for the image, and pulls it if it is not there.

    Raises:
        SourceError: there is no ``docker``, no engine, or no image.
    """
    _docker("version", timeout_seconds=ANSWER_TIMEOUT_SECONDS)
    if not _docker("image", "ls", "--quiet", IMAGE, timeout_seconds=ANSWER_TIMEOUT_SECONDS):
        _docker("pull", "--quiet", IMAGE, timeout_seconds=PULL_TIMEOUT_SECONDS)
    return DockerDistribution()


def _docker(*arguments: str, timeout_seconds: float) -> str:
    try:
        answer = subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, check=True, timeout=timeout_seconds
        )
    except FileNotFoundError as error:
        raise SourceError("docker is not on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise SourceError(f"`docker {arguments[0]}` gave no answer in {timeout_seconds:.0f} s") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or [f"status {error.returncode}"]
        raise SourceError(f"`docker {arguments[0]}` failed: {reason[0]}") from error
    return answer.stdout.strip()
