"""The broker of the image: it serves, and its container ends with us, which no parent-death signal can do."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.docker import DockerDistribution, find_image
from deploy.local.kafka.errors import SourceError

pytestmark = pytest.mark.containers

WaitFor = Callable[[Callable[[], bool]], None]


@pytest.fixture(scope="module")
def image() -> DockerDistribution:
    try:
        return find_image()
    except SourceError as error:
        pytest.skip(f"no Kafka image: {error}")


def containers(directory: Path) -> list[str]:
    """Running containers that see `directory`."""
    command = ["docker", "ps", "--quiet", "--filter", f"volume={directory}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_it_serves_and_is_gone_at_the_end(image: DockerDistribution, tmp_path: Path) -> None:
    with Cluster.start(distribution=image, data_dir=tmp_path) as cluster:
        with KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers) as admin:
            assert len(admin.describe_cluster()["brokers"]) == 1
        assert len(containers(tmp_path / "node-1")) == 1
    assert not containers(tmp_path / "node-1")
    assert (tmp_path / "node-1/data/.kafka_cleanshutdown").exists()


def test_sigkill_leaves_no_container(image: DockerDistribution, tmp_path: Path, wait_for: WaitFor) -> None:
    program = (
        "import time; from pathlib import Path\n"
        "from deploy.local.kafka.cluster import Cluster; from deploy.local.kafka.docker import find_image\n"
        f"with Cluster.start(distribution=find_image(), data_dir=Path({str(tmp_path)!r})):\n"
        "    print('up', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        assert len(containers(tmp_path / "node-1")) == 1
        process.kill()
    wait_for(lambda: not containers(tmp_path / "node-1"))
