"""A Kafka that can be run on this machine: the command lines of its programs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

JVM_OPTIONS = ("-Xmx512m",)
"""Half a gigabyte is plenty."""
BRIEF_OPTIONS = (*JVM_OPTIONS, "-XX:TieredStopAtLevel=1")
"""A broker that lives for minutes gains nothing from the optimising compiler."""
OPTIMISED_OPTIONS = ("-Xmx1g", "-Xmn768m")
"""For a broker that is measured: on a heap of half a gigabyte its collector shares the cores with who is measured."""


class Distribution(Protocol):
    """What a node needs to know. All paths stand in one directory, the node's own."""

    @property
    def ends_with_its_process(self) -> bool:
        """False if a node lives on for a moment after the process that runs its command was killed."""
        ...

    def format_command(self, configuration: Path, cluster_id: str) -> list[str]:
        """Command line that formats the data directory of a node."""
        ...

    def run_command(
        self, configuration: Path, log4j: Path, system: Mapping[str, str], *, optimize: bool = False
    ) -> list[str]:
        """Command line that runs a node until it gets SIGTERM.

        Args:
            configuration: the node's properties.
            log4j: those of its log.
            system: Java's system properties.
            optimize: whether Java compiles what it runs often as well as it can, which takes it minutes.
        """
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that both commands need."""
        ...


class JarDistribution(NamedTuple):
    """Jars on a Java."""

    java: Path
    jars: Sequence[Path]
    ends_with_its_process: bool = True

    def format_command(self, configuration: Path, cluster_id: str) -> list[str]:
        """See `Distribution`."""
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(configuration)]
        return [str(self.java), *BRIEF_OPTIONS, *tool]

    def run_command(
        self, configuration: Path, log4j: Path, system: Mapping[str, str], *, optimize: bool = False
    ) -> list[str]:
        """See `Distribution`."""
        told = {"log4j2.configurationFile": log4j, **system}
        return [
            str(self.java),
            *(OPTIMISED_OPTIONS if optimize else BRIEF_OPTIONS),
            *(f"-D{n}={v}" for n, v in told.items()),
            "kafka.Kafka",
            str(configuration),
        ]

    @property
    def environment(self) -> Mapping[str, str]:
        """The class path; on the command line it would hide everything else in a process list.

        And a locale: in the plain C locale Java finds no file whose path has a letter outside ASCII.
        """
        return {"CLASSPATH": os.pathsep.join(map(str, self.jars)), "LC_ALL": "C.UTF-8"}
