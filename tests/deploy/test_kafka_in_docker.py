"""The broker of the image: it serves, and its container ends with us, which no parent-death signal can do."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from deploy.local.kafka import docker
from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.docker import DockerDistribution
from deploy.local.kafka.ports import LOOPBACK

pytestmark = pytest.mark.containers

WaitFor = Callable[[Callable[[], bool]], None]


def containers(directory: Path) -> list[str]:
    """Running containers that see `directory`."""
    return run("ps", "--quiet", "--filter", f"volume={directory}").split()


def run(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


def test_it_serves_this_machine_only_and_is_gone_at_the_end(
    image: DockerDistribution, tmp_path: Path, listening_addresses: Callable[[int], set[str]]
) -> None:
    with Cluster.start(distribution=image, data_dir=tmp_path) as cluster:
        with KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers) as admin:
            assert len(admin.describe_cluster()["brokers"]) == 1
        (container,) = containers(tmp_path / "node-1")
        processes = run("top", container, "-eo", "pid,comm").splitlines()
        (java,) = [int(line.split()[0]) for line in processes if line.endswith("java")]
        assert listening_addresses(java) == {LOOPBACK}
    assert not containers(tmp_path / "node-1")
    assert (tmp_path / "node-1/data/.kafka_cleanshutdown").exists()


def test_sigkill_leaves_no_container(image: DockerDistribution, tmp_path: Path, wait_for: WaitFor) -> None:
    program = (
        "import signal; from pathlib import Path\n"
        "from deploy.local.kafka.cluster import Cluster; from deploy.local.kafka.docker import find_image\n"
        f"with Cluster.start(distribution=find_image(), data_dir=Path({str(tmp_path)!r})):\n"
        "    print('up', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert len(containers(tmp_path / "node-1")) == 1
        process.kill()
    wait_for(lambda: not containers(tmp_path / "node-1"))


def test_a_container_that_was_never_started_is_removed(
    image: DockerDistribution, tmp_path: Path, wait_for: WaitFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = image.run_command(tmp_path / "server.properties", tmp_path / "log4j2.properties", {})
    container = run("create", *command[command.index("--label") :]).strip()

    def is_removed_by_the_next_start() -> bool:
        docker.find_image()
        return container not in run("ps", "--all", "--quiet", "--no-trunc")

    assert not is_removed_by_the_next_start(), "another start is about to use a container this young"
    monkeypatch.setattr(docker, "ABANDONED_AGE", "0s")
    wait_for(is_removed_by_the_next_start)
