import os
from pathlib import Path

import pytest

from worker.process.cpus import available_cpus

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def write_kernel(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    for name, content in {"proc/self/cgroup": cgroup, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "cpus"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 8),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "garbage\n"}, 8),
        # The smallest on the way up holds.
        (
            "0::/pod/main\n",
            {"sys/fs/cgroup/pod/cpu.max": "200000 100000\n", "sys/fs/cgroup/pod/main/cpu.max": "max 100000\n"},
            2,
        ),
        ("0::/host/only\n", {"sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        # Version 1.
        (
            "3:cpuset:/\n1:cpu,cpuacct:/docker/1f\n0::/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "250000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n"},
            5,
        ),
        (
            "1:cpu:/\n0::/\n",
            {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ("2:cpuacct:/\n", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n"}, 8),
    ],
)
def test_the_quota_of_the_control_group_limits(tmp_path: Path, cgroup: str, files: dict[str, str], cpus: int) -> None:
    assert available_cpus(write_kernel(tmp_path, cgroup, files)) == cpus


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert available_cpus(tmp_path) == 8


def test_this_machine_has_at_least_one() -> None:
    assert 1 <= available_cpus() <= 8
