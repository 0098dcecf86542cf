"""Runs Kafka from the ``apache/kafka`` image, through the ``docker`` command line.

The engine, not we, is the parent of a container. So a broker that runs watches its stdin, which the engine closes when
the client goes (`END_WITH_STDIN`), and a container that was made but never started is removed by a later start
(`_remove_abandoned`).
"""

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deploy.local.kafka.distribution import JarDistribution
from deploy.local.kafka.errors import SourceError
from deploy.local.kafka.jars import KAFKA_VERSION

IMAGE = f"apache/kafka:{KAFKA_VERSION}"
# Not the image's scripts: they switch a management agent on, which listens on every interface of the host.
KAFKA_IN_IMAGE = JarDistribution(Path("java"), [Path("/opt/kafka/libs/*")])
LABEL = "limelight.broker"
ANSWER_TIMEOUT_SECONDS = 20
PULL_TIMEOUT_SECONDS = 600
ABANDONED_AGE = "1m"
"""Far more than a client needs from making a container to starting it."""

# A background command of a shell without job control reads /dev/null, hence descriptor 3.
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
        java, *arguments = KAFKA_IN_IMAGE.format_command(configuration, cluster_id)
        return [*self._run(configuration.parent), "--entrypoint", java, IMAGE, *arguments]

    def run_command(
        self, configuration: Path, log4j: Path, system: Mapping[str, str], *, optimize: bool = False
    ) -> list[str]:
        """See `deploy.local.kafka.distribution.Distribution`."""
        broker = KAFKA_IN_IMAGE.run_command(configuration, log4j, system, optimize=optimize)
        container = [*self._run(configuration.parent), "--interactive", "--entrypoint", "sh", IMAGE]
        return [*container, "-c", END_WITH_STDIN, "sh", *broker]

    @property
    def environment(self) -> Mapping[str, str]:
        """Nothing: a container sees only what its command line passes."""
        return {}

    @staticmethod
    def _run(directory: Path) -> list[str]:
        user = f"{os.getuid()}:{os.getgid()}"
        flags = [flag for name, value in KAFKA_IN_IMAGE.environment.items() for flag in ("--env", f"{name}={value}")]
        volume = f"{directory}:{directory}"
        ours = ["docker", "run", "--rm", "--label", LABEL]
        return [*ours, "--network", "host", "--user", user, "--volume", volume, *flags]


def find_image() -> DockerDistribution:
    """Asks the engine for the image, and pulls it if it is not there.

    Raises:
        SourceError: there is no ``docker``, no engine, or no image.
    """
    _docker("version", timeout_seconds=ANSWER_TIMEOUT_SECONDS)
    if not _docker("image", "ls", "--quiet", IMAGE, timeout_seconds=ANSWER_TIMEOUT_SECONDS):
        _docker("pull", "--quiet", IMAGE, timeout_seconds=PULL_TIMEOUT_SECONDS)
    _remove_abandoned()
    return DockerDistribution()


def _remove_abandoned() -> None:
    """Removes our containers whose client was killed in the moment between making and starting them."""
    filters = ["--filter", f"label={LABEL}", "--filter", f"until={ABANDONED_AGE}"]
    # The engine refuses to prune twice at a time; whoever is at it does our work.
    with suppress(SourceError):
        _docker("container", "prune", "--force", *filters, timeout_seconds=ANSWER_TIMEOUT_SECONDS)


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
