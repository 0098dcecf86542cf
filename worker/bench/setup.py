"""Says what is measured, and on what."""

import os
import platform
from datetime import UTC, datetime
from importlib import metadata

from worker.answers.caps_cache import processor_name
from worker.bench.assignment import Assignment
from worker.bench.figures import Setup
from worker.process.cpus import available_cpus

PACKAGES = ("onnxruntime", "kafka-python", "confluent-kafka")


def describe_setup(assignment: Assignment, *, repetitions: int, warm_up_runs: int) -> Setup:
    """
    Raises:
        LimelightError: the bundle cannot be used.
    """
    bundle, workload = assignment.load()
    return Setup(
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=processor_name(),
        cores=available_cpus(),
        load=round(os.getloadavg()[0], 2),
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in _installed()}},
        bundle=f"{bundle.manifest.name}/{bundle.manifest.version[:12]}",
        lengths=workload.describe_lengths(),
        seed=assignment.seed,
        records=assignment.records,
        partitions=assignment.partitions,
        repetitions=repetitions,
        warm_up_runs=warm_up_runs,
    )


def _installed() -> list[str]:
    found = {distribution.name for distribution in metadata.distributions()}
    return [name for name in PACKAGES if name in found]
