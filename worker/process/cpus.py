"""How many CPUs this process may use: fewer than the machine has, in a container with a limit.

A limit is a quota of CPU time in the control group of the process or in one above it, in version 2 of the interface
(``cpu.max``) or in version 1 (``cpu.cfs_quota_us``). Libraries look at the cores of the host: with as many threads, a
container of one CPU would be stopped by the kernel for most of each tenth of a second.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = "sys/fs/cgroup"


def available_cpus(root: Path = Path("/")) -> int:
    """CPUs of the process's affinity, or whole CPUs of the smallest quota if these are fewer; at least one.

    Args:
        root: directory with the kernel's ``proc`` and ``sys``.
    """
    return max(1, min([len(os.sched_getaffinity(0)), *map(int, _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Quotas in CPUs, of every group that this process is in."""
    for directory in _groups(root):
        try:
            if (current := directory / "cpu.max").exists():
                quota, period = current.read_text().split()
            else:
                quota = (directory / "cpu.cfs_quota_us").read_text()
                period = (directory / "cpu.cfs_period_us").read_text()
            if quota != "max" and int(quota) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError):
            continue  # no limit here, or none that we can read: another may still hold


def _groups(root: Path) -> Iterator[Path]:
    """Directories of the groups of this process that limit CPU time, from each up to its root.

    In a container the path that the kernel tells may be that of the host, where only the root can be seen.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / CGROUPS / ("cpu" if controllers else "")
        group = mount / path.strip("/")
        yield group
        yield from (each for each in group.parents if each.is_relative_to(mount))
